"""One route: `path("_tasks/", include("cloudtask.urls"))`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from django.urls import URLPattern
from django.urls.resolvers import RoutePattern

from cloudtask import views

if TYPE_CHECKING:
    from django.urls import ResolverMatch

app_name = "cloudtask"


class DispatchPattern(URLPattern):
    """
    Resolves to the view that fits the handler, which is what asks.

    ASGI's resolves on its event loop and WSGI's without one. Through one view
    for both, the other kind would pay for a thread or a loop with each task.
    """

    def resolve(self, path: str) -> ResolverMatch | None:
        match = super().resolve(path)
        if match is not None and _is_on_a_loop():
            match.func = views.adispatch
        return match


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


urlpatterns: list[Any] = [
    DispatchPattern(
        RoutePattern("", name="dispatch", is_endpoint=True),
        views.dispatch,
        None,
        "dispatch",
    )
]
