"""The gRPC face of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from cloudtask.emulator.api.methods import SERVICES
from cloudtask.emulator.core.errors import ApiError

if TYPE_CHECKING:
    from cloudtask.emulator.api.methods import Api

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def handlers(api: Api) -> tuple[grpc.GenericRpcHandler[Any, Any], ...]:
    """Return what grpc serves. It answers UNIMPLEMENTED for the rest."""
    return tuple(
        grpc.method_handlers_generic_handler(
            service,
            {method: _handler(api, method, kind) for method, kind in methods.items()},
        )
        for service, methods in SERVICES.items()
    )


def _handler(
    api: Api, method: str, request_type: Any
) -> grpc.RpcMethodHandler[Any, Any]:
    async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await api.call(method, request)
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
