import asyncio
from typing import cast

from cloudtask.emulator.delivery import HttpDelivery
from cloudtask.emulator.dispatcher import Dispatcher
from cloudtask.emulator.dispatches import Answer, Dispatch
from cloudtask.emulator.journal import Journal
from cloudtask.emulator.tokens import TokenIssuer
from tests.emulator.samples import NOW, QUEUE, new_engine, task


class Delivery:
    """Answers every dispatch at once."""

    def __init__(self) -> None:
        self.sent: list[Dispatch] = []

    async def send(self, dispatch: Dispatch, headers: dict[str, str]) -> Answer:
        self.sent.append(dispatch)
        return Answer(200)


def test_a_burst_of_changes_is_looked_at_once_and_nothing_is_sent_after_the_stop() -> (
    None
):
    delivery, journal, engine = Delivery(), Journal(), new_engine()
    finished = asyncio.Event()

    async def main() -> None:
        dispatcher = Dispatcher(
            engine,
            cast(HttpDelivery, delivery),
            TokenIssuer(),
            journal,
            lambda: NOW,
            lambda attempt: finished.set(),
        )
        for task_id in ("one", "two"):
            engine.create_task(QUEUE, task(task_id), NOW)
            dispatcher.poke()
        await asyncio.wait_for(finished.wait(), 10)
        await dispatcher.stop(10)
        engine.create_task(QUEUE, task("three"), NOW)
        dispatcher.poke()
        turned = asyncio.Event()
        asyncio.get_running_loop().call_soon(turned.set)
        await turned.wait()

    asyncio.run(main())

    assert [sent.task for sent in delivery.sent] == [
        f"{QUEUE}/tasks/one",
        f"{QUEUE}/tasks/two",
    ]
    assert journal.pending == 1
