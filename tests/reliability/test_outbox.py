"""What a transaction enqueues is delivered if it commits, and only then."""

import pytest

from tests.reliability.conftest import Scene
from tests.reliability.harness import Ground

pytestmark = pytest.mark.reliability

POINTS = ("before the commit", "before the call", "after the call", "anywhere")


def test_what_was_committed_is_delivered_and_what_was_not_never_is(
    scene: Scene, ground: Ground
) -> None:
    with scene() as story, ground.sweepers(4):
        calls = [
            {"seed": story.dice.randrange(10**9), "count": 25, "point": point}
            for point in POINTS * 10
        ]
        for some in range(0, len(calls), 4):
            # Each of them dies.
            answers = ground.ask("transact", *calls[some : some + 4])
            assert answers == [None] * 4
            story.deaths += 4
        story.settle(is_swept=True)

        orders = {
            row[0] for row in ground.database.rows("SELECT number FROM served_order")
        }
        ran = [line["number"] for line in story.lines if line["event"] == "begin"]
        assert sorted(ran) == sorted(orders)
        assert story.statuses == {"SUCCESSFUL": len(orders)}
        assert story.violations() == {}
        # About half of 40 times 24 were rolled back.
        assert 200 < len(orders) < 800
