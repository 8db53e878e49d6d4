"""Middleware that stands in the way of a dispatch, or seems to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.decorators import async_only_middleware

GetResponse = Callable[[HttpRequest], HttpResponse]
AsyncGetResponse = Callable[[HttpRequest], Awaitable[HttpResponse]]


def login(get_response: GetResponse) -> GetResponse:
    return lambda request: HttpResponseRedirect("/login/")


@async_only_middleware
def alogin(get_response: AsyncGetResponse) -> AsyncGetResponse:
    async def respond(request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect("/login/")

    return respond


def maintenance(get_response: GetResponse) -> GetResponse:
    return lambda request: HttpResponse("Back soon.", status=503)


def hide(get_response: GetResponse) -> GetResponse:
    return lambda request: HttpResponse(status=404)


def deny(get_response: GetResponse) -> GetResponse:
    def respond(request: HttpRequest) -> HttpResponse:
        raise PermissionDenied

    return respond


def explode(get_response: GetResponse) -> GetResponse:
    def respond(request: HttpRequest) -> HttpResponse:
        raise KeyError("a secret")

    return respond


def unmade(get_response: GetResponse) -> GetResponse:
    raise ImproperlyConfigured("a secret")


def answer_all_with_200(get_response: GetResponse) -> GetResponse:
    def respond(request: HttpRequest) -> HttpResponse:
        get_response(request)
        return HttpResponse()

    return respond


@async_only_middleware
def need_asgi(get_response: AsyncGetResponse) -> AsyncGetResponse:
    async def respond(request: Any) -> HttpResponse:
        assert request.scope["type"] == "http"
        return await get_response(request)

    return respond


def need_wsgi(get_response: GetResponse) -> GetResponse:
    def respond(request: Any) -> HttpResponse:
        assert request.environ["wsgi.input"]
        return get_response(request)

    return respond


def need_database(get_response: GetResponse) -> GetResponse:
    def respond(request: HttpRequest) -> HttpResponse:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return get_response(request)

    return respond


def count(get_response: GetResponse) -> GetResponse:
    def respond(request: HttpRequest) -> HttpResponse:
        cache.set("count", cache.get("count", 0) + 1)
        return get_response(request)

    return respond


def need_query(get_response: GetResponse) -> GetResponse:
    def respond(request: HttpRequest) -> HttpResponse:
        if request.GET.get("pass") != "1":
            return HttpResponse(status=403)
        return get_response(request)

    return respond


def need_https(get_response: GetResponse) -> GetResponse:
    def respond(request: HttpRequest) -> HttpResponse:
        if request.headers.get("X-Forwarded-Proto") != "https":
            return HttpResponse(status=400)
        return get_response(request)

    return respond
