import pytest

from cloudtask.emulator.tasks.engine.flights import Flight, Flights

QUEUE = 1


@pytest.fixture
def flights() -> Flights:
    return Flights()


def begun(flights: Flights, task: int, queue: int = QUEUE) -> int:
    """Start an attempt that the store keeps."""
    serial = flights.start(Flight(queue, task))
    flights.commit()
    return serial


def test_an_attempt_is_under_way_until_it_lands(flights: Flights) -> None:
    serial = begun(flights, task=7)

    assert serial in flights
    assert len(flights) == 1
    assert flights.land(serial) == Flight(QUEUE, 7)
    assert serial not in flights
    assert len(flights) == 0


def test_no_two_attempts_have_the_same_serial(flights: Flights) -> None:
    first = begun(flights, task=7)
    flights.land(first)
    flights.commit()

    assert begun(flights, task=7) != first


def test_attempts_are_counted_by_queue(flights: Flights) -> None:
    for queue in (1, 2, 2):
        begun(flights, task=7, queue=queue)

    assert flights.count_by_queue() == {1: 1, 2: 2}


def test_what_started_is_forgotten_by_a_rollback(flights: Flights) -> None:
    kept = begun(flights, task=7)
    undone = flights.start(Flight(QUEUE, 8))

    flights.rollback()

    assert kept in flights
    assert undone not in flights
    assert not flights.are_stranded


def test_what_landed_is_stranded_by_a_rollback(flights: Flights) -> None:
    answered, under_way = begun(flights, task=7), begun(flights, task=7)
    flights.land(answered)

    flights.rollback()

    assert flights.are_stranded
    assert flights.take_stranded() == {7: 1}
    assert not flights.are_stranded
    assert under_way in flights


def test_what_landed_before_a_commit_is_never_stranded(flights: Flights) -> None:
    flights.land(begun(flights, task=7))
    flights.commit()

    flights.rollback()

    assert not flights.are_stranded


def test_what_starts_and_lands_between_commits_is_undone_as_a_whole(
    flights: Flights,
) -> None:
    flights.land(flights.start(Flight(QUEUE, 7)))

    flights.rollback()

    assert len(flights) == 0
    assert flights.take_stranded() == {7: 0}


def test_the_stranded_stay_stranded_until_their_rescue_is_kept(
    flights: Flights,
) -> None:
    flights.land(begun(flights, task=7))
    flights.rollback()

    for _ in range(2):
        assert flights.take_stranded() == {7: 0}
        flights.rollback()
    flights.take_stranded()
    flights.commit()
    flights.rollback()

    assert not flights.are_stranded


def test_clearing_lands_everything(flights: Flights) -> None:
    serial = begun(flights, task=7)

    flights.clear()

    assert serial not in flights


def test_clearing_can_be_undone(flights: Flights) -> None:
    """Nobody waits for the answers any more, so the tasks are sent again."""
    begun(flights, task=7)
    flights.clear()

    flights.rollback()

    assert flights.take_stranded() == {7: 0}
