import json
from typing import Any

import pytest
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports.rest_base import (
    _BaseCloudTasksRestTransport,
)
from google.iam.v1 import policy_pb2
from google.longrunning import operations_pb2
from google.rpc import code_pb2, error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.api.statuses import write_error
from cloudtask.emulator.tasks.api.rest import write_response
from cloudtask.emulator.tasks.api.routes import ROUTES
from cloudtask.emulator.tasks.api.services import METHODS
from cloudtask.emulator.tasks.refusals import bad_queue_name
from cloudtask.emulator.values.errors import ApiError
from tests.emulator.samples import PARENT, QUEUE

PREFIXES = ["/v2/", "/v2beta3/", "/"]
TASK = f"{QUEUE}/tasks/t1"
OPERATION = f"{PARENT}/operations/o1"
CMEK = f"{PARENT}/cmekConfig"
HTTP_TASK = {"httpRequest": {"url": "http://t/", "body": "aGk="}}
RAW_TASK = {"http_request": {"url": "http://t/", "body": b"hi"}}


def read(verb: str, path: str, query: str = "", content: Any = None) -> Any:
    """Return the request that an HTTP request says."""
    body = b"" if content is None else json.dumps(content).encode()
    return ROUTES.find_call(verb, path).read(query, body)


def write(verb: str, path: str, response: Any, query: str = "") -> Any:
    return write_response(ROUTES.find_call(verb, path), response, query)


def refusal(verb: str, path: str, query: str = "", content: Any = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(verb, path, query, content)
    caught.value.status()  # Nothing in it is unfit for a message.
    return caught.value


# Verb, path and query, body, method, request.
CALLS: list[tuple[str, str, Any, str, dict[str, Any]]] = [
    (
        *("GET", "projects/demo/locations?pageSize=5&filter=a%26b", None),
        *("ListLocations", {"name": "projects/demo", "page_size": 5, "filter": "a&b"}),
    ),
    ("GET", PARENT, None, "GetLocation", {"name": PARENT}),
    ("GET", OPERATION, None, "GetOperation", {"name": OPERATION}),
    ("GET", CMEK, None, "GetCmekConfig", {"name": CMEK}),
    (
        *("PATCH", f"{CMEK}?updateMask=kmsKey", {"kmsKey": "k", "name": "other"}),
        "UpdateCmekConfig",
        {
            "cmek_config": {"name": CMEK, "kms_key": "k"},
            "update_mask": {"paths": ["kms_key"]},
        },
    ),
    (
        *("GET", f"{PARENT}/queues?pageToken=&filter=state%3APAUSED", None),
        *("ListQueues", {"parent": PARENT, "filter": "state:PAUSED"}),
    ),
    (
        *("POST", f"{PARENT}/queues", {"name": QUEUE, "rateLimits": {}}),
        *(
            "CreateQueue",
            {"parent": PARENT, "queue": {"name": QUEUE, "rate_limits": {}}},
        ),
    ),
    ("POST", f"{PARENT}/queues", None, "CreateQueue", {"parent": PARENT}),
    ("POST", f"{PARENT}/queues", {}, "CreateQueue", {"parent": PARENT, "queue": {}}),
    ("GET", QUEUE, None, "GetQueue", {"name": QUEUE}),
    ("HEAD", QUEUE, None, "GetQueue", {"name": QUEUE}),
    (
        "PATCH",
        f"{QUEUE}?updateMask=rateLimits.maxDispatchesPerSecond,retry_config",
        {"rateLimits": {"maxDispatchesPerSecond": 5}},
        "UpdateQueue",
        {
            "queue": {"name": QUEUE, "rate_limits": {"max_dispatches_per_second": 5}},
            "update_mask": {
                "paths": ["rate_limits.max_dispatches_per_second", "retry_config"]
            },
        },
    ),
    (
        *("PATCH", f"{QUEUE}?queue.retryConfig.maxAttempts=7&update_mask=", None),
        "UpdateQueue",
        {
            "queue": {"name": QUEUE, "retry_config": {"max_attempts": 7}},
            "update_mask": {},
        },
    ),
    ("DELETE", QUEUE, None, "DeleteQueue", {"name": QUEUE}),
    ("POST", f"{QUEUE}:purge", {}, "PurgeQueue", {"name": QUEUE}),
    ("POST", f"{QUEUE}:pause", None, "PauseQueue", {"name": QUEUE}),
    ("POST", f"{QUEUE}:resume", {"name": "other"}, "ResumeQueue", {"name": QUEUE}),
    (
        *("POST", f"{QUEUE}:getIamPolicy", {"options": {"requestedPolicyVersion": 3}}),
        "GetIamPolicy",
        {"resource": QUEUE, "options": {"requested_policy_version": 3}},
    ),
    (
        *("POST", f"{QUEUE}:setIamPolicy"),
        {
            "policy": {"bindings": [{"role": "r", "members": ["m"]}]},
            "updateMask": "etag",
        },
        "SetIamPolicy",
        {
            "resource": QUEUE,
            "policy": {"bindings": [{"role": "r", "members": ["m"]}]},
            "update_mask": {"paths": ["etag"]},
        },
    ),
    (
        *("POST", f"{QUEUE}:testIamPermissions", {"permissions": ["a", "b"]}),
        *("TestIamPermissions", {"resource": QUEUE, "permissions": ["a", "b"]}),
    ),
    (
        *("GET", f"{QUEUE}/tasks?pageSize=7&page_token=n&responseView=FULL", None),
        "ListTasks",
        {"parent": QUEUE, "page_size": 7, "page_token": "n", "response_view": 2},
    ),
    (
        *("POST", f"{QUEUE}/tasks", {"task": HTTP_TASK, "responseView": 2}),
        *("CreateTask", {"parent": QUEUE, "task": RAW_TASK, "response_view": 2}),
    ),
    (
        *("POST", f"{QUEUE}/tasks?responseView=BASIC", {"task": HTTP_TASK}),
        *("CreateTask", {"parent": QUEUE, "task": RAW_TASK, "response_view": 1}),
    ),
    (
        *("GET", f"{TASK}?responseView=2", None),
        *("GetTask", {"name": TASK, "response_view": 2}),
    ),
    ("DELETE", TASK, None, "DeleteTask", {"name": TASK}),
    (
        *("POST", f"{TASK}:run", {"responseView": "FULL"}),
        *("RunTask", {"name": TASK, "response_view": 2}),
    ),
    (
        *("POST", f"{QUEUE}/tasks:batchCreate"),
        {"requests": [{"parent": QUEUE, "task": HTTP_TASK}], "requestId": "r"},
        "BatchCreateTasks",
        {
            "parent": QUEUE,
            "requests": [{"parent": QUEUE, "task": RAW_TASK}],
            "request_id": "r",
        },
    ),
    (
        *("POST", f"{QUEUE}/tasks:batchDelete", {"names": [TASK]}),
        *("BatchDeleteTasks", {"parent": QUEUE, "names": [TASK]}),
    ),
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("verb", "url", "content", "method", "expected"), CALLS)
def test_every_method_is_called_over_rest(
    verb: str, url: str, content: Any, method: str, expected: Any, prefix: str
) -> None:
    path, _, query = f"{prefix}{url}".partition("?")

    assert ROUTES.find_call(verb, path).method == method
    assert read(verb, path, query, content) == METHODS[method](**expected)


def test_the_table_above_has_every_method() -> None:
    assert {method for _, _, _, method, _ in CALLS} == METHODS.keys()


def test_the_paths_are_those_of_googles_client() -> None:
    rules = {
        name.removeprefix("_Base"): base._get_http_options()
        for name, base in vars(_BaseCloudTasksRestTransport).items()
        if name.startswith("_Base")
    }

    assert rules.keys() == METHODS.keys()
    for method, ((rule),) in rules.items():
        template = rule["uri"].replace("{", "").replace("}", "")
        path = "/".join(part.rpartition("=")[2] for part in template.split("/"))
        call = ROUTES.find_call(rule["method"].upper(), path.replace("*", "x"))
        assert call.method == method


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("path", "rest"), [("tasks:buffer", ("tasks",)), ("tasks/t:buffer", ("tasks", "t"))]
)
def test_tasks_are_buffered_with_a_post(
    prefix: str, path: str, rest: tuple[str, ...]
) -> None:
    call = ROUTES.find_call("POST", f"{prefix}{QUEUE}/{path}")

    assert (call.method, call.resource, call.rest) == ("BufferTask", QUEUE, rest)
    assert not call.read("alt=json", b"not JSON, and not to be").ByteSize()
    task = tasks_v2.Task.pb()(name="n")
    assert write_response(call, task, "") == {"task": {"name": "n"}}
    assert ROUTES.find_call("GET", f"{prefix}{QUEUE}/{path}") is None


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        *(("GET", path) for path in ("", "/", "//", "*", "/v2", "/v2/", "/projects")),
        *(("GET", path) for path in (f"//{QUEUE}", f"//v2/{QUEUE}", f"/v2//{QUEUE}")),
        *(("GET", path) for path in (f"/v2/{QUEUE}/", f"/v2/{QUEUE}/x", f"/x{QUEUE}")),
        *(("GET", f"/{version}/{QUEUE}") for version in ("v1", "v2beta2", "V2", "x")),
        ("GET", "/v2/projects//locations/l"),
        ("GET", "/v2/projects/p"),
        ("GET", f"/v2/{QUEUE}:pause"),
        ("POST", f"/v2/{QUEUE}:run"),
        ("POST", f"/v2/{QUEUE}:Pause"),
        ("POST", f"/v2/{QUEUE}:pause:"),
        ("POST", f"/v2/{PARENT}/queues/:pause"),
        ("POST", f"/v2/{QUEUE}"),
        ("PUT", f"/v2/{QUEUE}"),
        ("OPTIONS", f"/v2/{QUEUE}"),
        ("get", f"/v2/{QUEUE}"),
        ("HEAD", f"/v2/{QUEUE}:pause"),
    ],
)
def test_nothing_is_elsewhere(verb: str, path: str) -> None:
    assert ROUTES.find_call(verb, path) is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("projects/a.b%3Ac/locations/l", "projects/a.b:c/locations/l"),
        ("projects/a.b:c/locations/l", "projects/a.b:c/locations/l"),
        ("projects/p/locations/l%2Fqueues%2Fq", "projects/p/locations/l/queues/q"),
        ("projects/%C3%A9/locations/%00", "projects/é/locations/\0"),
        ("projects/%ff/locations/%zz%", "projects/\ufffd/locations/%zz%"),
        ("projects/\udcff/locations/é", "projects/?/locations/é"),
        ("projects/pause/locations/l:pausE", "projects/pause/locations/l:pausE"),
    ],
)
def test_paths_are_decoded_once_and_by_segment(path: str, name: str) -> None:
    request = read("GET", f"/v2/{path}")

    assert request == METHODS["GetLocation"](name=name)


def test_an_action_may_be_encoded() -> None:
    assert ROUTES.find_call("POST", f"/v2/{QUEUE}%3Apause").method == "PauseQueue"


@pytest.mark.parametrize(
    "beginning", ["", "alt=json&", "%24alt=json%3Benum-encoding%3Dint&"]
)
@pytest.mark.parametrize(
    "parameter",
    [
        *("$.xgafv=2", "%24.xgafv=2", "$alt=proto", "access_token=t", "callback=f"),
        *("fields=name", "key=k", "prettyPrint=false", "quotaUser=u", "uploadType=m"),
    ],
)
def test_what_goes_for_every_api_is_accepted(beginning: str, parameter: str) -> None:
    assert read("GET", f"/v2/{QUEUE}", beginning + parameter).name == QUEUE


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("foo", "foo"),
        ("readMask", "readMask"),
        ("name.foo", "name.foo"),
        ("task", "task"),
        ("", ""),
        ("%ff", "\ufffd"),
        ("\udcff", "?"),
        ("x" * 200, "x" * 100),
    ],
)
def test_an_unknown_parameter_is_refused(name: str, shown: str) -> None:
    error = refusal("GET", f"/v2/{TASK}", f"{name}=1")

    assert error.code == code_pb2.INVALID_ARGUMENT
    assert error.message == (
        f'Invalid JSON payload received. Unknown name "{shown}": Cannot bind query '
        f"parameter. Field '{shown}' could not be found in request message."
    )


@pytest.mark.parametrize("prefix", ["/v2beta3/", "/"])
def test_elsewhere_unknown_names_are_passed_over(prefix: str) -> None:
    content = {"task": HTTP_TASK | {"pullMessage": {}}, "huh": 1}

    request = read("POST", f"{prefix}{QUEUE}/tasks", "readMask=stats", content)

    assert request == METHODS["CreateTask"](parent=QUEUE, task=RAW_TASK)
    assert (
        "huh"
        in refusal("POST", f"/v2/{QUEUE}/tasks", "", content | {"task": {}}).message
    )


@pytest.mark.parametrize(
    ("verb", "url", "message"),
    [
        (
            "GET",
            f"{QUEUE}/tasks?pageSize=x",
            "Invalid value at 'page_size' (TYPE_INT32), \"x\"",
        ),
        (
            *("GET", f"{QUEUE}/tasks?responseView=BEST"),
            "Invalid value at 'response_view' "
            '(type.googleapis.com/google.cloud.tasks.v2.Task.View), "BEST"',
        ),
        (
            *("PATCH", f"{QUEUE}?queue.retryConfig=x"),
            "Invalid value at 'queue.retry_config' "
            '(type.googleapis.com/google.cloud.tasks.v2.RetryConfig), "x"',
        ),
        (
            *("POST", f"{QUEUE}/tasks:batchCreate?requests.parent=x"),
            'Invalid JSON payload received. Unknown name "requests.parent": '
            "Cannot bind query parameter. Field 'requests.parent' "
            "could not be found in request message.",
        ),
        (
            *("PATCH", f"{QUEUE}?updateMask=a_1"),
            "Invalid value at 'update_mask' "
            "(type.googleapis.com/google.protobuf.FieldMask), "
            "Field 'updateMask', Illegal field mask",
        ),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused(
    verb: str, url: str, message: str
) -> None:
    path, _, query = f"/v2/{url}".partition("?")

    assert refusal(verb, path, query).message == message


def test_a_body_is_refused_by_the_name_of_its_field() -> None:
    error = refusal("POST", f"/v2/{PARENT}/queues", "", {"rateLimits": {"huh": 1}})

    assert "Unknown name \"huh\" at 'queue.rate_limits'" in error.message


@given(st.text(), st.text())
def test_no_path_and_no_query_break_anything(path: str, query: str) -> None:
    assert ROUTES.find_call("GET", path) is None

    try:
        read("GET", f"/v2/{QUEUE}/tasks", query)
        is_expected = True
    except ApiError as error:
        is_expected = error.code == code_pb2.INVALID_ARGUMENT
    assert is_expected


def test_responses_are_as_short_as_they_can_be() -> None:
    queue = tasks_v2.Queue.pb()(
        name=QUEUE,
        state=2,
        rate_limits={"max_dispatches_per_second": 0, "max_concurrent_dispatches": 5},
        retry_config={
            "min_backoff": {"nanos": 100_000_000},
            "max_backoff": {"seconds": 5},
        },
    )

    assert write("GET", f"/v2/{QUEUE}", queue) == {
        "name": QUEUE,
        "state": "PAUSED",
        "rateLimits": {"maxConcurrentDispatches": 5},
        "retryConfig": {"minBackoff": "0.100s", "maxBackoff": "5s"},
    }


@pytest.mark.parametrize(
    ("query", "state"),
    [
        ("$alt=json;enum-encoding=int", 2),
        ("%24alt=json%3Benum-encoding%3Dint", 2),
        ("alt=json;enum-encoding=int", 2),
        ("$alt=json", "PAUSED"),
        ("alt=enum-encoding=integer", "PAUSED"),
        ("key=enum-encoding=int", "PAUSED"),
    ],
)
def test_enums_are_numbers_on_request(query: str, state: Any) -> None:
    queue = tasks_v2.Queue.pb()(state=2)

    assert write("GET", f"/v2/{QUEUE}", queue, query) == {"state": state}


def test_operations_say_what_they_hold() -> None:
    metadata = tasks_v2.BatchCreateTasksMetadata.pb()(state=5)
    metadata.failed_requests[3].code = code_pb2.NOT_FOUND
    metadata.failed_requests[3].details.add().Pack(bad_queue_name().details[0])
    operation = operations_pb2.Operation(name=OPERATION, done=True)
    operation.metadata.Pack(metadata)
    operation.response.Pack(
        tasks_v2.BatchCreateTasksResponse.pb()(tasks=[{"name": TASK}])
    )

    written = write("GET", f"/v2/{OPERATION}", operation)

    package = "type.googleapis.com/google.cloud.tasks.v2"
    assert written["response"] == {
        "@type": f"{package}.BatchCreateTasksResponse",
        "tasks": [{"name": TASK}],
    }
    (failed,) = written["metadata"].pop("failedRequests").values()
    assert written["metadata"] == {
        "@type": f"{package}.BatchCreateTasksMetadata",
        "state": "PARTIALLY_SUCCEEDED",
    }
    assert failed["details"][0]["@type"] == "type.googleapis.com/google.rpc.Help"


def test_deleted_things_are_an_empty_object() -> None:
    call = ROUTES.find_call("DELETE", f"/v2/{TASK}")

    assert call.write(policy_pb2.Policy(), "") == {}


def test_firebase_finds_the_new_tasks_name() -> None:
    task = tasks_v2.Task.pb()(name=TASK, view=1)

    assert write("POST", f"/{QUEUE}/tasks", task) == {
        "name": TASK,
        "view": "BASIC",
        "task": {"name": f"/{TASK}"},
    }
    for verb, path in [
        ("GET", f"/{TASK}"),
        ("POST", f"/v2/{QUEUE}/tasks"),
        ("POST", f"/v2beta3/{QUEUE}/tasks"),
    ]:
        assert write(verb, path, task) == {"name": TASK, "view": "BASIC"}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("CANCELLED", 499),
        ("UNKNOWN", 500),
        ("INVALID_ARGUMENT", 400),
        ("DEADLINE_EXCEEDED", 504),
        ("NOT_FOUND", 404),
        ("ALREADY_EXISTS", 409),
        ("PERMISSION_DENIED", 403),
        ("RESOURCE_EXHAUSTED", 429),
        ("FAILED_PRECONDITION", 400),
        ("ABORTED", 409),
        ("OUT_OF_RANGE", 400),
        ("UNIMPLEMENTED", 501),
        ("INTERNAL", 500),
        ("UNAVAILABLE", 503),
        ("DATA_LOSS", 500),
        ("UNAUTHENTICATED", 401),
    ],
)
def test_every_code_has_its_http_status(code: str, status: int) -> None:
    error = ApiError(code_pb2.Code.Value(code), "Why.")

    assert write_error(error) == (
        status,
        {"error": {"code": status, "message": "Why.", "status": code}},
    )


def test_details_of_refusals_say_what_they_are() -> None:
    info = error_details_pb2.ErrorInfo(reason="CONSUMER_INVALID", metadata={"a": "b"})
    words = error_details_pb2.LocalizedMessage(locale="en-US", message="Why.")

    _, content = write_error(
        ApiError(code_pb2.PERMISSION_DENIED, "Why.", (info, words))
    )

    package = "type.googleapis.com/google.rpc"
    assert content["error"]["details"] == [
        {
            "@type": f"{package}.ErrorInfo",
            "reason": "CONSUMER_INVALID",
            "metadata": {"a": "b"},
        },
        {"@type": f"{package}.LocalizedMessage", "locale": "en-US", "message": "Why."},
    ]
