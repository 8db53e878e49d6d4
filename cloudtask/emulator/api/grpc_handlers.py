"""The gRPC face of an API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from cloudtask.emulator.values.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class GrpcService:
    """A service of an API. Requests and responses are raw protobuf."""

    name: str  # With its package.
    methods: Mapping[str, Any]  # The class of each request, by the method.
    call: Callable[[str, Any], Awaitable[Any]]  # Carries one out.

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        """Return what grpc serves. It answers UNIMPLEMENTED for the rest."""
        return grpc.method_handlers_generic_handler(
            self.name,
            {
                method: _handler(self.call, method, request_type)
                for method, request_type in self.methods.items()
            },
        )


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
