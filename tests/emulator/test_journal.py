import threading

import pytest

from cloudtask.emulator.dispatches import Answer, Verdict, dispatch_of
from cloudtask.emulator.journal import Attempt, Journal, attempt_of
from cloudtask.emulator.tasks import StoredTask
from tests.emulator.samples import NOW, QUEUE, task


def attempt(number: int = 1) -> Attempt:
    message = task("t1", http={"http_method": "POST"})
    message.dispatch_count = number
    dispatch = dispatch_of(StoredTask(message, QUEUE, due=NOW, ticket=1), NOW)
    headers = {"Authorization": "Bearer secret"}
    return attempt_of(dispatch, headers, Answer(500), Verdict("retry", NOW + 5), NOW)


def test_attempts_are_kept_in_order() -> None:
    journal = Journal()

    journal.note(1, attempt(1))
    journal.note(0, attempt(2))

    assert [each.number for each in journal.attempts] == [1, 2]
    assert journal.pending == 0


def test_an_attempt_knows_its_task_and_queue_and_hides_its_headers() -> None:
    recorded = attempt()

    assert (recorded.queue, recorded.task_id) == ("default", "t1")
    assert "secret" not in repr(recorded)


def test_waiting_ends_with_the_change_that_is_waited_for() -> None:
    journal = Journal()
    writer = threading.Thread(target=journal.note, args=(3,))

    writer.start()
    journal.wait_for(lambda: journal.pending == 3, timeout=10)

    writer.join()


@pytest.mark.parametrize(
    ("attempts", "message"),
    [
        ([], "Still not so after 0 s: 0 attempts recorded, 2 tasks pending."),
        (
            [attempt(7)],
            "Still not so after 0 s: 1 attempts recorded, 2 tasks pending. "
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
