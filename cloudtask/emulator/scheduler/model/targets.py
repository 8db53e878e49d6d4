"""Where a job is sent: what its target may be, and what is sent to it."""

from __future__ import annotations

import re
from typing import Any, Literal

from cloudtask.emulator.identity.credentials import read_credential
from cloudtask.emulator.scheduler import refusals
from cloudtask.emulator.scheduler.limits import (
    DEFAULT_APP_ENGINE_DEADLINE,
    DEFAULT_DEADLINE,
    MAX_APP_ENGINE_DEADLINE,
    MAX_DEADLINE,
    MAX_HEADERS_SIZE,
    MAX_URI_LENGTH,
    MIN_DEADLINE,
)
from cloudtask.emulator.targets.requests import (
    METHODS,
    METHODS_WITH_BODY,
    Outline,
    check_method,
)
from cloudtask.emulator.values import header_rules, instants, urls

TargetType = Literal["HTTP", "APP_ENGINE_HTTP", "PUB_SUB"]

_TYPES: dict[str, TargetType] = {
    "http_target": "HTTP",
    "app_engine_http_target": "APP_ENGINE_HTTP",
    "pubsub_target": "PUB_SUB",
}
_POST = 1
_APP_ENGINE_METHODS = frozenset({"POST", "GET", "HEAD", "PUT", "DELETE"})
_APP_ENGINE_METHODS_WITH_BODY = frozenset({"POST", "PUT"})
_RELATIVE_URI = re.compile("/[!-~]*")
_TOPIC = re.compile(r"projects/([^/]+)/topics/[A-Za-z][A-Za-z0-9._~+%-]{2,254}")


def type_of(job: Any) -> TargetType | None:
    """Return of which type a job's target is, None if there is none."""
    return _TYPES.get(job.WhichOneof("target"))


def check(job: Any) -> None:
    """Raise ApiError unless a job's target and its deadline are valid."""
    match type_of(job):
        case "HTTP":
            _check_http(job.http_target)
            _check_deadline(job, MAX_DEADLINE, "[15s, 30m]")
        case "APP_ENGINE_HTTP":
            _check_app_engine(job.app_engine_http_target)
            if instants.read(job.attempt_deadline):
                _check_deadline(job, MAX_APP_ENGINE_DEADLINE, "[15s, 24h15s]")
        case "PUB_SUB":
            _check_pubsub(job.pubsub_target, project=job.name.split("/")[1])
        case _:
            raise refusals.bad_field("Job.target", "must be set")


def fill(job: Any) -> None:
    """Fill the defaults into the target of a job, and into its deadline."""
    match type_of(job):
        case "HTTP":
            job.http_target.http_method = job.http_target.http_method or _POST
            if not job.HasField("attempt_deadline"):
                instants.write(job.attempt_deadline, DEFAULT_DEADLINE)
        case "APP_ENGINE_HTTP":
            target = job.app_engine_http_target
            target.http_method = target.http_method or _POST
            target.relative_uri = target.relative_uri or "/"


def read_deadline(job: Any) -> int:
    """Return the longest time of an attempt, in microseconds."""
    return instants.read(job.attempt_deadline) or DEFAULT_APP_ENGINE_DEADLINE


def outline_request(job: Any, app_engine_url: str | None) -> Outline:
    """
    Return what to send for a job.

    Args:
        job: Its message. A Pub/Sub job has no request, only a name.
        app_engine_url: Where App Engine is; None leaves a URL that is only a
            path.
    """
    match type_of(job):
        case "HTTP":
            target = job.http_target
            url, credential = target.uri, read_credential(target, target.uri)
        case "APP_ENGINE_HTTP":
            target, credential = job.app_engine_http_target, None
            url = (app_engine_url or "") + target.relative_uri
        case _:
            return Outline(job.pubsub_target.topic_name, "POST", {}, b"")
    return Outline(
        url=urls.encode(url),
        method=METHODS[target.http_method],
        headers=dict(target.headers),
        body=target.body,
        credential=credential,
    )


def _check_http(target: Any) -> None:
    if not target.uri.lower().startswith(("http://", "https://")):
        raise refusals.bad_field(
            "HttpTarget.uri", "must start with 'http://' or 'https://'"
        )
    if len(urls.encode(target.uri)) > MAX_URI_LENGTH:
        raise refusals.bad_field(
            "HttpTarget.uri", f"must be at most {MAX_URI_LENGTH} characters long"
        )
    _check_headers("HttpTarget.headers", target.headers)
    check_method("HttpTarget", target, METHODS_WITH_BODY)


def _check_app_engine(target: Any) -> None:
    uri = target.relative_uri
    if uri and (_RELATIVE_URI.fullmatch(uri) is None or len(uri) > MAX_URI_LENGTH):
        raise refusals.bad_field(
            "AppEngineHttpTarget.relativeUri",
            "must start with '/' and be a valid relative URI of at most "
            f"{MAX_URI_LENGTH} characters",
        )
    _check_headers("AppEngineHttpTarget.headers", target.headers)
    check_method("AppEngineHttpTarget", target, _APP_ENGINE_METHODS_WITH_BODY)
    if METHODS[target.http_method] not in _APP_ENGINE_METHODS:
        raise refusals.bad_field(
            "AppEngineHttpTarget.httpMethod", "cannot be PATCH or OPTIONS"
        )


def _check_pubsub(target: Any, project: str) -> None:
    match = _TOPIC.fullmatch(target.topic_name)
    if match is None or match[1] != project:
        raise refusals.bad_field(
            "PubsubTarget.topicName",
            f'must be formatted: "projects/{project}/topics/<TOPIC_ID>"',
        )
    if not (target.data or target.attributes):
        raise refusals.bad_field(
            "PubsubTarget.data", "must not be empty without attributes"
        )


def _check_headers(field: str, headers: Any) -> None:
    names = [name.lower() for name in headers]
    for name in sorted(headers):
        if names.count(name.lower()) > 1:
            raise refusals.bad_header_name(name)
    if sum(len((n + v).encode()) for n, v in headers.items()) >= MAX_HEADERS_SIZE:
        raise refusals.bad_field(field, "must be less than 80KB")
    header_rules.check(field, headers.items())


def _check_deadline(job: Any, most: int, interval: str) -> None:
    deadline = instants.read(job.attempt_deadline)
    if job.HasField("attempt_deadline") and not MIN_DEADLINE <= deadline <= most:
        raise refusals.bad_deadline(interval)
