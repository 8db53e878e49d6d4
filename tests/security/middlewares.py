"""Middleware of all kinds that looks at a request before the view does."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.utils.decorators import async_only_middleware, sync_only_middleware
from django.utils.decorators import sync_and_async_middleware as both

#: Bodies that were seen.
seen: list[bytes] = []


@sync_only_middleware
def sync_reader(get_response: Callable[..., Any]) -> Callable[..., Any]:
    def middleware(request: Any) -> Any:
        seen.append(request.body)
        return get_response(request)

    return middleware


@async_only_middleware
def async_reader(get_response: Callable[..., Any]) -> Callable[..., Any]:
    async def middleware(request: Any) -> Any:
        seen.append(request.body)
        return await get_response(request)

    return middleware


@both
def form_reader(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Look for a form, as middleware for method overrides does."""
    if iscoroutinefunction(get_response):

        async def middleware(request: Any) -> Any:
            seen.append(request.POST.get("_method", b""))
            return await get_response(request)
    else:

        def middleware(request: Any) -> Any:
            seen.append(request.POST.get("_method", b""))
            return get_response(request)

    return middleware
