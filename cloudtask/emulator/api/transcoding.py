"""
REST without HTTP: from requests to calls, from responses to JSON.

It follows google.api.http: a field that the path binds is what the path says,
and any other may be in the body or be a query parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from google.protobuf import json_format

from cloudtask.emulator.api import protojson
from cloudtask.emulator.values import fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What every resource's name begins with: such a path comes without a version.
_UNVERSIONED = "projects"

# These go for every Google API. None changes what is done.
_SYSTEM_PARAMETERS = frozenset(
    {
        *("$alt", "$callback", "$fields", "$key", "$prettyPrint", "$quotaUser"),
        *("$userProject", "$.xgafv", "access_token", "alt", "callback", "fields"),
        *("key", "oauth_token", "prettyPrint", "quotaUser", "uploadType"),
        *("upload_protocol", "userIp", "userProject"),
    }
)


@dataclass(frozen=True, slots=True)
class Route:
    """How a method is called over HTTP. See make_route()."""

    method: str
    request_type: Any  # The class of its raw protobuf.
    verb: str
    variable: str | None  # The field that the resource's path is bound to.
    resource_length: int  # In segments, the first ones.
    segments: tuple[str, ...]  # "*" is any, but not an empty one.
    action: str  # What follows the colon, or "".
    body: str | None  # The field that the body is; "*" is the whole request.

    def serves(self, verb: str, segments: tuple[str, ...], action: str) -> bool:
        """
        Whether a request is for this method.

        Args:
            verb: Its HTTP method.
            segments: Its path, without the action.
            action: What stands behind the last colon of the path; empty if
                nothing does.
        """
        return (
            (self.verb, self.action) == (verb, action)
            and len(self.segments) == len(segments)
            and all(
                given == expected or (expected == "*" and given != "")
                for given, expected in zip(segments, self.segments, strict=True)
            )
        )


def make_route(
    method: str,
    request_type: Any,
    verb: str,
    resource: str,
    rest: str = "",
    *,
    variable: str | None,
    body: str | None = None,
) -> Route:
    """
    Return the route of a method.

    Args:
        method: Its name.
        request_type: The class of its request, raw protobuf.
        verb: In capitals.
        resource: The path of what a call is about, "*" being any segment.
        rest: What follows it: segments, and an action after a colon.
        variable: The field of the request that is the resource's path, such
            as `queue.name`; None if there is no such field.
        body: The field that the body is; "*" is the whole request.
    """
    path, _, action = f"{resource}{rest}".partition(":")
    return Route(
        method=method,
        request_type=request_type,
        verb=verb,
        variable=variable,
        resource_length=resource.count("/") + 1,
        segments=tuple(path.split("/")),
        action=action,
        body=body,
    )


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose method is found. See RouteTable.find_call()."""

    beginning: str  # Of the path: a version, or what comes without one.
    _route: Route
    _segments: tuple[str, ...]
    _is_lenient: bool  # Whether to ignore fields that are not known.

    @property
    def method(self) -> str:
        """Its name."""
        return self._route.method

    @property
    def resource(self) -> str:
        """The path of what the call is about, or in."""
        return "/".join(self._segments[: self._route.resource_length])

    @property
    def rest(self) -> tuple[str, ...]:
        """The segments that follow the resource's."""
        return self._segments[self._route.resource_length :]

    def read(self, query: str, body: bytes) -> Any:
        """
        Return the request as raw protobuf.

        Args:
            query: The URL's, percent-encoded.
            body: JSON, or nothing for an empty object.

        Raises:
            ApiError: There is something wrong with either.
        """
        request = self._route.request_type()
        if body and self._route.body is not None:
            _merge_body(request, self._route.body, body, self._is_lenient)
        for name, value in _parameters(query):
            if name not in _SYSTEM_PARAMETERS:
                _merge_parameter(request, name, value, self._is_lenient)
        if self._route.variable is not None:
            *parents, field = self._route.variable.split(".")
            setattr(reduce(getattr, parents, request), field, self.resource)
        return request

    def write(self, response: Any, query: str) -> dict[str, Any]:
        """Return a response, raw protobuf, as JSON."""
        content: dict[str, Any] = json_format.MessageToDict(
            response, use_integers_for_enums=_wants_integers(query)
        )
        return content


class RouteTable:
    """
    The routes of a service.

    Args:
        routes: All of them.
        beginnings: How a path may begin: with a version, or with the first
            segment of every resource. Each says whether to ignore what the
            messages have no field for.
    """

    def __init__(self, routes: Iterable[Route], beginnings: Mapping[str, bool]) -> None:
        self._routes = tuple(routes)
        self._beginnings = beginnings
        self._actions = frozenset(r.action for r in self._routes if r.action)

    def find_call(self, verb: str, path: str) -> Call | None:
        """
        Return what a request calls, None if nothing is served there.

        Args:
            verb: In capitals. HEAD is as good as GET.
            path: The URL's, percent-encoded.
        """
        beginning, segments, action = self._split(path)
        verb = "GET" if verb == "HEAD" else verb
        if beginning in self._beginnings:
            for route in self._routes:
                if route.serves(verb, segments, action):
                    is_lenient = self._beginnings[beginning]
                    return Call(beginning, route, segments, is_lenient)
        return None

    def _split(self, path: str) -> tuple[str, tuple[str, ...], str]:
        """Return how a path begins, its decoded segments and its action."""
        path = clean_text(path).removeprefix("/")
        beginning, _, rest = path.partition("/")
        encoded = path if beginning == _UNVERSIONED else rest
        # Decoded one by one: an encoded slash is not a slash.
        *segments, last = [unquote(segment) for segment in encoded.split("/")]
        name, _, action = last.rpartition(":")
        if action in self._actions:
            return beginning, (*segments, name), action
        return beginning, (*segments, last), ""


def clean_text(text: str) -> str:
    """Return a text from the wire as a message can hold it."""
    # Bytes that are not UTF-8 came as lone surrogates.
    return text.encode(errors="replace").decode()


def _merge_body(request: Any, field: str, body: bytes, lenient: bool) -> None:
    content = protojson.loads(body)
    if field == "*":
        protojson.merge(request, content, lenient=lenient)
    else:
        target = getattr(request, field)
        target.SetInParent()
        protojson.merge(target, content, field, lenient=lenient)


def _merge_parameter(request: Any, name: str, value: str, lenient: bool) -> None:
    found = fields.resolve(request.DESCRIPTOR, name)
    if found is None or any(parent.is_repeated for parent in found[:-1]):
        if not lenient:
            raise protojson.unknown_parameter(name)
        return
    *parents, field = found
    target = reduce(getattr, (parent.name for parent in parents), request)
    path = ".".join(each.name for each in found)
    protojson.set_field(target, field, value, path, lenient=lenient)


def _wants_integers(query: str) -> bool:
    return any(
        name in ("$alt", "alt") and "enum-encoding=int" in value.split(";")
        for name, value in _parameters(query)
    )


def _parameters(query: str) -> list[tuple[str, str]]:
    return parse_qsl(clean_text(query), keep_blank_values=True)
