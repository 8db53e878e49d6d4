import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from cloudtask.emulator.tasks.store import (
    APPLICATION_ID,
    FORMAT_VERSION,
    QueueRow,
    Store,
    StoreError,
)
from tests.emulator.samples import DAY, NOW, QUEUE, queue, task

LATER = NOW + DAY
Open = Callable[..., Store]


@pytest.fixture
def open_store() -> Iterator[Open]:
    """Return a function that opens stores, closed after the test."""
    with ExitStack() as stack:

        def open_store(path: Path | None = None) -> Store:
            return stack.enter_context(closing(Store(path)))

        yield open_store


@pytest.fixture
def store(open_store: Open) -> Store:
    return open_store()


@pytest.fixture
def row(store: Store) -> QueueRow:
    return store.add_queue(QUEUE, queue())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


def add_tasks(store: Store, row: QueueRow, *task_ids: str, due: int = NOW) -> None:
    for task_id in task_ids:
        message = task(task_id).SerializeToString()
        store.add_task(row.lane, task_id, NOW, due, message)


def listed(store: Store, row: QueueRow) -> list[str]:
    found = store.tasks_after(row, "", 1000)
    return [each.message.name.rpartition("/")[2] for each in found]


def database(path: Path, *statements: str) -> None:
    """Make a database by other means."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


# The file.


def test_a_store_keeps_what_was_committed(open_store: Open, path: Path) -> None:
    store = open_store(path)
    row = store.add_queue(QUEUE, queue(retry_config={"max_attempts": 3}))
    add_tasks(store, row, "t1")
    store.keep_fact("key", b"value")
    store.commit()
    store.close()

    again = open_store(path)

    [kept] = again.queues()
    assert kept == row
    assert listed(again, kept) == ["t1"]
    assert again.fact("key") == b"value"


def test_what_was_not_committed_is_gone(open_store: Open, path: Path) -> None:
    store = open_store(path)
    store.keep_fact("key", b"value")
    store.close()

    assert open_store(path).fact("key") is None


def test_a_task_that_was_being_sent_waits_again(open_store: Open, path: Path) -> None:
    store = open_store(path)
    row = store.add_queue(QUEUE, queue())
    add_tasks(store, row, "t1")
    [sent] = store.due_tasks(row, NOW, 1)
    sent.in_flight, sent.previous_response = 2, 503
    store.keep_task(sent)
    assert store.due_tasks(row, NOW, 1) == []
    store.commit()
    store.close()

    [again] = open_store(path).due_tasks(row, NOW, 1)

    assert (again.in_flight, again.previous_response) == (0, 503)


@pytest.fixture
def permissive() -> Iterator[None]:
    """Let files be made with the permissions that they are asked for."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}


@pytest.mark.usefixtures("permissive")
def test_only_the_owner_can_read_its_files(open_store: Open, path: Path) -> None:
    store = open_store(path)
    store.keep_fact("private", b"key")
    store.commit()

    found = modes(path.parent)
    assert found.keys() >= {path.name, f"{path.name}-wal"}
    assert set(found.values()) == {0o600}


@pytest.mark.usefixtures("permissive")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o666, 0o777])
@pytest.mark.parametrize("is_new", [False, True])
def test_a_file_that_others_could_read_is_taken_from_them(
    open_store: Open, path: Path, mode: int, is_new: bool
) -> None:
    if is_new:
        path.touch()
    else:
        open_store(path).close()
    # As one that was killed leaves them.
    left = path.with_name(f"{path.name}-wal")
    for each in (path, left):
        each.touch()
        each.chmod(mode)

    store = open_store(path)
    store.keep_fact("private", b"key")
    store.commit()

    assert set(modes(path.parent).values()) == {0o600}


@pytest.mark.usefixtures("permissive")
@pytest.mark.parametrize("is_there", [False, True])
def test_a_link_leads_to_a_file_that_is_the_owners(
    open_store: Open, path: Path, tmp_path: Path, is_there: bool
) -> None:
    file = tmp_path / "elsewhere" / "store.sqlite3"
    path.symlink_to(file)
    if is_there:
        file.parent.mkdir()
        file.touch(0o644)

    store = open_store(path)
    store.keep_fact("private", b"key")
    store.commit()

    assert path.is_symlink()
    found = modes(file.parent)
    assert found.keys() >= {file.name, f"{file.name}-wal"}
    assert set(found.values()) == {0o600}


def test_a_file_that_cannot_be_taken_from_others_is_refused(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(path).close()
    path.chmod(0o644)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "chmod", refuse)
        with pytest.raises(StoreError) as caught:
            open_store(path)

    assert str(caught.value).startswith(
        f"{path} is open to others, and that cannot be changed: Operation not permitted"
    )
    open_store(path)


def test_commits_go_to_a_log_and_to_the_disk(open_store: Open, path: Path) -> None:
    connection = open_store(path)._connection

    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_directories_are_made(open_store: Open, tmp_path: Path) -> None:
    path = tmp_path / "var" / "tasks" / "store.sqlite3"

    open_store(path)

    assert path.exists()


def test_an_empty_file_becomes_a_store(open_store: Open, path: Path) -> None:
    path.touch()

    assert list(open_store(path).queues()) == []


def test_a_file_belongs_to_one_process_at_a_time(open_store: Open, path: Path) -> None:
    first = open_store(path)

    with pytest.raises(StoreError) as caught:
        open_store(path)

    assert str(caught.value) == (
        f"{path} is in use by another process, most likely an emulator. "
        "Stop it, or keep this one's tasks elsewhere with --store."
    )
    first.close()
    open_store(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda path: path.write_text("Not a database, but long enough." * 100),
            "cannot be used as a store: file is not a database.",
        ),
        (
            lambda path: database(path, "CREATE TABLE mine (a)"),
            "is a database of something else.",
        ),
        (
            lambda path: database(
                path,
                "CREATE TABLE facts (a)",
                f"PRAGMA application_id = {APPLICATION_ID}",
                f"PRAGMA user_version = {FORMAT_VERSION + 1}",
            ),
            "has format 2, this emulator reads format 1. "
            "Use the version that wrote it, or another file.",
        ),
        (Path.mkdir, "cannot be used as a store: unable to open database file."),
    ],
    ids=["no database", "foreign", "newer", "directory"],
)
def test_what_is_no_store_is_refused_and_left_alone(
    open_store: Open, path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    mode = path.stat().st_mode

    with pytest.raises(StoreError) as caught:
        open_store(path)

    assert str(caught.value) == f"{path} {reason}"
    if before is not None:
        assert path.read_bytes() == before
    assert path.stat().st_mode == mode


def test_a_file_that_cannot_be_made_is_refused(
    open_store: Open, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below" / "store.sqlite3"

    with pytest.raises(StoreError) as caught:
        open_store(path)

    assert str(caught.value) == f"{path} cannot be made: Not a directory."


# Transactions.


def test_a_rollback_restores_everything(store: Store) -> None:
    row = store.add_queue(QUEUE, queue())
    add_tasks(store, row, "t1")
    store.block_name(row.id, "gone", LATER)
    store.commit()

    store.keep_fact("key", b"value")
    store.block_name(row.id, "t1", LATER)
    store.add_operation("o", "r", NOW, b"message")
    store.change_lane(row, LATER)
    store.rollback()

    assert not store.is_dirty
    assert list(store.queues()) == [row]
    assert listed(store, row) == ["t1"]
    assert store.name_blocked_until(row.id, "t1") is None
    assert store.name_blocked_until(row.id, "gone") == LATER
    assert store.operation("o") is None
    assert store.fact("key") is None


def test_reading_makes_nothing_dirty(store: Store, row: QueueRow) -> None:
    store.commit()

    listed(store, row)
    store.commit()
    store.rollback()

    assert not store.is_dirty
    assert list(store.queues()) == [row]


def test_clearing_forgets_everything(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "t1")
    store.keep_fact("key", b"value")
    store.add_operation("o", "r", NOW, b"message")
    store.block_name(row.id, "gone", LATER)
    store.remove_queue(store.add_queue(f"{QUEUE}-2", queue()), LATER)

    store.clear()

    assert list(store.queues()) == []
    assert listed(store, row) == []
    assert store.fact("key") is None
    assert store.operation("o") is None
    assert store.name_blocked_until(row.id, "gone") is None
    assert store.queue_blocked_until(f"{QUEUE}-2") is None


def test_a_full_disk_fails_a_write_and_a_rollback_mends_it(
    open_store: Open, path: Path
) -> None:
    store = open_store(path)
    row = store.add_queue(QUEUE, queue())
    add_tasks(store, row, "kept")
    store.commit()
    run = store._connection.execute
    (pages,) = run("PRAGMA page_count").fetchone()
    run(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(sqlite3.OperationalError, match="full"):
        add_tasks(store, row, *(f"t{number}" for number in range(1000)))
    store.rollback()

    assert listed(store, row) == ["kept"]
    run("PRAGMA max_page_count = 1000000")
    add_tasks(store, row, "more")
    store.commit()
    assert listed(store, row) == ["kept", "more"]


# Facts and queues.


def test_a_fact_is_replaced(store: Store) -> None:
    store.keep_fact("key", b"old")
    store.keep_fact("key", b"new")

    assert store.fact("key") == b"new"


def test_a_changed_queue_is_kept(store: Store, row: QueueRow) -> None:
    changed = queue(retry_config={"max_attempts": 7})

    store.update_queue(row.id, changed)

    [kept] = store.queues()
    assert kept.message == changed


def test_a_removed_queue_blocks_its_path_until_it_is_made_again(
    store: Store, row: QueueRow
) -> None:
    store.remove_queue(row, LATER)
    assert store.queue_blocked_until(QUEUE) == LATER
    assert list(store.queues()) == []

    again = store.add_queue(QUEUE, queue())

    assert store.queue_blocked_until(QUEUE) is None
    assert again.id != row.id
    assert again.lane != row.lane


def test_a_policy_is_kept_with_its_queue(store: Store, row: QueueRow) -> None:
    assert store.policy(row.id) == b""

    store.keep_policy(row.id, b"policy")

    assert store.policy(row.id) == b"policy"


# Tasks.


def test_a_task_is_found_by_its_id_and_by_its_number(
    store: Store, row: QueueRow
) -> None:
    add_tasks(store, row, "t1", due=LATER)
    other = store.add_queue(f"{QUEUE}-2", queue())

    found = store.find_task(row, "t1")

    assert found is not None
    assert (found.queue, found.due, found.message) == (QUEUE, LATER, task("t1"))
    same = store.task(row, found.id)
    assert same is not None
    assert same.message == found.message
    assert store.has_task(row.lane, "t1")
    for lost in (
        store.find_task(row, "t2"),
        store.find_task(other, "t1"),
        store.task(row, found.id + 1),
        store.task(other, found.id),
    ):
        assert lost is None
    assert not store.has_task(other.lane, "t1")


def test_two_tasks_cannot_have_one_name(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "t1")

    with pytest.raises(sqlite3.IntegrityError):
        add_tasks(store, row, "t1")


def test_what_changed_in_a_task_is_kept(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "t1")
    [changed] = store.due_tasks(row, NOW, 1)
    changed.due, changed.in_flight, changed.executions = LATER, 1, 2
    changed.previous_response = 404
    changed.message.dispatch_count = 3

    store.keep_task(changed)

    kept = store.find_task(row, "t1")
    assert kept is not None
    assert (kept.due, kept.in_flight, kept.executions) == (LATER, 1, 2)
    assert kept.previous_response == 404
    assert kept.message.dispatch_count == 3


def test_tasks_are_due_in_the_order_of_their_time_and_then_of_their_making(
    store: Store, row: QueueRow
) -> None:
    for task_id, due in [("c", 20), ("b", 10), ("a", 10), ("d", 30)]:
        add_tasks(store, row, task_id, due=NOW + due)

    def due(now: int, limit: int = 9) -> list[str]:
        found = store.due_tasks(row, now, limit)
        return [each.message.name[-1] for each in found]

    assert due(NOW + 9) == []
    assert due(NOW + 20) == ["b", "a", "c"]
    assert due(NOW + 20, limit=2) == ["b", "a"]
    assert store.next_due(row.lane) == NOW + 10


def test_a_task_that_is_being_sent_is_not_due(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "t1")
    [sent] = store.due_tasks(row, NOW, 1)

    store.land(sent.id, in_flight=1)
    assert store.due_tasks(row, NOW, 1) == []
    assert store.next_due(row.lane) is None
    assert store.depth(row.lane) == 1

    store.land(sent.id, in_flight=0)
    assert len(store.due_tasks(row, NOW, 1)) == 1


def test_a_task_is_rescheduled_and_removed(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "t1")
    [moved] = store.due_tasks(row, NOW, 1)

    store.reschedule(moved.id, LATER)
    assert store.next_due(row.lane) == LATER

    store.remove_task(moved.id)
    assert store.next_due(row.lane) is None
    assert store.depth(row.lane) == 0


def test_tasks_are_listed_from_after_an_id(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "c", "a", "b")

    found = store.tasks_after(row, "a", 1)

    assert [each.message.name[-1] for each in found] == ["b"]


def test_old_tasks_are_found_in_the_order_of_their_making(
    store: Store, row: QueueRow
) -> None:
    for number, created in enumerate([NOW, NOW + 2, NOW + 1]):
        store.add_task(row.lane, f"t{number}", created, LATER, b"")

    found = store.tasks_created_until(NOW + 1, limit=3)

    assert [task_id for _, _, task_id in found] == ["t0", "t2"]
    assert {lane for _, lane, _ in found} == {row.lane}
    [first] = store.tasks_created_until(NOW + 2, limit=1)
    assert first == found[0]


# Names that stay blocked.


def test_a_name_is_blocked_in_its_queue(store: Store, row: QueueRow) -> None:
    store.block_name(row.id, "t1", NOW)
    store.block_name(row.id, "t1", LATER)

    assert store.name_blocked_until(row.id, "t1") == LATER
    assert store.name_blocked_until(row.id, "t2") is None
    assert store.name_blocked_until(row.id + 1, "t1") is None


def test_names_that_are_free_again_are_dropped(store: Store, row: QueueRow) -> None:
    for number in range(3):
        store.block_name(row.id, f"t{number}", NOW)
    store.block_name(row.id, "later", NOW + 1)
    other = store.add_queue(f"{QUEUE}-2", queue())
    store.remove_queue(other, NOW)

    dropped = [store.drop_expired(NOW, limit=2) for _ in range(3)]

    assert dropped == [2, 1, 0]
    assert store.name_blocked_until(row.id, "later") == NOW + 1
    assert store.queue_blocked_until(other.path) is None


def test_the_names_of_cleared_tasks_are_blocked_before_and_after_they_are_removed(
    store: Store, row: QueueRow
) -> None:
    task_ids = [f"t{number}" for number in range(5)]
    add_tasks(store, row, *task_ids)

    changed = store.change_lane(row, LATER)

    assert (changed.id, changed.path) == (row.id, row.path)
    assert listed(store, changed) == []
    assert store.has_cleared_lanes
    turns = 0
    while store.has_cleared_lanes:
        for task_id in task_ids:
            assert store.name_blocked_until(row.id, task_id) == LATER
        store.clear_lanes(limit=2)
        turns += 1
    assert turns == 4  # 2, 2, 1 and a look that finds nothing.
    assert store.tasks_created_until(NOW, limit=9) == []
    for task_id in task_ids:
        assert store.name_blocked_until(row.id, task_id) == LATER
    assert store.name_blocked_until(row.id, "other") is None


def test_tasks_of_a_removed_queue_are_cleared_without_a_trace(
    store: Store, row: QueueRow
) -> None:
    add_tasks(store, row, "t1")
    store.remove_queue(row, LATER)

    store.clear_lanes(limit=9)

    assert store.tasks_created_until(NOW, limit=9) == []
    assert store.name_blocked_until(row.id, "t1") is None


@pytest.mark.parametrize("cleared", [False, True])
def test_the_later_of_two_ends_blocks_a_name(
    store: Store, row: QueueRow, cleared: bool
) -> None:
    """A name whose block was over, but not swept, is used and purged again."""
    add_tasks(store, row, "t1", "t2")
    store.block_name(row.id, "t1", NOW)
    store.block_name(row.id, "t2", LATER + 1)

    store.change_lane(row, LATER)
    if cleared:
        store.clear_lanes(limit=9)

    assert store.name_blocked_until(row.id, "t1") == LATER
    assert store.name_blocked_until(row.id, "t2") == LATER + 1


def test_lanes_are_never_shared(store: Store, row: QueueRow) -> None:
    lanes = [row.lane]
    for number in range(3):
        row = store.change_lane(row, LATER)
        other = store.add_queue(f"{QUEUE}-{number}", queue())
        lanes += [row.lane, other.lane]

    assert len(set(lanes)) == len(lanes)


# Operations.


def test_operations_are_found_by_name_and_by_request(store: Store) -> None:
    store.add_operation("o1", "r1", NOW, b"one")
    store.add_operation("o2", "r2", NOW + 1, b"two")

    assert store.operation("o1") == b"one"
    assert store.operation_of("r2") == b"two"
    assert store.operation("r1") is None
    assert store.operation_of("o1") is None
    store.drop_operations(NOW)
    found: list[Any] = [store.operation("o1"), store.operation("o2")]
    assert found == [None, b"two"]
