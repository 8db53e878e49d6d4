import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from cloudtask.emulator.schema import SCHEMA
from cloudtask.emulator.storage.errors import StoreError
from cloudtask.emulator.storage.file import StoreFile
from cloudtask.emulator.tasks.tables.queues import QueueRow
from cloudtask.emulator.tasks.tables.store import Store
from tests.emulator.samples import DAY, NOW, QUEUE, queue, task

LATER = NOW + DAY
Open = Callable[..., Store]


@pytest.fixture
def open_store() -> Iterator[Open]:
    """Return a function that opens stores, closed after the test."""
    with ExitStack() as stack:

        def open_store(path: Path | None = None) -> Store:
            store = Store(StoreFile(path, SCHEMA))
            stack.callback(store.file.close)
            return store

        yield open_store


@pytest.fixture
def store(open_store: Open) -> Store:
    return open_store()


@pytest.fixture
def row(store: Store) -> QueueRow:
    return store.queues.add(QUEUE, queue())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


def add_tasks(store: Store, row: QueueRow, *task_ids: str, due: int = NOW) -> None:
    for task_id in task_ids:
        message = task(task_id).SerializeToString()
        store.tasks.add(row.lane, task_id, NOW, due, message)


def listed(store: Store, row: QueueRow) -> list[str]:
    found = store.tasks.list_after(row, "", 1000)
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
    row = store.queues.add(QUEUE, queue(retry_config={"max_attempts": 3}))
    add_tasks(store, row, "t1")
    store.facts.keep("key", b"value")
    store.file.commit()
    store.file.close()

    again = open_store(path)

    [kept] = again.queues
    assert kept == row
    assert listed(again, kept) == ["t1"]
    assert again.facts.get("key") == b"value"


def test_what_was_not_committed_is_gone(open_store: Open, path: Path) -> None:
    store = open_store(path)
    store.facts.keep("key", b"value")
    store.file.close()

    assert open_store(path).facts.get("key") is None


def test_a_task_that_was_being_sent_waits_again(open_store: Open, path: Path) -> None:
    store = open_store(path)
    row = store.queues.add(QUEUE, queue())
    add_tasks(store, row, "t1")
    [sent] = store.tasks.find_due(row, NOW, 1)
    sent.in_flight, sent.previous_response = 2, 503
    store.tasks.keep(sent)
    assert store.tasks.find_due(row, NOW, 1) == []
    store.file.commit()
    store.file.close()

    [again] = open_store(path).tasks.find_due(row, NOW, 1)

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
    store.facts.keep("private", b"key")
    store.file.commit()

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
        open_store(path).file.close()
    # As one that was killed leaves them.
    left = path.with_name(f"{path.name}-wal")
    for each in (path, left):
        each.touch()
        each.chmod(mode)

    store = open_store(path)
    store.facts.keep("private", b"key")
    store.file.commit()

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
    store.facts.keep("private", b"key")
    store.file.commit()

    assert path.is_symlink()
    found = modes(file.parent)
    assert found.keys() >= {file.name, f"{file.name}-wal"}
    assert set(found.values()) == {0o600}


def test_a_file_that_cannot_be_taken_from_others_is_refused(
    open_store: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(path).file.close()
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
    connection = open_store(path).file._connection

    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_directories_are_made(open_store: Open, tmp_path: Path) -> None:
    path = tmp_path / "var" / "tasks" / "store.sqlite3"

    open_store(path)

    assert path.exists()


def test_an_empty_file_becomes_a_store(open_store: Open, path: Path) -> None:
    path.touch()

    assert list(open_store(path).queues) == []


def test_a_file_belongs_to_one_process_at_a_time(open_store: Open, path: Path) -> None:
    first = open_store(path)

    with pytest.raises(StoreError) as caught:
        open_store(path)

    assert str(caught.value) == (
        f"{path} is in use by another process, most likely an emulator. "
        "Stop it, or use another file with --store."
    )
    first.file.close()
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
            "is a database of another program.",
        ),
        (
            lambda path: database(
                path,
                "CREATE TABLE facts (a)",
                f"PRAGMA application_id = {SCHEMA.application_id}",
                f"PRAGMA user_version = {SCHEMA.version + 1}",
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

    assert str(caught.value) == f"{path} cannot be created: Not a directory."


# Transactions.


def test_a_rollback_restores_everything(store: Store) -> None:
    row = store.queues.add(QUEUE, queue())
    add_tasks(store, row, "t1")
    store.names.block(row.id, "gone", LATER)
    store.file.commit()

    store.facts.keep("key", b"value")
    store.names.block(row.id, "t1", LATER)
    store.operations.add("o", "r", NOW, b"message")
    store.queues.change_lane(row, LATER)
    store.file.rollback()

    assert not store.file.is_dirty
    assert list(store.queues) == [row]
    assert listed(store, row) == ["t1"]
    assert store.names.end_of_block(row.id, "t1") is None
    assert store.names.end_of_block(row.id, "gone") == LATER
    assert store.operations.get("o") is None
    assert store.facts.get("key") is None


def test_reading_makes_nothing_dirty(store: Store, row: QueueRow) -> None:
    store.file.commit()

    listed(store, row)
    store.file.commit()
    store.file.rollback()

    assert not store.file.is_dirty
    assert list(store.queues) == [row]


def test_clearing_forgets_everything(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "t1")
    store.facts.keep("key", b"value")
    store.operations.add("o", "r", NOW, b"message")
    store.names.block(row.id, "gone", LATER)
    store.queues.remove(store.queues.add(f"{QUEUE}-2", queue()), LATER)

    store.file.clear()

    assert list(store.queues) == []
    assert listed(store, row) == []
    assert store.facts.get("key") is None
    assert store.operations.get("o") is None
    assert store.names.end_of_block(row.id, "gone") is None
    assert store.queues.end_of_block(f"{QUEUE}-2") is None


def test_a_full_disk_fails_a_write_and_a_rollback_mends_it(
    open_store: Open, path: Path
) -> None:
    store = open_store(path)
    row = store.queues.add(QUEUE, queue())
    add_tasks(store, row, "kept")
    store.file.commit()
    run = store.file.read
    (pages,) = run("PRAGMA page_count").fetchone()
    run(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(sqlite3.OperationalError, match="full"):
        add_tasks(store, row, *(f"t{number}" for number in range(1000)))
    store.file.rollback()

    assert listed(store, row) == ["kept"]
    run("PRAGMA max_page_count = 1000000")
    add_tasks(store, row, "more")
    store.file.commit()
    assert listed(store, row) == ["kept", "more"]


# Facts and queues.


def test_a_fact_is_replaced(store: Store) -> None:
    store.facts.keep("key", b"old")
    store.facts.keep("key", b"new")

    assert store.facts.get("key") == b"new"


def test_a_changed_queue_is_kept(store: Store, row: QueueRow) -> None:
    changed = queue(retry_config={"max_attempts": 7})

    store.queues.update(row.id, changed)

    [kept] = store.queues
    assert kept.message == changed


def test_a_removed_queue_blocks_its_path_until_it_is_made_again(
    store: Store, row: QueueRow
) -> None:
    store.queues.remove(row, LATER)
    assert store.queues.end_of_block(QUEUE) == LATER
    assert list(store.queues) == []

    again = store.queues.add(QUEUE, queue())

    assert store.queues.end_of_block(QUEUE) is None
    assert again.id != row.id
    assert again.lane != row.lane


def test_a_policy_is_kept_with_its_queue(store: Store, row: QueueRow) -> None:
    assert store.queues.policy(QUEUE) == b""

    store.queues.keep_policy(QUEUE, b"policy")

    assert store.queues.policy(QUEUE) == b"policy"


# Tasks.


def test_a_task_is_found_by_its_id_and_by_its_number(
    store: Store, row: QueueRow
) -> None:
    add_tasks(store, row, "t1", due=LATER)
    other = store.queues.add(f"{QUEUE}-2", queue())

    found = store.tasks.find(row, "t1")

    assert found is not None
    assert (found.queue, found.due, found.message) == (QUEUE, LATER, task("t1"))
    same = store.tasks.get(row, found.id)
    assert same is not None
    assert same.message == found.message
    assert store.tasks.contains(row.lane, "t1")
    for lost in (
        store.tasks.find(row, "t2"),
        store.tasks.find(other, "t1"),
        store.tasks.get(row, found.id + 1),
        store.tasks.get(other, found.id),
    ):
        assert lost is None
    assert not store.tasks.contains(other.lane, "t1")


def test_two_tasks_cannot_have_one_name(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "t1")

    with pytest.raises(sqlite3.IntegrityError):
        add_tasks(store, row, "t1")


def test_what_changed_in_a_task_is_kept(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "t1")
    [changed] = store.tasks.find_due(row, NOW, 1)
    changed.due, changed.in_flight, changed.executions = LATER, 1, 2
    changed.previous_response = 404
    changed.message.dispatch_count = 3

    store.tasks.keep(changed)

    kept = store.tasks.find(row, "t1")
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
        found = store.tasks.find_due(row, now, limit)
        return [each.message.name[-1] for each in found]

    assert due(NOW + 9) == []
    assert due(NOW + 20) == ["b", "a", "c"]
    assert due(NOW + 20, limit=2) == ["b", "a"]
    assert store.tasks.next_due(row.lane) == NOW + 10


def test_a_task_that_is_being_sent_is_not_due(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "t1")
    [sent] = store.tasks.find_due(row, NOW, 1)

    store.tasks.correct_in_flight(sent.id, in_flight=1)
    assert store.tasks.find_due(row, NOW, 1) == []
    assert store.tasks.next_due(row.lane) is None
    assert store.tasks.count(row.lane) == 1

    store.tasks.correct_in_flight(sent.id, in_flight=0)
    assert len(store.tasks.find_due(row, NOW, 1)) == 1


def test_a_task_is_rescheduled_and_removed(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "t1")
    [moved] = store.tasks.find_due(row, NOW, 1)

    store.tasks.reschedule(moved.id, LATER)
    assert store.tasks.next_due(row.lane) == LATER

    store.tasks.remove(moved.id)
    assert store.tasks.next_due(row.lane) is None
    assert store.tasks.count(row.lane) == 0


def test_tasks_are_listed_from_after_an_id(store: Store, row: QueueRow) -> None:
    add_tasks(store, row, "c", "a", "b")

    found = store.tasks.list_after(row, "a", 1)

    assert [each.message.name[-1] for each in found] == ["b"]


def test_old_tasks_are_found_in_the_order_of_their_making(
    store: Store, row: QueueRow
) -> None:
    for number, created in enumerate([NOW, NOW + 2, NOW + 1]):
        store.tasks.add(row.lane, f"t{number}", created, LATER, b"")

    found = store.tasks.find_created_until(NOW + 1, limit=3)

    assert [task_id for _, _, task_id in found] == ["t0", "t2"]
    assert {lane for _, lane, _ in found} == {row.lane}
    [first] = store.tasks.find_created_until(NOW + 2, limit=1)
    assert first == found[0]


# Names that stay blocked.


def test_a_name_is_blocked_in_its_queue(store: Store, row: QueueRow) -> None:
    store.names.block(row.id, "t1", NOW)
    store.names.block(row.id, "t1", LATER)

    assert store.names.end_of_block(row.id, "t1") == LATER
    assert store.names.end_of_block(row.id, "t2") is None
    assert store.names.end_of_block(row.id + 1, "t1") is None


def test_names_that_are_free_again_are_dropped(store: Store, row: QueueRow) -> None:
    for number in range(3):
        store.names.block(row.id, f"t{number}", NOW)
    store.names.block(row.id, "later", NOW + 1)
    other = store.queues.add(f"{QUEUE}-2", queue())
    store.queues.remove(other, NOW)

    dropped = [store.names.drop_expired(NOW, limit=2) for _ in range(3)]

    assert dropped == [2, 1, 0]
    assert store.names.end_of_block(row.id, "later") == NOW + 1
    assert store.queues.end_of_block(other.path) is None


def test_the_names_of_cleared_tasks_are_blocked_before_and_after_they_are_removed(
    store: Store, row: QueueRow
) -> None:
    task_ids = [f"t{number}" for number in range(5)]
    add_tasks(store, row, *task_ids)

    changed = store.queues.change_lane(row, LATER)

    assert (changed.id, changed.path) == (row.id, row.path)
    assert listed(store, changed) == []
    assert store.lanes.are_left
    turns = 0
    while store.lanes.are_left:
        for task_id in task_ids:
            assert store.names.end_of_block(row.id, task_id) == LATER
        store.lanes.clear(limit=2)
        turns += 1
    assert turns == 4  # 2, 2, 1 and a look that finds nothing.
    assert store.tasks.find_created_until(NOW, limit=9) == []
    for task_id in task_ids:
        assert store.names.end_of_block(row.id, task_id) == LATER
    assert store.names.end_of_block(row.id, "other") is None


def test_tasks_of_a_removed_queue_are_cleared_without_a_trace(
    store: Store, row: QueueRow
) -> None:
    add_tasks(store, row, "t1")
    store.queues.remove(row, LATER)

    store.lanes.clear(limit=9)

    assert store.tasks.find_created_until(NOW, limit=9) == []
    assert store.names.end_of_block(row.id, "t1") is None


@pytest.mark.parametrize("cleared", [False, True])
def test_the_later_of_two_ends_blocks_a_name(
    store: Store, row: QueueRow, cleared: bool
) -> None:
    """A name whose block was over, but not swept, is used and purged again."""
    add_tasks(store, row, "t1", "t2")
    store.names.block(row.id, "t1", NOW)
    store.names.block(row.id, "t2", LATER + 1)

    store.queues.change_lane(row, LATER)
    if cleared:
        store.lanes.clear(limit=9)

    assert store.names.end_of_block(row.id, "t1") == LATER
    assert store.names.end_of_block(row.id, "t2") == LATER + 1


def test_lanes_are_never_shared(store: Store, row: QueueRow) -> None:
    lanes = [row.lane]
    for number in range(3):
        row = store.queues.change_lane(row, LATER)
        other = store.queues.add(f"{QUEUE}-{number}", queue())
        lanes += [row.lane, other.lane]

    assert len(set(lanes)) == len(lanes)


# Operations.


def test_operations_are_found_by_name_and_by_request(store: Store) -> None:
    store.operations.add("o1", "r1", NOW, b"one")
    store.operations.add("o2", "r2", NOW + 1, b"two")

    assert store.operations.get("o1") == b"one"
    assert store.operations.find("r2") == b"two"
    assert store.operations.get("r1") is None
    assert store.operations.find("o1") is None
    store.operations.drop(NOW)
    found: list[Any] = [store.operations.get("o1"), store.operations.get("o2")]
    assert found == [None, b"two"]
