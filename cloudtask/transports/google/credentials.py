"""Whose credentials tasks are sent with, and what is wrong with them."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import google.auth
import grpc
from google.auth import compute_engine, exceptions
from google.auth.credentials import Credentials, with_scopes_if_required
from google.auth.transport.grpc import AuthMetadataPlugin
from google.auth.transport.requests import Request
from google.cloud.tasks_v2.services.cloud_tasks.transports import (
    CloudTasksGrpcTransport,
)

from cloudtask.conf import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloudtask.conf import Settings
    from cloudtask.exceptions import ConfigurationError

_SCOPES = CloudTasksGrpcTransport.AUTH_SCOPES
#: The variable that names a file, where CREDENTIALS are not set.
_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_FORMS = (
    "Set it to the path of a service account's key file, to the content of such a "
    "file as a dictionary, or to credentials of google-auth; or leave it out, and "
    "run `gcloud auth application-default login`."
)
#: Statuses with which servers of tokens refuse for good.
_REFUSALS = (400, 401, 403)
#: Characters of what a server says of credentials.
_MAX_REASON = 200


class Unusable(Exception):
    """What is wrong with CREDENTIALS, without anything of their content."""


class Plugin(grpc.AuthMetadataPlugin):
    """
    Gives each call its token, and remembers why one could not be had.

    gRPC's own code for that is UNAVAILABLE, as for an outage.

    Args:
        settings: CREDENTIALS.

    Raises:
        ConfigurationError: They are not usable.
    """

    def __init__(self, settings: Settings) -> None:
        self._setting = settings.path_of("CREDENTIALS")
        self.credentials = load(settings)
        #: What is wrong with credentials that will never work.
        self.refusal: str | None = None
        self._session = Request().session
        self._scoped, self._host = self.credentials, ""

    def use(self, credentials: Any, host: str) -> None:
        """
        Give tokens of these credentials from now on.

        Args:
            credentials: Ours, as the client wants to have them.
            host: What tokens are for that the credentials sign themselves.
        """
        self._scoped = with_scopes_if_required(
            credentials, None, default_scopes=_SCOPES
        )
        self._host = host

    def __call__(self, context: Any, callback: Any) -> None:
        request = _StatusRequest(self._session)
        plugin: Any = AuthMetadataPlugin(self._scoped, request, default_host=self._host)
        try:
            plugin(context, callback)
        except Exception as error:
            reason = _describe(error)
            self.refusal = None
            if is_refusal(error, request.status):
                self.refusal = (
                    f"{self._setting}: these credentials do not work: {reason}. "
                    "Trying again does not help."
                )
            callback(None, Unusable(reason))
        else:
            self.refusal = None


class _StatusRequest(Request):
    """Knows the status of the last answer, which errors of it do not tell."""

    status: int | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        response: Any = super().__call__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self.status = response.status
        return response


def load(settings: Settings) -> Any:
    """
    Load what CREDENTIALS stand for, or else the credentials of this place.

    Raises:
        ConfigurationError: They are not usable. Nothing of their content is
            told.
    """
    try:
        return _load(settings.credentials)
    except Unusable as error:
        problem = str(error)
    except Exception as error:  # A parser of credentials raises all sorts.
        problem = f"they do not hold credentials of Google ({type(error).__name__})"
    # Not within the handler: the frames of the error's context hold keys.
    raise make_client_error(settings, problem)


def make_client_error(settings: Settings, problem: str) -> ConfigurationError:
    return settings.error("CREDENTIALS", f"no client can be made: {problem}. {_FORMS}")


def _load(value: Any) -> Any:
    if isinstance(value, Credentials):
        return value
    with warnings.catch_warnings():
        # It warns of files that come from others. This one is the settings'.
        warnings.simplefilter("ignore", DeprecationWarning)
        if value is None:
            return _find_default()
        if isinstance(value, dict):
            return google.auth.load_credentials_from_dict(value, _SCOPES)[0]
        if isinstance(value, (str, os.PathLike)):
            path = _check_readable(value)
            return google.auth.load_credentials_from_file(path, _SCOPES)[0]
    raise Unusable(f"a {type(value).__name__} is neither a path nor credentials")


def _find_default() -> Any:
    try:
        return google.auth.default(_SCOPES)[0]
    except exceptions.DefaultCredentialsError:
        if os.environ.get(_VARIABLE):
            raise Unusable(
                "it is not set, and the environment variable "
                f"{_VARIABLE} does not name a key file"
            ) from None
        if environment.is_google():
            # The metadata server has them, and did not answer now.
            return compute_engine.Credentials(scopes=_SCOPES)
        raise Unusable("it is not set, and this place has no credentials") from None


def _check_readable(value: str | os.PathLike[str]) -> str:
    """Return a path at which there is a file: nothing else is looked at."""
    path = os.fspath(value)
    try:
        with open(path, "rb"):
            return path
    except (OSError, ValueError) as error:
        # Not quoted: it may be the content of a key file, or a part of one.
        why = getattr(error, "strerror", None) or type(error).__name__
        problem = f"it is not the path of a file that can be read ({why})"
        raise Unusable(problem) from None


def is_refusal(error: BaseException, status: int | None) -> bool:
    """
    Whether credentials are wrong, and stay so. What is unknown may pass.

    Args:
        error: What came of asking for a token.
        status: What a server answered last; None if none was asked.
    """
    if not isinstance(error, (exceptions.GoogleAuthError, ValueError, TypeError)):
        return False
    if any(_is_outage(each) for each in _iterate_causes(error)):
        return False
    # Without a server it is the library that cannot use them.
    return status is None or status in _REFUSALS


def _iterate_causes(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__


def _is_outage(error: BaseException) -> bool:
    outages = (exceptions.TransportError, exceptions.TimeoutError)
    return isinstance(error, outages) or getattr(error, "retryable", False)


def _describe(error: Exception) -> str:
    kind = type(error).__name__
    if isinstance(error, exceptions.RefreshError) and error.args:
        return f"{kind}: {str(error.args[0])[:_MAX_REASON]}"
    return kind
