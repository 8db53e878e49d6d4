"""The main job, and whether all of it was seen to happen."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils.timezone import localdate

from cloudtask.exceptions import TaskAlreadyExists
from cloudtask.results import get_result
from cloudtask.schedules.models import ScheduledTask, Slot
from shop import tasks
from shop.models import Book, Event, Order
from shop.orders import place_order

if TYPE_CHECKING:
    from cloudtask import EnqueuedTask
    from cloudtask.emulator import Attempt, Emulator
    from demonstration.screen import Screen
    from demonstration.services import Server
    from demonstration.watch import Watch

CUSTOMER = "ada@example.com"
QUANTITY = 2
#: An order that is never placed.
NO_ORDER = 999_999
#: What runs where anybody may call: a task as Cloud Tasks would post it.
FORGERY = {
    "v": 1,
    "id": "0" * 32,
    "task": "shop.tasks.confirm_order",
    "kind": "cloudtask",
    "args": [NO_ORDER],
    "kwargs": {},
    "enqueued_at": "2026-01-31T12:00:00+00:00",
}
#: How long a schedule is watched for.
REVIEW_AFTER = timedelta(seconds=2)
#: For how long the schedules are watched, and real seconds for it.
NIGHTS, NIGHT_SECONDS = 8, 30
#: How long the payment provider asks to wait.
GATEWAY_PAUSE = timedelta(seconds=1)
#: How each task of an order is enqueued.
VERBS = {
    "confirm_order": "delay()",
    "take_stock": "push()",
    "charge_order": "delay(), at most 5 attempts",
    "pack_order": "delay(), an async def function",
    "ask_for_review": f"schedule(after={REVIEW_AFTER.seconds} s)",
}


@dataclass(slots=True)
class Finding:
    """One thing that has to be seen."""

    what: str
    task: str
    statuses: list[int | None] = field(default_factory=list)
    effect: str = ""
    missing: list[str] = field(default_factory=list)

    def expect(self, is_so: object, otherwise: str) -> None:
        if not is_so:
            self.missing.append(otherwise)

    def expect_answers(self, attempts: list[Attempt], *statuses: int) -> None:
        """Whether there were these answers, to attempts 1, 2 and so on."""
        self.statuses = [attempt.status for attempt in attempts]
        numbers = [attempt.number for attempt in attempts]
        self.expect(
            self.statuses == list(statuses)
            and numbers == list(range(1, len(statuses) + 1)),
            f"answers {list(statuses)}, there were {self.statuses}",
        )


class MainJob:
    """
    Six scenes from the shop.

    Attributes:
        findings: What was seen, and what was missing.
    """

    def __init__(
        self, emulator: Emulator, server: Server, watch: Watch, screen: Screen
    ) -> None:
        self._emulator = emulator
        self._server = server
        self._watch = watch
        self._screen = screen
        self.findings: list[Finding] = []

    def run(self) -> None:
        """
        Raises:
            TimeoutError: The deadline passed. The rest did not run.
        """
        scenes = (
            (f"A customer orders {QUANTITY} x Dune", self._order),
            ("The nightly stock report is enqueued twice", self._report),
            ("The same report runs in place", self._in_place),
            ("A task for an order that does not exist", self._reject),
            ("A stranger posts to the dispatch view", self._stranger),
            (f"The clock is moved by {NIGHTS} nights", self._nights),
        )
        for number, (title, scene) in enumerate(scenes, 1):
            self._screen.line(f"[{number}/{len(scenes)}] {title}")
            try:
                scene()
            except TimeoutError:
                raise
            except Exception as error:
                finding = self._find("no error", f"scene {number}")
                finding.missing.append(f"{type(error).__name__}: {error}")
            self._screen.line()

    def _order(self) -> None:
        book = Book.objects.get(title="Dune")
        waiting = self._emulator.pending
        with transaction.atomic():
            placed = place_order(book, QUANTITY, CUSTOMER, review_after=REVIEW_AFTER)
            unsent = all(sent.name is None for sent in placed.tasks.values())
            held = unsent and self._emulator.pending == waiting
        self._tell("held", f"{len(placed.tasks)} tasks until the order was committed")
        for task in placed.tasks:
            self._tell("sent", f"{task:<14}  {VERBS[task]}")
        self._wait_for(placed.tasks)
        self._wait_for_payment(placed.tasks["charge_order"])
        order = Order.objects.select_related("book").get(pk=placed.order.pk)
        finding = self._find("on commit", "all five", "nothing sent before")
        finding.expect(held, "tasks held until the commit")
        self._check_confirmation(order, placed.tasks["confirm_order"])
        self._check_stock(order, book.stock, placed.tasks["take_stock"])
        self._check_review(order, placed.tasks["ask_for_review"])
        self._check_packing(order, placed.tasks["pack_order"])
        self._check_payment(order, placed.tasks["charge_order"])

    def _check_confirmation(self, order: Order, sent: EnqueuedTask) -> None:
        finding = self._find("delay", "confirm_order", "e-mail and database")
        finding.expect_answers(self._watch.of(sent.name), 200)
        finding.expect(order.confirmed_at, "the order marked as confirmed")
        subject = f"Subject: Order {order.pk}\n"
        finding.expect(_mails(subject, CUSTOMER) == 1, "one confirmation e-mail")

    def _check_stock(self, order: Order, before: int, sent: EnqueuedTask) -> None:
        finding = self._find("push", "take_stock", "database")
        finding.expect_answers(self._watch.of(sent.name), 200)
        finding.expect(
            order.book.stock == before - QUANTITY,
            f"{before - QUANTITY} copies left, there are {order.book.stock}",
        )

    def _check_review(self, order: Order, sent: EnqueuedTask) -> None:
        finding = self._find("schedule", "ask_for_review", "e-mail, not too early")
        attempts = self._watch.of(sent.name)
        finding.expect_answers(attempts, 200)
        due = sent.schedule_time
        on_time = due and all(attempt.dispatch_time >= due for attempt in attempts)
        finding.expect(on_time, "no dispatch before its time")
        finding.expect(_mails("Subject: How was Dune?\n", CUSTOMER) == 1, "one e-mail")

    def _check_packing(self, order: Order, sent: EnqueuedTask) -> None:
        finding = self._find("async def", "pack_order", "database")
        finding.expect_answers(self._watch.of(sent.name), 200)
        finding.expect(order.packed_at, "the order marked as packed")

    def _wait_for_payment(self, sent: EnqueuedTask) -> None:
        """Wait for the task that Retry(after=) has sent anew, at its time."""
        self._watch.until_ended({str(sent.result().name): "charge_order"})

    def _check_payment(self, order: Order, sent: EnqueuedTask) -> None:
        finding = self._find("retry", "charge_order", "database, third time lucky")
        attempts = self._watch.of(sent.name) + self._watch.of(sent.result().name)
        finding.statuses = [attempt.status for attempt in attempts]
        finding.expect(finding.statuses == [500, 200, 200], "answers 500, 200, 200")
        pauses = [
            after.dispatch_time - before.dispatch_time
            for before, after in pairwise(attempts)
        ]
        finding.expect(pauses[1:] and pauses[1] >= GATEWAY_PAUSE, "a second's pause")
        finding.expect(order.paid_at, "the order marked as paid")

    def _report(self) -> None:
        # Last night's: today's is left for the page.
        day = localdate() - timedelta(days=1)
        sent = tasks.stock_report(day).delay()
        self._tell("sent", f"{'stock_report':<14}  delay(), named {_last(sent.name)}")
        self._wait_for({"stock_report": sent})
        finding = self._find("named", "stock_report", "e-mail")
        finding.expect_answers(self._watch.of(sent.name), 200)
        finding.expect(_mails(f"Subject: Stock on {day}\n") == 1, "one e-mail")
        finding = self._find("duplicate", "stock_report", "TaskAlreadyExists")
        waiting = self._emulator.pending
        try:
            tasks.stock_report(day).delay()
        except TaskAlreadyExists as error:
            self._tell("refused", f"{'stock_report':<14}  {type(error).__name__}")
        else:
            finding.missing.append("TaskAlreadyExists for the second one")
        finding.expect(self._emulator.pending == waiting, "nothing sent")

    def _in_place(self) -> None:
        day = localdate() - timedelta(days=2)
        before = self._emulator.pending + len(self._emulator.attempts)
        copies = tasks.stock_report(day).execute()
        self._tell("ran", f"{'stock_report':<14}  execute() returned {copies}")
        finding = self._find("execute", "stock_report", "its value, e-mail")
        stock = Book.objects.aggregate(copies=Sum("stock"))["copies"]
        finding.expect(copies == stock, f"{stock} as its value")
        sent = self._emulator.pending + len(self._emulator.attempts)
        finding.expect(sent == before, "nothing sent")
        finding.expect(_mails(f"Subject: Stock on {day}\n") == 1, "one e-mail")

    def _reject(self) -> None:
        before = _mails()
        sent = tasks.confirm_order(NO_ORDER).delay()
        self._tell("sent", f"{'confirm_order':<14}  delay(), for order {NO_ORDER}")
        self._wait_for({"confirm_order": sent})
        finding = self._find("reject", "confirm_order", "one attempt, no e-mail")
        finding.expect_answers(self._watch.of(sent.name), 200)
        events = Event.objects.filter(task_name=_last(sent.name))
        rejected = events.filter(text__startswith="rejected").count() == 1
        finding.expect(rejected, "the task's note that it rejects")
        finding.expect(_mails() == before, "no e-mail")

    def _stranger(self) -> None:
        secret = str(settings.CLOUDTASK["SECRET"])
        before = Event.objects.count()
        nothing = self._server.post("/_tasks/", FORGERY)
        half = self._server.post("/_tasks/", FORGERY, {"X-Task-Secret": secret})
        self._tell("->", f"HTTP {nothing} without credentials")
        self._tell("->", f"HTTP {half} with the secret and no token (AUTH is 'all')")
        finding = self._find("closed door", "confirm_order", "nothing ran")
        finding.statuses = [nothing, half]
        finding.expect(finding.statuses == [403, 403], "HTTP 403, twice")
        finding.expect(Event.objects.count() == before, "no task that runs")
        finding = self._find("credentials", "all", "secret and token came with each")
        whole = [a for a in self._watch.attempts if _has_both(a, secret)]
        finding.expect(
            whole == self._watch.attempts, "both credentials on every dispatch"
        )

    def _nights(self) -> None:
        since = self._emulator.now
        self._emulator.advance(days=NIGHTS, timeout=NIGHT_SECONDS)
        self._watch.catch_up()
        for task in ("nightly_report", "clean_up"):
            finding = self._find("schedule", task, "each slot, once")
            row = ScheduledTask.objects.get(path=f"shop.tasks.{task}")
            due = list(row.plan.iterate_slots(since, self._emulator.now))
            slots = row.slots.filter(state=Slot.State.ENQUEUED)
            runs = [get_result(slot.task_id) for slot in slots]
            finding.statuses = [
                attempt.status for run in runs for attempt in self._watch.of(run.name)
            ]
            finding.expect(due, "a slot in that time")
            finding.expect(
                sorted(slot.instant for slot in slots) == due,
                f"{len(due)} slots, there are {len(slots)}",
            )
            finding.expect(
                all(run.status == "SUCCESSFUL" for run in runs), "a success of each"
            )

    def _wait_for(self, sent: dict[str, EnqueuedTask]) -> None:
        self._watch.until_ended({str(task.name): key for key, task in sent.items()})

    def _find(self, what: str, task: str, effect: str = "") -> Finding:
        finding = Finding(what, task, effect=effect)
        self.findings.append(finding)
        return finding

    def _tell(self, word: str, text: str) -> None:
        self._screen.line(f"  {word:<7}  {text}")


def _mails(*parts: str) -> int:
    """How many e-mails were written that hold all of these texts."""
    files = [path.read_text() for path in settings.MAIL_DIR.glob("*")]
    # Two of the same second may share a file; a line of hyphens ends each.
    mails = [mail for text in files for mail in text.split("-" * 79) if mail.strip()]
    return sum(all(part in mail for part in parts) for mail in mails)


def _last(name: str | None) -> str:
    return (name or "").rpartition("/")[2]


def _has_both(attempt: Attempt, secret: str) -> bool:
    headers = {name.lower(): value for name, value in attempt.headers.items()}
    token = headers.get("authorization", "")
    return headers.get("x-task-secret") == secret and token.startswith("Bearer ey")
