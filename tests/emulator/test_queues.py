import math
from typing import Any

import pytest
from google.cloud import tasks_v2
from google.protobuf import json_format
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.tasks.model import queues
from cloudtask.emulator.tasks.model.retries import RetryPolicy
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.errors import ApiError
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import NOW, QUEUE, queue

DEFAULTS = {
    "name": QUEUE,
    "rateLimits": {
        "maxDispatchesPerSecond": 500.0,
        "maxBurstSize": 100,
        "maxConcurrentDispatches": 1000,
    },
    "retryConfig": {
        "maxAttempts": 100,
        "minBackoff": "0.100s",
        "maxBackoff": "3600s",
        "maxDoublings": 16,
    },
    "state": "RUNNING",
}
TOKEN = {"service_account_email": "a@example.com", "audience": "shop"}
TARGET = {"uri_override": {"host": "example.com"}, "oidc_token": TOKEN}


def filled(**values: Any) -> Any:
    message = queue(**values)
    queues.fill(message)
    return message


def changed(stored: Any, paths: list[str], **values: Any) -> Any:
    return queues.apply_update(stored, queue(**values), paths)


def refusal(call: Any) -> str:
    with pytest.raises(ApiError) as caught:
        call()
    assert caught.value.code == code_pb2.INVALID_ARGUMENT
    return caught.value.message


def test_a_new_queue_gets_every_default() -> None:
    assert json_format.MessageToDict(filled()) == DEFAULTS


def test_what_only_the_service_sets_is_ignored_in_a_new_queue() -> None:
    message = filled(
        state=tasks_v2.Queue.State.PAUSED,
        purge_time={"seconds": 1},
        rate_limits={"max_burst_size": -7},
    )

    assert json_format.MessageToDict(message) == DEFAULTS


def test_what_a_new_queue_sets_is_kept() -> None:
    message = filled(
        rate_limits={"max_dispatches_per_second": 0.5, "max_concurrent_dispatches": 2},
        retry_config={"max_attempts": -1, "max_retry_duration": {"seconds": 9}},
        stackdriver_logging_config={"sampling_ratio": 0.25},
        app_engine_routing_override={"service": "worker", "host": "example.com"},
    )

    assert message.rate_limits.max_dispatches_per_second == 0.5
    assert message.rate_limits.max_concurrent_dispatches == 2
    assert message.stackdriver_logging_config.sampling_ratio == 0.25
    assert message.app_engine_routing_override.service == "worker"
    assert message.app_engine_routing_override.host == ""  # Output only.
    assert queues.retry_policy(message) == RetryPolicy(
        max_attempts=-1, max_retry_duration=9 * SECOND
    )


@pytest.mark.parametrize(
    ("rate", "burst"),
    [(500, 100), (499, 20), (50, 20), (49, 10), (1, 10), (0.9, 5), (1e-300, 5)],
)
def test_the_rate_decides_on_the_burst_size(rate: float, burst: int) -> None:
    message = filled(rate_limits={"max_dispatches_per_second": rate})

    assert message.rate_limits.max_burst_size == burst


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (  # What is above or below the limits is in test_errors.
            {"rate_limits": {"max_dispatches_per_second": math.nan}},
            "RateLimits.maxDispatchesPerSecond must be less than or equal to 500.",
        ),
        (
            {"rate_limits": {"max_dispatches_per_second": math.inf}},
            "RateLimits.maxDispatchesPerSecond must be less than or equal to 500.",
        ),
        *(
            (
                {"stackdriver_logging_config": {"sampling_ratio": ratio}},
                "StackdriverLoggingConfig.samplingRatio must be between [0.0, 1.0].",
            )
            for ratio in (-0.1, 1.1, math.nan)
        ),
        *(
            (
                {"http_target": {"uri_override": {"host": host}}},
                "UriOverride.host must be a host name without a port.",
            )
            for host in ("", "example.com:80", "http://example.com", "a/b", "a\n")
        ),
        *(
            (
                {"http_target": {"uri_override": {"port": port}}},
                "UriOverride.port must be between [0, 65535].",
            )
            for port in (-1, 65536, 2**63 - 1)
        ),
        (
            {"http_target": {"uri_override": {"scheme": 3}}},
            "UriOverride.scheme is not a known value.",
        ),
        (
            {"http_target": {"uri_override": {"uri_override_enforce_mode": 9}}},
            "UriOverride.uriOverrideEnforceMode is not a known value.",
        ),
        (
            {"http_target": {"http_method": 8}},
            "HttpTarget.httpMethod is not a known value.",
        ),
        (
            {"http_target": {"header_overrides": [{"header": {"value": "a"}}]}},
            "HttpTarget.headerOverrides.header.key is required.",
        ),
        (
            {
                "http_target": {
                    "header_overrides": [
                        {"header": {"key": "a", "value": "é" * (40 * 1024 - 1)}},
                        {"header": {"key": "b"}},
                    ]
                }
            },
            "HttpTarget.headerOverrides must be less than 80KB.",
        ),
        (
            {"http_target": {"oidc_token": TOKEN | {"audience": ""}}},
            "HttpTarget.oidcToken must have a serviceAccountEmail and its audience.",
        ),
        (
            {"http_target": {"oauth_token": {"scope": "s"}}},
            "HttpTarget.oauthToken must have a serviceAccountEmail and its scope.",
        ),
    ],
)
def test_a_configuration_that_is_not_valid_is_refused(
    config: dict[str, Any], message: str
) -> None:
    stored = filled()

    assert refusal(lambda: filled(**config)) == message
    assert refusal(lambda: changed(stored, [], **config)) == message


@pytest.mark.parametrize(
    "duration",
    [
        pytest.param({"seconds": 315_576_000_001}, id="too long"),
        pytest.param({"seconds": 2**63 - 1, "nanos": 2**31 - 1}, id="far too long"),
        pytest.param({"seconds": 1, "nanos": -1}, id="two signs"),
        pytest.param({"nanos": 10**9}, id="too many nanos"),
    ],
)
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("max_retry_duration", "maxRetryDuration"),
        ("min_backoff", "minBackoff"),
        ("max_backoff", "maxBackoff"),
    ],
)
def test_a_duration_that_is_none_is_refused(
    name: str, shown: str, duration: dict[str, int]
) -> None:
    message = queue()
    part = getattr(message.retry_config, name)
    for field, value in duration.items():
        setattr(part, field, value)

    assert refusal(lambda: queues.fill(message)) == (
        f"RetryConfig.{shown} is not a valid Duration."
    )


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        pytest.param(
            TARGET,
            {
                "uriOverride": {
                    "host": "example.com",
                    "uriOverrideEnforceMode": "ALWAYS",
                },
                "oidcToken": {
                    "serviceAccountEmail": "a@example.com",
                    "audience": "shop",
                },
            },
            id="mode is ALWAYS",
        ),
        pytest.param(
            {
                "uri_override": {
                    "scheme": 0,
                    "host": "[::10]",
                    "port": 0,
                    "path_override": {"path": ""},
                    "query_override": {"query_params": "a=1"},
                    "uri_override_enforce_mode": 1,
                }
            },
            {
                "uriOverride": {
                    "scheme": "HTTPS",
                    "host": "[::10]",
                    "port": "0",
                    "pathOverride": {},
                    "queryOverride": {"queryParams": "a=1"},
                    "uriOverrideEnforceMode": "IF_NOT_EXISTS",
                }
            },
            id="scheme is HTTPS",
        ),
        pytest.param(
            {
                "uri_override": {"scheme": 1, "port": 65535},
                "oauth_token": {"service_account_email": "a@b", "scope": "s"},
            },
            {
                "uriOverride": {
                    "scheme": "HTTP",
                    "port": "65535",
                    "uriOverrideEnforceMode": "ALWAYS",
                },
                "oauthToken": {"serviceAccountEmail": "a@b", "scope": "s"},
            },
            id="OAuth",
        ),
        pytest.param(
            {
                "uri_override": {},
                "http_method": 2,
                "header_overrides": [{"header": {"key": "A", "value": "b"}}],
            },
            {
                "httpMethod": "GET",
                "headerOverrides": [{"header": {"key": "A", "value": "b"}}],
            },
            id="nothing about the URI",
        ),
    ],
)
def test_an_http_target_is_kept_with_its_defaults(
    target: dict[str, Any], kept: dict[str, Any]
) -> None:
    message = filled(http_target=target)

    assert json_format.MessageToDict(message.http_target) == kept


@pytest.mark.parametrize("target", [{}, {"uri_override": {}}])
def test_an_http_target_that_says_nothing_is_none(target: dict[str, Any]) -> None:
    assert not filled(http_target=target).HasField("http_target")


@given(st.floats(), st.integers(-(2**31), 2**31 - 1))
def test_what_was_filled_once_is_filled_for_good(rate: float, attempts: int) -> None:
    message = queue(
        rate_limits={"max_dispatches_per_second": rate},
        retry_config={"max_attempts": attempts},
        http_target=TARGET,
    )
    try:
        queues.fill(message)
    except ApiError:
        return
    again = queues.copy_message(message)

    queues.fill(again)

    assert again == message


def used() -> Any:
    """Return a queue with everything set, that was paused and purged."""
    message = filled(
        rate_limits={"max_dispatches_per_second": 5, "max_concurrent_dispatches": 6},
        retry_config={"max_attempts": 7, "max_doublings": 8},
        http_target=TARGET,
        stackdriver_logging_config={"sampling_ratio": 1},
        app_engine_routing_override={"service": "worker"},
    )
    message.state = queues.PAUSED
    instants.write(message.purge_time, NOW)
    return message


def test_an_update_without_a_mask_replaces_all_that_can_be_changed() -> None:
    result = changed(used(), [], retry_config={"max_attempts": 3})

    expected = filled(retry_config={"max_attempts": 3})
    expected.state = queues.PAUSED
    instants.write(expected.purge_time, NOW)
    assert result == expected


@pytest.mark.parametrize(
    ("kind", "needed"), [("oidc_token", "audience"), ("oauth_token", "scope")]
)
def test_a_token_goes_with_its_account(kind: str, needed: str) -> None:
    token = {
        "service_account_email": "tasks@project.iam.gserviceaccount.com",
        needed: "https://shop.example",
    }
    stored = filled(http_target={"http_method": "PUT", kind: token})
    path = f"http_target.{kind}.service_account_email"

    assert changed(stored, [path]) == filled(http_target={"http_method": "PUT"})
    assert changed(stored, [path], http_target={kind: token}) == stored


def test_an_update_leaves_its_arguments_as_they_are() -> None:
    stored, asked = used(), queue(rate_limits={"max_dispatches_per_second": 1})

    queues.apply_update(stored, asked, ["rate_limits"])

    assert stored == used()
    assert asked == queue(rate_limits={"max_dispatches_per_second": 1})


@pytest.mark.parametrize(
    "path",
    ["rate_limits.max_dispatches_per_second", "rateLimits.maxDispatchesPerSecond"],
)
def test_a_path_changes_its_field_alone(path: str) -> None:
    result = changed(
        used(),
        [path],
        rate_limits={"max_dispatches_per_second": 60, "max_concurrent_dispatches": 9},
        retry_config={"max_attempts": 9},
    )

    expected = used()
    expected.rate_limits.max_dispatches_per_second = 60
    expected.rate_limits.max_burst_size = 20
    assert result == expected


def test_several_paths_change_their_fields() -> None:
    result = changed(
        used(),
        ["retry_config.max_attempts", "retry_config.max_retry_duration"],
        retry_config={"max_attempts": 3, "max_retry_duration": {"seconds": 4}},
    )

    expected = used()
    expected.retry_config.max_attempts = 3
    expected.retry_config.max_retry_duration.seconds = 4
    assert result == expected


@pytest.mark.parametrize(
    ("path", "read", "default"),
    [
        ("rate_limits", lambda q: q.rate_limits, filled().rate_limits),
        (
            "rate_limits.max_concurrent_dispatches",
            lambda q: q.rate_limits.max_concurrent_dispatches,
            1000,
        ),
        ("retry_config", lambda q: q.retry_config, filled().retry_config),
        ("retry_config.max_attempts", lambda q: q.retry_config.max_attempts, 100),
        ("http_target", lambda q: q.HasField("http_target"), False),
        (
            "http_target.oidc_token",
            lambda q: q.http_target.HasField("oidc_token"),
            False,
        ),
        (
            "http_target.uri_override.host",
            lambda q: q.http_target.uri_override.HasField("host"),
            False,
        ),
        (
            "stackdriver_logging_config.sampling_ratio",
            lambda q: q.stackdriver_logging_config.sampling_ratio,
            0,
        ),
        (
            "app_engine_routing_override",
            lambda q: q.HasField("app_engine_routing_override"),
            False,
        ),
    ],
)
def test_a_path_without_a_value_goes_back_to_the_default(
    path: str, read: Any, default: object
) -> None:
    assert read(used()) != default

    assert read(changed(used(), [path])) == default


def test_a_path_below_what_neither_has_creates_nothing() -> None:
    stored = filled()

    assert changed(stored, ["http_target.uri_override.host"]) == stored


def test_a_path_can_create_what_it_is_in() -> None:
    result = changed(
        filled(), ["http_target.uri_override.host"], http_target=dict(TARGET)
    )

    assert result.http_target.uri_override.host == "example.com"
    assert not result.http_target.HasField("oidc_token")


def test_a_list_is_replaced_as_a_whole() -> None:
    def headers(*names: str) -> dict[str, Any]:
        return {"header_overrides": [{"header": {"key": name}} for name in names]}

    result = changed(
        filled(http_target=headers("A", "B")),
        ["http_target.header_overrides"],
        http_target=headers("C"),
    )

    keys = [item.header.key for item in result.http_target.header_overrides]
    assert keys == ["C"]


@pytest.mark.parametrize(
    "path", ["name", "state", "purge_time", "rate_limits.max_burst_size"]
)
def test_what_only_the_service_sets_is_ignored_in_an_update(path: str) -> None:
    asked = queue(
        f"{QUEUE}-2",
        state=tasks_v2.Queue.State.RUNNING,
        purge_time={"seconds": 1},
        rate_limits={"max_burst_size": 3},
    )

    assert queues.apply_update(used(), asked, [path]) == used()


@pytest.mark.parametrize(
    "path",
    [
        "rates",
        "rate_limits.max",
        "name.x",
        "rate_limits..",
        "",
        "*",
        "http_target.header_overrides.header",
    ],
)
def test_a_path_to_no_field_is_refused(path: str) -> None:
    assert refusal(lambda: changed(used(), [path])) == (
        f"Invalid update mask: {path!r} is not a field."
    )


def test_a_long_path_is_cut_in_the_refusal() -> None:
    assert refusal(lambda: changed(used(), ["x" * 9999])) == (
        f"Invalid update mask: '{'x' * 100}...' is not a field."
    )


def test_the_result_of_an_update_is_checked_as_a_whole() -> None:
    assert refusal(
        lambda: changed(
            used(),
            ["retry_config.min_backoff"],
            retry_config={"min_backoff": {"seconds": 3601}},
        )
    ) == (
        "RetryConfig.minBackoff must be less than or equal to RetryConfig.maxBackoff."
    )
