"""The gRPC face of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from cloudtask.emulator.tasks.api.methods import SERVICES
from cloudtask.emulator.tasks.v2beta3 import translation
from cloudtask.emulator.values.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cloudtask.emulator.tasks.api.methods import Api

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def handlers(api: Api) -> tuple[grpc.GenericRpcHandler[Any, Any], ...]:
    """Return what grpc serves. It answers UNIMPLEMENTED for the rest."""
    beta = _service(
        translation.SERVICE, translation.METHODS, lambda *call: _beta(api, *call)
    )
    return (
        beta,
        *(_service(name, methods, api.call) for name, methods in SERVICES.items()),
    )


def _service(
    name: str,
    methods: Mapping[str, Any],
    call: Callable[[str, Any], Awaitable[Any]],
) -> grpc.GenericRpcHandler[Any, Any]:
    return grpc.method_handlers_generic_handler(
        name, {method: _handler(call, method, kind) for method, kind in methods.items()}
    )


async def _beta(api: Api, method: str, request: Any) -> Any:
    """Carry out a call of v2beta3."""
    response = await api.call(method, translation.read_request(method, request))
    return translation.write_response(request, response, api.figures)


def _handler(
    call: Callable[[str, Any], Awaitable[Any]], method: str, request_type: Any
) -> grpc.RpcMethodHandler[Any, Any]:
    async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await call(method, request)
        except ApiError as error:
            await _abort(context, error)

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=request_type.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: ApiError) -> None:
    metadata: tuple[tuple[str, bytes], ...] = ()
    if error.details:
        status = error.status().SerializeToString()
        metadata = (("grpc-status-details-bin", status),)
    await context.abort(_STATUS_CODES[error.code], error.message, metadata)
