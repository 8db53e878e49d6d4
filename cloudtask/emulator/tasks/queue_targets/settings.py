"""What a queue may say of its HTTP target, and the defaults of that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.cloud import tasks_v2

from cloudtask.emulator.tasks.limits import MAX_HEADERS_SIZE
from cloudtask.emulator.values import header_rules
from cloudtask.emulator.values.errors import invalid_argument
from cloudtask.emulator.values.fields import json_name

if TYPE_CHECKING:
    from collections.abc import Collection

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
# What a queue's token has to say beside the service account.
_TOKEN_FIELDS = {"oauth_token": "scope", "oidc_token": "audience"}


def complete(message: Any, cleared: Collection[str] = ()) -> None:
    """
    Check the HTTP target of a queue's message and fill in its defaults.

    Args:
        message: The queue; a target that says nothing is taken away.
        cleared: Names of fields that an update clears.

    Raises:
        ApiError: The target is not valid.
    """
    target = message.http_target
    if not target.uri_override.ListFields():
        target.ClearField("uri_override")
    if not target.ListFields():
        message.ClearField("http_target")
        return
    if target.HasField("uri_override"):
        _complete_uri_override(target.uri_override)
    _check_enum(target, "http_method", "HttpTarget.httpMethod")
    _check_header_overrides(target.header_overrides)
    _check_token(target, cleared)


def clear_token(target: Any) -> None:
    """Remove a token whose account was cleared, as the gcloud CLI does it."""
    kind = target.WhichOneof("authorization_header")
    if kind is not None and not getattr(target, kind).service_account_email:
        target.ClearField(kind)


# Nobody recorded how the service words the refusals below.
def _complete_uri_override(uri: Any) -> None:
    if uri.HasField("host") and _HOST.fullmatch(uri.host) is None:
        raise invalid_argument("UriOverride.host must be a host name without a port.")
    if not 0 <= uri.port <= 65535:
        raise invalid_argument("UriOverride.port must be between [0, 65535].")
    _check_enum(uri, "scheme", "UriOverride.scheme")
    if uri.HasField("scheme"):
        uri.scheme = uri.scheme or tasks_v2.UriOverride.Scheme.HTTPS
    _check_enum(uri, "uri_override_enforce_mode", "UriOverride.uriOverrideEnforceMode")
    uri.uri_override_enforce_mode = (
        uri.uri_override_enforce_mode
        or tasks_v2.UriOverride.UriOverrideEnforceMode.ALWAYS
    )


def _check_enum(message: Any, name: str, shown: str) -> None:
    # Proto3 takes any number.
    known = message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number
    if getattr(message, name) not in known:
        raise invalid_argument(f"{shown} is not a known value.")


def _check_header_overrides(overrides: Any) -> None:
    pairs = [(each.header.key, each.header.value) for each in overrides]
    if not all(key for key, _ in pairs):
        raise invalid_argument("HttpTarget.headerOverrides.header.key is required.")
    if sum(len((key + value).encode()) for key, value in pairs) >= MAX_HEADERS_SIZE:
        raise invalid_argument("HttpTarget.headerOverrides must be less than 80KB.")
    header_rules.check("HttpTarget.headerOverrides", pairs)


def _check_token(target: Any, cleared: Collection[str]) -> None:
    kind = target.WhichOneof("authorization_header")
    if kind is None:
        return
    token, needed = getattr(target, kind), _TOKEN_FIELDS[kind]
    # Unconfirmed: one that is cleared goes back to the default.
    is_told = bool(getattr(token, needed)) or needed in cleared
    if not (token.service_account_email and is_told):
        shown = json_name(target, kind)
        raise invalid_argument(
            f"HttpTarget.{shown} must have a serviceAccountEmail and its {needed}."
        )
