from typing import Any

import pytest
from google.cloud import tasks_v2
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.tasks.filters.language import parse_filter
from cloudtask.emulator.tasks.model import queues
from cloudtask.emulator.values import instants
from cloudtask.emulator.values.errors import ApiError
from tests.emulator.samples import NOW, PARENT, queue


def stored(name: str, **values: Any) -> Any:
    message = queue(f"{PARENT}/queues/{name}", **values)
    queues.fill(message)
    return message


def purged(message: Any) -> Any:
    message.state = queues.PAUSED
    instants.write(message.purge_time, NOW)
    return message


QUEUES = {
    "emails": stored("emails", rate_limits={"max_dispatches_per_second": 5}),
    "Reports": stored(
        "Reports",
        retry_config={
            "max_attempts": -1,
            "min_backoff": {"seconds": 2},
            "max_retry_duration": {"seconds": 90},
        },
    ),
    "orders": purged(
        stored(
            "orders",
            http_target={
                "uri_override": {"host": "example.com"},
                "header_overrides": [
                    {"header": {"key": "X-One", "value": "1"}},
                    {"header": {"key": "X-Two", "value": "2"}},
                ],
            },
        )
    ),
}
ALL = "emails Reports orders"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ALL),
        (" \n\t ", ALL),
        # Enums.
        ("state: PAUSED", "orders"),
        ("state=RUNNING", "emails Reports"),
        ("state=running", "emails Reports"),
        ('state="RUNNING"', "emails Reports"),
        ("state!=RUNNING", "orders"),
        ("state>RUNNING", "orders"),
        # Strings.
        ("name:email", "emails"),
        ("name:REPORTS", "Reports"),
        (f"name={PARENT}/queues/reports", "Reports"),
        (f'name="{PARENT}/queues/emails"', "emails"),
        (f"name='{PARENT}/queues/emails'", "emails"),
        (f"name>={PARENT}/queues/orders", "Reports orders"),
        ("name=emails", ""),
        ('name:"\\e\\mails"', "emails"),
        ("name:'\"'", ""),
        # Numbers.
        ("rate_limits.max_dispatches_per_second > 5", "Reports orders"),
        ("rateLimits.maxDispatchesPerSecond >= 5", ALL),
        ("rateLimits.max_dispatches_per_second<5.5", "emails"),
        ("rateLimits.max_dispatches_per_second<5", ""),
        ("rateLimits.maxDispatchesPerSecond<=5", "emails"),
        ("rateLimits.maxDispatchesPerSecond=5e0", "emails"),
        ("rate_limits.max_burst_size:10", "emails"),
        ("retry_config.max_attempts=-1", "Reports"),
        ("retry_config.max_attempts<nan", ""),
        # Durations.
        ("retry_config.min_backoff>=1s", "Reports"),
        ("retry_config.min_backoff>1.5", "Reports"),
        ("retry_config.min_backoff=0.1s", "emails orders"),
        ("retry_config.min_backoff.seconds=2", "Reports"),
        # Times.
        ('purge_time>"2026-06-01"', "orders"),
        ('purge_time>"2026-06-01T12:00:00Z"', "orders"),
        ('purge_time>"2026-06-01T15:00:00+02:00"', ""),
        # What is not set.
        ("retry_config.max_retry_duration!=1s", "Reports"),
        ("NOT retry_config.max_retry_duration=90s", "emails orders"),
        ("http_target.uri_override.host!=x", "orders"),
        ("purge_time:*", "orders"),
        ("-http_target:*", "emails Reports"),
        ("state:*", ALL),
        ("http_target.http_method:*", ""),
        ("http_target.uri_override.port:*", ""),
        # Lists.
        ("http_target.header_overrides.header.key=x-two", "orders"),
        ("http_target.header_overrides.header.key=x-three", ""),
        ("http_target.header_overrides:*", "orders"),
        # Combinations.
        ("state=RUNNING AND name:emails", "emails"),
        ("state=RUNNING name:emails", "emails"),
        ("name:emails OR name:orders", "emails orders"),
        ("NOT name:emails", "Reports orders"),
        ("-name:emails", "Reports orders"),
        ("- name:emails", "Reports orders"),
        ("-(name:emails OR name:orders)", "Reports"),
        ("NOT(name:emails)", "Reports orders"),
        # NOT before OR before AND.
        ("NOT name:emails OR name:emails", ALL),
        ("state=PAUSED AND name:emails OR name:orders", "orders"),
        ("name:emails OR name:orders state=PAUSED", "orders"),
        ("(state=RUNNING name:emails) OR name:orders", "emails orders"),
        ("((name:emails))", "emails"),
        ("(" * 50 + "name:emails" + ")" * 50, "emails"),
        ("(name:emails) (name:emails) " * 60, "emails"),
        ("name:emails" + " " * 19_989, "emails"),
    ],
)
def test_a_filter_takes_the_queues_it_describes(text: str, expected: str) -> None:
    matches = parse_filter(text)

    assert [name for name, q in QUEUES.items() if matches(q)] == expected.split()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("status=RUNNING", "'status' is not a field of a queue"),
        ("rate_limits.max=1", "'rate_limits.max' is not a field of a queue"),
        ("name.first=1", "'name.first' is not a field of a queue"),
        ("--name:x", "'-name' is not a field of a queue"),
        ("and=1", "'and' is not a field of a queue"),
        ("rate_limits=1", "'rate_limits' has fields of its own, compare one of them"),
        (
            "http_target.header_overrides=1",
            "'http_target.header_overrides' has fields of its own, compare one of them",
        ),
        (
            "state=SLEEPING",
            "'state' takes one of STATE_UNSPECIFIED, RUNNING, PAUSED, DISABLED, "
            "not 'SLEEPING'",
        ),
        (
            "retry_config.max_attempts=many",
            "'retry_config.max_attempts' takes a number, not 'many'",
        ),
        (
            "retry_config.min_backoff=1h",
            "'retry_config.min_backoff' takes seconds, as 1.5s, not '1h'",
        ),
        (
            "retry_config.min_backoff=inf",
            "'retry_config.min_backoff' takes seconds, as 1.5s, not 'inf'",
        ),
        (
            "purge_time>today",
            "'purge_time' takes a quoted time, as \"2026-01-31T12:00:00Z\", "
            "not 'today'",
        ),
        ("name", "an operator is missing before the end"),
        ("name emails", "an operator is missing before 'emails'"),
        ("name=", "a value is missing before the end"),
        ("name=(a OR b)", "a value is missing before '('"),
        ("=5", "a field is missing before '='"),
        ('"name"=5', "a field is missing before '\"name\"'"),
        ("name:a AND", "a field is missing before the end"),
        ("name:a OR", "a field is missing before the end"),
        ("NOT", "a field is missing before the end"),
        ("-", "a field is missing before the end"),
        ("()", "a field is missing before ')'"),
        ("(name:a", "AND, OR or ')' is missing before the end"),
        ("name:a)", "AND, OR or the end is missing before ')'"),
        ("name:a:b", "a field is missing before ':'"),
        ('name:a  "b', "'\"b' cannot be read"),
        ("name ! a", "'! a' cannot be read"),
        ("(" * 51 + "name:a", "more than 50 parentheses are open at once"),
        (
            "(name:a) (name:a)" + "(" * 51,
            "more than 50 parentheses are open at once",
        ),
        ("x" * 20_001, "it is longer than 20000 characters"),
        ("x" * 200 + "=1", f"'{'x' * 100}...' is not a field of a queue"),
    ],
)
def test_a_filter_that_is_not_valid_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_filter(text)

    assert caught.value.code == code_pb2.INVALID_ARGUMENT
    assert caught.value.message == f"Invalid filter: {problem}."


fragments = [
    *("state", "name", "retry_config.min_backoff", "purge_time", "http_target"),
    *("AND", "OR", "NOT", "-", "(", ")", "=", "!=", "<", "<=", ">", ">=", ":"),
    *("PAUSED", "*", "1", "1e999", "-1s", "nan", '"2026-01-01"', '"', "'", "\\", " "),
]
words = st.sampled_from(fragments)


@given(st.text() | st.lists(words).map(" ".join) | st.lists(words).map("".join))
def test_no_text_does_worse_than_to_be_refused(text: str) -> None:
    try:
        matches = parse_filter(text)
    except ApiError:
        return

    assert {matches(message) for message in QUEUES.values()} <= {True, False}


comparisons = st.sampled_from(["state=PAUSED", "name:emails", "name:o", "name:zzz"])
expressions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=12,
)


@given(expressions, expressions)
def test_filters_obey_the_laws_of_logic(one: str, other: str) -> None:
    def taken(text: str) -> set[str]:
        matches = parse_filter(text)
        return {name for name, message in QUEUES.items() if matches(message)}

    assert taken(f"{one} {other}") == taken(one) & taken(other)
    assert taken(f"{one} OR {other}") == taken(one) | taken(other)
    assert taken(f"-({one})") == set(QUEUES) - taken(one)


def test_every_field_of_a_queue_can_be_asked_for() -> None:
    empty = tasks_v2.Queue.pb()()
    asked = [field.name for field in empty.DESCRIPTOR.fields]

    assert [name for name in asked if parse_filter(f"{name}:*")(empty)] == []
