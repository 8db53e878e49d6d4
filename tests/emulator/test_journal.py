import asyncio
import threading

import pytest

from cloudtask.emulator.targets.messages import Answer
from cloudtask.emulator.tasks.faults import Fault
from cloudtask.emulator.tasks.model.dispatch import Verdict, start_attempt
from cloudtask.emulator.tasks.model.tasks import StoredTask
from cloudtask.emulator.tasks.sending import journal as module
from cloudtask.emulator.tasks.sending.journal import Attempt, Journal, make_attempt
from cloudtask.emulator.values.instants import SECOND, to_datetime
from tests.emulator.samples import NOW, QUEUE, URL, name_of, task


def attempt(number: int = 1, fault: Fault | None = None) -> Attempt:
    message = task("t1")
    message.dispatch_count = number - 1
    dispatch = start_attempt(
        StoredTask(7, QUEUE, message, due=NOW), None, number, NOW, fault=fault
    )
    headers = {"Authorization": "Bearer secret"}
    verdict = Verdict("retry", NOW + 5 * SECOND)
    return make_attempt(dispatch, headers, Answer(500), verdict, NOW + SECOND)


def numbers(attempts: list[Attempt]) -> list[int]:
    return [each.number for each in attempts]


def test_an_attempt_says_what_was_sent_and_what_came_of_it() -> None:
    recorded = attempt(3)

    assert recorded == Attempt(
        name=name_of("t1"),
        url=URL,
        number=3,
        headers={"Authorization": "Bearer secret"},
        status=500,
        outcome="retry",
        dispatch_time=to_datetime(NOW),
        response_time=to_datetime(NOW + SECOND),
        retry_time=to_datetime(NOW + 5 * SECOND),
    )
    assert (recorded.queue, recorded.task_id) == ("default", "t1")
    assert "secret" not in repr(recorded)


def test_an_attempt_names_its_fault() -> None:
    assert attempt(fault=Fault("duplicate")).fault == "duplicate"


def test_attempts_are_kept_in_order() -> None:
    journal = Journal()

    journal.note(1, attempt(1))
    journal.note(0, attempt(2))

    assert numbers(journal.attempts) == [1, 2]
    assert (journal.count, journal.pending) == (2, 0)


def test_what_is_returned_stays_as_it_is() -> None:
    journal = Journal()
    journal.note(1, attempt(1))
    before = journal.attempts

    journal.note(0, attempt(2))

    assert numbers(before) == [1]


def test_the_oldest_attempts_are_dropped_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_ATTEMPTS", 3)
    journal = Journal()
    for number in range(1, 6):
        journal.note(0, attempt(number))

    assert numbers(journal.attempts) == [3, 4, 5]
    assert journal.count == 5
    assert numbers(journal.list_since(4)) == [5]
    assert numbers(journal.list_since(2)) == [3, 4, 5]
    assert numbers(journal.list_since(0)) == [3, 4, 5]


def test_attempts_can_be_followed_across_a_clearing() -> None:
    journal = Journal()
    journal.note(0, attempt(1))
    journal.clear()
    assert (journal.attempts, journal.count, journal.list_since(0)) == ([], 1, [])

    journal.note(0, attempt(2))

    assert numbers(journal.list_since(1)) == [2]
    assert journal.list_since(2) == []
    assert journal.list_since(9) == []


def test_every_change_sets_the_events_of_who_watches() -> None:
    async def main() -> None:
        journal = Journal()
        with journal.changes.watch() as one, journal.changes.watch() as two:
            journal.note(3)
            assert one.is_set()
            assert two.is_set()
            one.clear()
        journal.note(2)
        assert not one.is_set()

    asyncio.run(main())


def test_waiting_ends_with_the_change_that_is_waited_for() -> None:
    journal = Journal()
    writer = threading.Thread(target=journal.note, args=(3,))

    writer.start()
    journal.wait_for(lambda: journal.pending == 3, timeout=10)

    writer.join()


def test_a_predicate_is_asked_again_after_every_change() -> None:
    journal = Journal()
    asked = 0

    def predicate() -> bool:
        nonlocal asked
        asked += 1
        # A change that comes while it is asked is not missed.
        journal.note(asked)
        return asked == 5

    journal.wait_for(predicate, timeout=10)

    assert asked == 5


def test_a_predicate_may_wait_for_who_writes() -> None:
    """Such as for an answer of the emulator's own API."""
    journal = Journal()

    def predicate() -> bool:
        writer = threading.Thread(target=journal.note, args=(3,))
        writer.start()
        writer.join(10)
        return journal.pending == 3

    journal.wait_for(predicate, timeout=10)


@pytest.mark.parametrize(
    ("attempts", "message"),
    [
        ([], "Not true within 0 s: 0 attempts recorded, 2 tasks pending."),
        (
            [attempt(7)],
            "Not true within 0 s: 1 attempts recorded, 2 tasks pending. "
            "Last: default/t1 attempt 7, status 500, retry.",
        ),
    ],
)
def test_waiting_in_vain_says_what_did_happen(
    attempts: list[Attempt], message: str
) -> None:
    journal = Journal()
    journal.note(2)
    for each in attempts:
        journal.note(2, each)

    with pytest.raises(TimeoutError) as caught:
        journal.wait_for(lambda: False, timeout=0)

    assert str(caught.value) == message
