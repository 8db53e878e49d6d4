"""What a transaction enqueues is delivered if it commits, and only then."""

import pytest

from tests.reliability.conftest import Scene
from tests.reliability.harness import Ground

pytestmark = pytest.mark.reliability

POINTS = (
    "before the commit",
    "outbox, before the call",
    "outbox, after the call",
    "anywhere",
)
TRANSACTIONS = 1000


def test_what_was_committed_is_delivered_and_what_was_not_never_is(
    scene: Scene, ground: Ground
) -> None:
    with scene() as story, ground.sweepers(4):
        before = begun(ground)
        while begun(ground) - before < TRANSACTIONS:
            calls = [
                {"seed": story.dice.randrange(10**9), "count": 25, "point": point}
                for point in POINTS
            ]
            # Each of them dies.
            assert ground.ask("transact", *calls) == [None] * 4
            story.deaths += 4
        story.settle(is_swept=True)

        orders = {
            row[0] for row in ground.database.rows("SELECT number FROM served_order")
        }
        ran = [line["number"] for line in story.lines if line["event"] == "begin"]
        assert sorted(ran) == sorted(orders)
        assert story.statuses == {"SUCCESSFUL": len(orders)}
        assert story.violations() == {}
        # Half of them, or about, were rolled back.
        assert 0.4 < len(orders) / (begun(ground) - before) < 0.6
        assert story.deaths >= 40
        assert "deadlock" not in ground.log


def begun(ground: Ground) -> int:
    """Transactions that were begun so far: a rollback takes no number back."""
    [[number]] = ground.database.rows("SELECT last_value FROM served_order_id_seq")
    return int(number)
