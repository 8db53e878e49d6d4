import json
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.api import protojson
from cloudtask.emulator.tasks.api.services import METHODS
from cloudtask.emulator.values.errors import ApiError
from tests.emulator.messages import LEAVES, fill, nearly

INVALID = "Invalid JSON payload received."
TIMESTAMP = "type.googleapis.com/google.protobuf.Timestamp"
ILLEGAL_TIMESTAMP = (
    "Illegal timestamp format; timestamps must end with 'Z' or have a valid "
    "timezone offset."
)


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        function(*args, **kwargs)
    assert caught.value.code == code_pb2.INVALID_ARGUMENT
    caught.value.status()  # Nothing in it is unfit for a message.
    return caught.value


def merged(method: str, content: Any, *, lenient: bool = False) -> Any:
    request = METHODS[method]()
    protojson.merge(request, content, lenient=lenient)
    return request


@given(st.data())
@pytest.mark.parametrize("in_camel_case", [True, False])
@pytest.mark.parametrize("with_integers", [True, False])
def test_every_request_can_be_said_in_json(
    in_camel_case: bool, with_integers: bool, data: st.DataObject
) -> None:
    method = data.draw(st.sampled_from(sorted(METHODS)))
    request = fill(data.draw, METHODS[method]())

    def said(message: Any) -> Any:
        return json_format.MessageToDict(
            message,
            preserving_proto_field_name=not in_camel_case,
            use_integers_for_enums=with_integers,
        )

    text = json.dumps(said(request)).encode()

    # Not the messages: an Any may hold a map's entries in any order.
    assert said(merged(method, protojson.loads(text))) == said(request)


@given(st.data(), st.booleans())
def test_any_json_is_taken_or_refused(data: st.DataObject, lenient: bool) -> None:
    method = data.draw(st.sampled_from(sorted(METHODS)))
    content = data.draw(nearly(METHODS[method].DESCRIPTOR) | LEAVES)
    try:
        request = merged(method, content, lenient=lenient)
    except ApiError as error:
        refused_well = error.status().code == code_pb2.INVALID_ARGUMENT
    else:
        json_format.MessageToDict(request)  # It can be shown again.
        refused_well = True
    assert refused_well


def invalid(path: str, kind: str, rest: str) -> str:
    return f"Invalid value at '{path}' ({kind}), {rest}"


def unknown(name: str, path: str, reason: str) -> str:
    return f"{INVALID} Unknown name \"{name}\" at '{path}': {reason}"


TASK = "type.googleapis.com/google.cloud.tasks.v2.Task"
URL = "task.http_request.url"
BODY = "task.http_request.body"
COUNT = "task.dispatch_count"
NO_FIELD = "Cannot find field."
NO_LIST = "Proto field is not repeating, cannot start list."


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"huh": 1}, unknown("huh", "task", NO_FIELD)),
        ({"httpRequest": {"a.b": 1}}, unknown("a.b", "task.http_request", NO_FIELD)),
        ({"\ud800": 1}, unknown("?", "task", NO_FIELD)),
        ({"h" * 200: 1}, unknown("h" * 100, "task", NO_FIELD)),
        (5, invalid("task", TASK, "5")),
        ("é\ud800", invalid("task", TASK, '"é?"')),
        ({"httpRequest": {"url": 5}}, invalid(URL, "TYPE_STRING", "5")),
        (
            {"httpRequest": {"url": True}},
            invalid(URL, "TYPE_STRING", "true"),
        ),
        (
            {"httpRequest": {"url": "\udfff"}},
            invalid(URL, "TYPE_STRING", '"?"'),
        ),
        ({"httpRequest": {"url": []}}, unknown("url", "task.http_request", NO_LIST)),
        (
            {"httpRequest": {"url": {}}},
            invalid("task.http_request", "url", "Starting an object on a scalar field"),
        ),
        (
            {"httpRequest": {"headers": {"a": "b", "c": 12}}},
            invalid("task.http_request.headers[1].value", "TYPE_STRING", "12"),
        ),
        (
            {"httpRequest": {"headers": ["a"]}},
            invalid(
                "task.http_request.headers",
                f"{TASK[:-4]}HttpRequest.HeadersEntry",
                '["a"]',
            ),
        ),
        (
            {"httpRequest": {"httpMethod": "FETCH"}},
            invalid(
                "task.http_request.http_method", f"{TASK[:-4]}HttpMethod", '"FETCH"'
            ),
        ),
        (
            {"httpRequest": {"httpMethod": True}},
            invalid("task.http_request.http_method", f"{TASK[:-4]}HttpMethod", "true"),
        ),
        (
            {"httpRequest": {"body": "a*"}},
            invalid(
                BODY, "TYPE_BYTES", 'Base64 decoding failed for "a*"'
            ),
        ),
        (
            {"httpRequest": {"body": "aGVsb"}},  # No bytes make that many letters.
            invalid(BODY, "TYPE_BYTES", '"aGVsb"'),
        ),
        ({"httpRequest": {"body": 5}}, invalid(BODY, "TYPE_BYTES", "5")),
        ({"dispatchCount": 1.5}, invalid(COUNT, "TYPE_INT32", "1.5")),
        ({"dispatchCount": True}, invalid(COUNT, "TYPE_INT32", "true")),
        ({"dispatchCount": 3e9}, invalid(COUNT, "TYPE_INT32", "3000000000.0")),
        *(
            (
                {"scheduleTime": time},
                invalid(
                    "task.schedule_time",
                    TIMESTAMP,
                    f"Field 'scheduleTime', {ILLEGAL_TIMESTAMP}",
                ),
            )
            for time in (
                *("", "tomorrow", "2026-06-01T12:00:00", "2026-13-01T12:00:00Z"),
                *("10000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"),
                *(1_780_315_200, {"seconds": 5}, [], True),
            )
        ),
        *(
            (
                {"dispatchDeadline": duration},
                invalid(
                    "task.dispatch_deadline",
                    "type.googleapis.com/google.protobuf.Duration",
                    "Field 'dispatchDeadline', "
                    "Illegal duration format; duration must end with 's'",
                ),
            )
            for duration in ("", "15", "1.5e400s", "1.9e400s", "400000000000s", 15)
        ),
        (
            {"httpRequest": {"url": "u"}, "appEngineHttpRequest": {}},
            "Invalid value at 'task' (oneof), oneof field 'message_type' is already "
            "set. Cannot set 'appEngineHttpRequest'",
        ),
        (
            {"scheduleTime": None, "schedule_time": "2026-06-01T12:00:00Z", "name": "a"}
            | {"httpRequest": {"httpMethod": "GET", "http_method": "PUT"}},
            unknown("http_method", "task.http_request", "Proto field is already set."),
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_the_services_words(
    task: Any, message: str
) -> None:
    assert refusal(merged, "CreateTask", {"task": task}).message == message


def test_a_refusal_names_the_field() -> None:
    error = refusal(merged, "CreateTask", {"task": {"huh": 1}})

    (bad_request,) = error.details
    (violation,) = bad_request.field_violations
    assert (violation.field, violation.description) == ("task", error.message)


@pytest.mark.parametrize(
    ("method", "content", "path"),
    [
        ("BatchDeleteTasks", {"names": ["a", 5]}, "names[1]"),
        ("BatchDeleteTasks", {"names": [None]}, "names[0]"),
        ("BatchCreateTasks", {"requests": [{}, {"task": 5}]}, "requests[1].task"),
        ("SetIamPolicy", {"update_mask": 5}, "update_mask"),
        ("SetIamPolicy", {"updateMask": "a_1"}, "update_mask"),
        (
            "CreateQueue",
            {"queue": {"rate_limits": {"max_dispatches_per_second": 10**400}}},
            "queue.rate_limits.max_dispatches_per_second",
        ),
    ],
)
def test_a_refusal_says_where(method: str, content: Any, path: str) -> None:
    assert refusal(merged, method, content).message.startswith(
        f"Invalid value at '{path}' ("
    )


@pytest.mark.parametrize("content", [[], None, 5, "{}"])
def test_a_request_is_an_object(content: Any) -> None:
    error = refusal(merged, "CreateTask", content)

    assert (
        error.message == f'{INVALID} Unknown name "": Root element must be a message.'
    )


def test_what_has_no_field_may_be_passed_over() -> None:
    content = {
        "huh": {"deep": []},
        "responseView": "SHORT",
        "task": {"pullMessage": {}, "name": "a"},
    }

    request = merged("CreateTask", content, lenient=True)

    assert request == METHODS["CreateTask"](task={"name": "a"})
    with pytest.raises(ApiError):
        merged("CreateTask", {"task": {"name": 5}}, lenient=True)


@pytest.mark.parametrize(
    "encoded", ["/+8=", "/+8", "_-8=", "_-8", "/-8=", " /+\n8=\r\n"]
)
def test_both_alphabets_of_base64_are_taken(encoded: str) -> None:
    content = {"task": {"httpRequest": {"body": encoded}}}

    assert merged("CreateTask", content).task.http_request.body == b"\xff\xef"


@pytest.mark.parametrize("mask", ["rate_limits,state", "rateLimits,state"])
def test_masks_are_in_either_case(mask: str) -> None:
    request = merged("SetIamPolicy", {"updateMask": mask})

    assert list(request.update_mask.paths) == ["rate_limits", "state"]


def test_one_value_is_a_list_of_it() -> None:
    assert list(merged("BatchDeleteTasks", {"names": "a"}).names) == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "Unexpected token.\n{\n ^"),
        (b"not json", "Unexpected token.\nnot json\n^"),
        (
            b'{"name": "%s" 5}' % (b"x" * 50),
            f"Unexpected token.\n{'x' * 18}\" 5}}\n{' ' * 20}^",
        ),
        (b"{'a': 5}", "Unexpected token.\n{'a': 5}\n ^"),
        (b'{"a": NaN}', "Unexpected token."),
        (b'{"a": -Infinity}', "Unexpected token."),
        (b"9" * 5000, "Unexpected token."),
        (b"\xff", "Encountered non UTF-8 code points."),
        ("{}".encode("utf-16"), "Encountered non UTF-8 code points."),
        (b'{"a": 1, "a": 1}', "An object has a name twice."),
        (b"[" * 101, "Message too deep. Max recursion depth reached."),
        (b'{"a":' * 1_000_000, "Message too deep. Max recursion depth reached."),
    ],
)  # fmt: skip
def test_a_text_that_is_not_json_is_refused(text: bytes, message: str) -> None:
    assert refusal(protojson.loads, text).message == f"{INVALID} {message}"


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100 + b"]" * 100,
        json.dumps(["[" * 1000, '"[{\\' * 1000]).encode(),
        json.dumps([{}] * 1000).encode(),
        json.dumps("\\").encode() + b" " * 1000,
    ],
)
def test_brackets_are_no_depth(text: bytes) -> None:
    assert protojson.loads(text) == json.loads(text)


def test_escaped_quotes_without_an_end_take_no_time() -> None:
    text = b"[" * 101 + b'"' + b'\\"' * 2_000_000

    assert "too deep" in refusal(protojson.loads, text).message
    assert "Unexpected token" in refusal(protojson.loads, text[51:]).message
