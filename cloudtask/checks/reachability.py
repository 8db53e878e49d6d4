"""Whether a dispatch reaches the view, and what keeps it from that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from django.conf import settings as django_settings
from django.core import checks
from django.http.request import validate_host
from django.urls import NoReverseMatch, get_script_prefix, reverse

from cloudtask.checks.trial import USER_AGENT, Dispatch, Fate, Reply, send
from cloudtask.conf import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

    from django.core.checks import CheckMessage

    from cloudtask.conf import Settings

_SECURITY = "django.middleware.security.SecurityMiddleware"
_FAILURE = "Cloud Tasks takes it for a failure."


def check_route(settings: Settings) -> Iterator[CheckMessage]:
    """Tell what stands between the project's URL and the dispatch view."""
    if not getattr(django_settings, "ROOT_URLCONF", None):
        return
    route = _find_route(settings)
    url = _find_url(settings, route)
    reply = _try(url, settings.backend) if url is not None else None
    if reply is None or url is None:
        if route is None and settings.url is None:
            yield _warn_of_no_route()
        return
    if reply.fate is Fate.STOPPED:
        yield _warn_of_stop(settings, url, reply)
    if _ends_elsewhere(reply):
        if route:
            yield _warn_of_wrong_path(settings, url, route)
        else:
            yield _warn_of_no_route()


def _find_route(settings: Settings) -> str | None:
    try:
        return reverse("cloudtask:dispatch", current_app=settings.backend)
    except NoReverseMatch:
        return None


def _find_url(settings: Settings, route: str | None) -> SplitResult | None:
    if settings.url is not None:
        return urlsplit(settings.url)
    if route is None or not environment.is_google():
        return None
    # It is found at run time. Only its host is not known here.
    names = [name.lstrip(".") for name in django_settings.ALLOWED_HOSTS]
    host = next((name for name in names if name and "*" not in name), "localhost")
    return urlsplit(f"https://{host}{route}")


def _try(url: SplitResult, backend: str | None) -> Reply | None:
    """What comes back in place of the view, wherever the site is mounted."""
    replies = []
    for mount, path in _iterate_mounts(unquote(url.path) or "/"):
        reply = send(
            Dispatch(
                host=url.netloc.rpartition("@")[2],
                mount=mount,
                path=path,
                query=url.query,
                is_https=url.scheme.lower() == "https",
                backend=backend,
            )
        )
        if reply.fate in (Fate.VIEW, Fate.UNKNOWN):
            return None
        replies.append(reply)
        if reply.fate is Fate.STOPPED:
            break
    return replies[-1]


def _iterate_mounts(path: str) -> Iterator[tuple[str, str]]:
    """
    Where the site may be mounted, and what is left of the path then.

    A server may mount it anywhere without telling the settings.
    """
    mount = get_script_prefix().rstrip("/")
    if not mount:
        for match in re.finditer("/", path):
            yield path[: match.start()], path[match.start() :]
        return
    if path.startswith(f"{mount}/"):
        yield mount, path[len(mount) :]
    # A proxy may add the mount.
    yield mount, path


def _ends_elsewhere(reply: Reply | None) -> bool:
    return reply is not None and (reply.fate is Fate.ELSEWHERE or reply.is_wrong_path)


def _warn_of_no_route() -> CheckMessage:
    return checks.Warning(
        "The dispatch view is not routed: no task can come back to this project.",
        hint="Add path('_tasks/', include('cloudtask.urls')) to your URLconf.",
        id="cloudtask.W008",
    )


def _warn_of_wrong_path(
    settings: Settings, url: SplitResult, route: str
) -> CheckMessage:
    with_slash = _try(url._replace(path=f"{url.path}/"), settings.backend)
    is_redirected = django_settings.APPEND_SLASH and not _ends_elsewhere(with_slash)
    trouble = "is redirected (APPEND_SLASH)" if is_redirected else "leads elsewhere"
    return checks.Warning(
        f"The path of {settings.path_of('URL')}, {url.path!r}, {trouble}. The dispatch "
        f"view is at {route!r}.",
        id="cloudtask.W009",
    )


def _warn_of_stop(settings: Settings, url: SplitResult, reply: Reply) -> CheckMessage:
    target = urlsplit(reply.location)
    if reply.middleware == _SECURITY and target.scheme == "https":
        return checks.Warning(
            "SECURE_SSL_REDIRECT would redirect dispatches, and Cloud Tasks takes "
            "a redirect for a failure.",
            hint=f"{_explain_https(url)}, or add the path to SECURE_REDIRECT_EXEMPT.",
            id="cloudtask.W007",
        )
    culprit = reply.middleware or "Django's handler"
    place = f"{_format_host(url)}{url.path}, as {settings.path_of('URL')} has it"
    return checks.Warning(
        f"A dispatch to {place}, does not reach the dispatch view: {culprit} "
        f"{_describe_deed(reply)}. {_FAILURE}",
        hint=_choose_hint(url, reply),
        id="cloudtask.W018",
    )


def _explain_https(url: SplitResult) -> str:
    if url.scheme == "http":
        return "Begin URL with https://"
    return "Behind a proxy that ends TLS, as on Cloud Run, set SECURE_PROXY_SSL_HEADER"


def _describe_deed(reply: Reply) -> str:
    if reply.error:
        return f"raises {reply.error}"
    if reply.location:
        return f"redirects it to {reply.location!r}"
    return f"answers it with {reply.status}"


def _choose_hint(url: SplitResult, reply: Reply) -> str:
    host = _format_host(url)
    if reply.status == 400 and not _is_allowed(host):
        return f"Add {host!r} to ALLOWED_HOSTS."
    if django_settings.PREPEND_WWW and _is_www(reply.location, host):
        return f"Name the host 'www.{host}' in URL, or turn PREPEND_WWW off."
    if reply.status == 403 and _is_disallowed_agent():
        return f"Let {USER_AGENT!r} pass DISALLOWED_USER_AGENTS."
    if reply.error:
        return f"Correct what raises it, or have the path {url.path!r} exempt from it."
    return (
        f"Have the path {url.path!r} exempt from it. The dispatch view authenticates "
        "its callers itself."
    )


def _format_host(url: SplitResult) -> str:
    """The host, as in ALLOWED_HOSTS."""
    host = url.hostname or ""
    return f"[{host}]" if ":" in host else host


def _is_allowed(host: str) -> bool:
    allowed = django_settings.ALLOWED_HOSTS
    if django_settings.DEBUG and not allowed:
        allowed = [".localhost", "127.0.0.1", "[::1]"]
    return validate_host(host, allowed)


def _is_www(location: str, host: str) -> bool:
    return urlsplit(location).hostname == f"www.{host}"


def _is_disallowed_agent() -> bool:
    patterns = django_settings.DISALLOWED_USER_AGENTS
    return any(pattern.search(USER_AGENT) for pattern in patterns)
