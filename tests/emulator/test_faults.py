from datetime import timedelta
from typing import Any

import pytest
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.emulator.tasks.faults import (
    API_KINDS,
    DISPATCH_KINDS,
    MAX_DELAY,
    Fault,
    Faults,
)
from cloudtask.emulator.values.instants import SECOND
from tests.emulator.samples import PARENT, QUEUE

OTHER = f"{PARENT}/queues/other"
KINDS = ", ".join(DISPATCH_KINDS + API_KINDS)
SENDING = ["duplicate", "timeout", "drop_answer", "unreachable"]


def happening(faults: Faults, count: int) -> list[bool]:
    """Tell which of the next dispatches go wrong."""
    return [faults.for_dispatch(QUEUE, "t1") is not None for _ in range(count)]


@pytest.mark.parametrize("kind", SENDING)
def test_a_fault_happens_once_unless_told_otherwise(kind: Any) -> None:
    faults = Faults()
    fault = faults.add(Fault(kind))

    assert faults.for_dispatch(QUEUE, "t1") == fault
    assert faults.for_dispatch(QUEUE, "t1") is None
    assert list(faults) == []


@pytest.mark.parametrize(
    ("options", "happens"),
    [
        ({"times": 2}, [True, True, False, False]),
        ({"times": None}, [True, True, True, True]),
        ({"skip": 2}, [False, False, True, False]),
        ({"skip": 1, "times": 2}, [False, True, True, False]),
    ],
)
def test_a_fault_happens_as_often_as_it_says(
    options: dict[str, Any], happens: list[bool]
) -> None:
    faults = Faults()
    faults.add(Fault("timeout", **options))

    assert happening(faults, 4) == happens


def test_what_is_left_of_a_fault_can_be_seen() -> None:
    faults = Faults()
    faults.add(Fault("timeout", times=2, skip=1))

    happening(faults, 2)

    assert list(faults) == [Fault("timeout", times=1, skip=0, id=1)]


@pytest.mark.parametrize(
    ("options", "queue", "task_id", "matches"),
    [
        ({}, QUEUE, "t1", True),
        ({"queue": "default"}, QUEUE, "t1", True),
        ({"queue": "default"}, OTHER, "t1", False),
        ({"queue": QUEUE}, QUEUE, "t1", True),
        ({"queue": QUEUE}, "projects/p/locations/l/queues/default", "t1", False),
        ({"task": "mail-*"}, QUEUE, "mail-7", True),
        ({"task": "mail-*"}, QUEUE, "email-7", False),
        ({"task": "MAIL-*"}, QUEUE, "mail-7", False),
        ({"task": "t1", "queue": "default"}, QUEUE, "t1", True),
        ({"task": "t1", "queue": "other"}, QUEUE, "t1", False),
    ],
)
def test_a_fault_is_about_some_tasks(
    options: dict[str, Any], queue: str, task_id: str, matches: bool
) -> None:
    faults = Faults()
    faults.add(Fault("timeout", **options))

    assert (faults.for_dispatch(queue, task_id) is not None) is matches
    assert len(list(faults)) == (not matches)  # A miss uses nothing up.


@pytest.mark.parametrize(
    ("options", "method", "resource", "matches"),
    [
        ({}, "CreateTask", QUEUE, True),
        ({}, "ListQueues", PARENT, True),
        ({"method": "CreateTask"}, "CreateTask", QUEUE, True),
        ({"method": "CreateTask"}, "DeleteTask", f"{QUEUE}/tasks/t1", False),
        ({"queue": "default"}, "CreateTask", QUEUE, True),
        ({"queue": "default"}, "DeleteTask", f"{QUEUE}/tasks/t1", True),
        ({"queue": "default"}, "CreateTask", OTHER, False),
        ({"queue": "local"}, "ListQueues", PARENT, False),  # No queue at all.
        ({"task": "t*"}, "DeleteTask", f"{QUEUE}/tasks/t1", True),
        ({"task": "t*"}, "DeleteTask", f"{QUEUE}/tasks/u1", False),
        ({"task": "t*"}, "CreateTask", QUEUE, False),
    ],
)
def test_a_fault_is_about_some_calls(
    options: dict[str, Any], method: str, resource: str, matches: bool
) -> None:
    faults = Faults()
    fault = faults.add(Fault("unavailable", **options))

    assert faults.for_call(method, resource) == (fault if matches else None)


@pytest.mark.parametrize(
    ("kind", "executes", "code"),
    [
        ("unavailable", False, code_pb2.UNAVAILABLE),
        ("deadline_exceeded", False, code_pb2.DEADLINE_EXCEEDED),
        ("executed_then_unavailable", True, code_pb2.UNAVAILABLE),
        ("executed_then_deadline_exceeded", True, code_pb2.DEADLINE_EXCEEDED),
    ],
)
def test_what_a_caller_of_the_api_gets(kind: Any, executes: bool, code: int) -> None:
    fault = Fault(kind)

    assert fault.executes is executes
    assert fault.error().code == code
    assert fault.error().message == f"fault: {kind}"


def test_each_question_is_answered_by_its_own_kinds() -> None:
    faults = Faults()
    for kind in (*DISPATCH_KINDS, "unavailable"):
        hold = timedelta(seconds=3) if kind == "delay" else None
        faults.add(Fault(kind, delay=hold))

    assert faults.delay(QUEUE, "t1") == 3 * SECOND
    assert faults.delay(QUEUE, "t1") == 0
    assert faults.reorders(QUEUE, "t1")
    assert not faults.reorders(QUEUE, "t1")
    called = faults.for_call("CreateTask", QUEUE)
    assert called is not None
    assert called.kind == "unavailable"
    # What is left, the oldest first.
    assert [fault.kind for fault in faults] == SENDING
    for kind in SENDING:
        sent = faults.for_dispatch(QUEUE, "t1")
        assert sent is not None
        assert sent.kind == kind


def test_the_next_fault_happens_where_the_first_lets_a_match_go() -> None:
    faults = Faults()
    faults.add(Fault("timeout", skip=1))
    second = faults.add(Fault("duplicate"))

    assert faults.for_dispatch(QUEUE, "t1") == second


def test_a_probability_is_kept_and_can_be_repeated() -> None:
    def run(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add(Fault("timeout", times=None, probability=0.3))
        return happening(faults, 1000)

    assert 200 < sum(run(1)) < 400
    assert run(1) == run(1) != run(2)


def test_clearing_takes_all_faults_back_and_begins_anew() -> None:
    faults = Faults(seed=7)
    fault = Fault("timeout", times=None, probability=0.5)
    faults.add(fault)
    before = happening(faults, 50)

    faults.clear()
    assert happening(faults, 50) == [False] * 50
    faults.add(fault)

    assert happening(faults, 50) == before


def test_a_fault_can_be_taken_back() -> None:
    faults = Faults()
    first, second = faults.add(Fault("timeout")), faults.add(Fault("timeout"))

    assert faults.remove(first.id)
    assert not faults.remove(first.id)
    assert list(faults) == [second]
    # An id means one fault for good.
    assert faults.add(Fault("timeout")).id not in (first.id, second.id)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, f"kind is missing. It is one of {KINDS}."),
        ({"kind": "time_out"}, "Did you mean 'timeout'?"),
        ({"kind": "xyz"}, f"kind='xyz' is not one of {KINDS}."),
        ({"kind": 7}, "kind=7 is not one of"),
        ({"kind": ["timeout"]}, "kind=['timeout'] is not one of"),
        (
            {"kind": "timeout", "que": "a"},
            "'que' is not a part of a fault. Did you mean 'queue'?",
        ),
        ({"kind": "timeout", "id": 7}, "'id' is not a part of a fault."),
        (
            {"kind": "timeout", "queue": "under_score"},
            "queue='under_score' must be the id of a queue or "
            "projects/P/locations/L/queues/Q.",
        ),
        ({"kind": "timeout", "queue": "/queues/a"}, "queue='/queues/a' must be"),
        ({"kind": "timeout", "queue": f"{QUEUE}/tasks/a"}, "must be the id of a queue"),
        ({"kind": "timeout", "queue": ""}, "queue='' must be"),
        ({"kind": "timeout", "queue": 7}, "queue=7 must be"),
        (
            {"kind": "timeout", "task": ""},
            "task='' must be a pattern of task ids such as 'mail-*'.",
        ),
        (
            {"kind": "unavailable", "method": 7},
            "method=7 must be a method such as 'CreateTask'.",
        ),
        (
            {"kind": "timeout", "method": "CreateTask"},
            "method='CreateTask': kind 'timeout' is about dispatches and takes no "
            "method.",
        ),
        (
            {"kind": "timeout", "times": 0},
            "times=0 must be a whole number from 1 or None.",
        ),
        ({"kind": "timeout", "times": True}, "times=True must be"),
        ({"kind": "timeout", "times": 1.0}, "times=1.0 must be"),
        ({"kind": "timeout", "skip": -1}, "skip=-1 must be a whole number from 0."),
        (
            {"kind": "timeout", "probability": 0},
            "probability=0 must be above 0 and at most 1.",
        ),
        ({"kind": "timeout", "probability": 1.1}, "probability=1.1 must be"),
        ({"kind": "timeout", "probability": float("nan")}, "probability=nan must be"),
        ({"kind": "timeout", "probability": "1"}, "probability='1' must be"),
        ({"kind": "timeout", "delay": 1}, "is allowed only with kind 'delay'."),
        (
            {"kind": "delay"},
            "delay=None must be more than 0 and at most 31 days.",
        ),
        ({"kind": "delay", "delay": 0}, "must be more than 0"),
        ({"kind": "delay", "delay": 31 * 86_400 + 1}, "at most 31 days"),
        (
            {"kind": "delay", "delay": "5s"},
            "delay='5s' must be a number of seconds.",
        ),
        ({"kind": "delay", "delay": True}, "delay=True must be a number"),
        ({"kind": "delay", "delay": float("nan")}, "delay=nan must be a number"),
        ({"kind": "delay", "delay": 1e300}, "delay=1e+300 must be a number"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Fault.from_dict(values)

    assert message in str(caught.value)


@given(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(DISPATCH_KINDS + API_KINDS)},
        optional={
            "queue": st.sampled_from([None, "default", QUEUE]),
            "task": st.sampled_from([None, "mail-*"]),
            "times": st.none() | st.integers(1, 10**9),
            "skip": st.integers(0, 10**9),
            "probability": st.floats(0, 1, exclude_min=True),
        },
    ),
    st.integers(1, MAX_DELAY // timedelta(milliseconds=1)),
)
def test_json_says_all_of_a_fault(values: dict[str, Any], milliseconds: int) -> None:
    if values["kind"] == "delay":
        values["delay"] = milliseconds / 1000
    fault = Fault.from_dict(values)

    shown = fault.to_dict()

    assert shown.pop("id") == 0
    assert shown.items() >= values.items()
    assert Fault.from_dict(shown) == fault
