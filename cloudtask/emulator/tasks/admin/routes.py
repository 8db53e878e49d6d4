"""
The test instrument over HTTP: JSON in and out under `/emulator/`.

What `Emulator` offers to Python, these routes offer to everybody else. Times
are RFC 3339 in UTC, refusals have the shape of Google's REST errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from cloudtask.emulator.tasks import names
from cloudtask.emulator.tasks.admin import shapes
from cloudtask.emulator.tasks.faults import Fault
from cloudtask.emulator.tasks.model import queues
from cloudtask.emulator.tasks.model.previews import preview
from cloudtask.emulator.values.errors import invalid_argument
from cloudtask.emulator.values.instants import SECOND
from cloudtask.emulator.web import parameters
from cloudtask.emulator.web.answers import json_response, not_found, too_late

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from cloudtask.emulator.tasks.engine.engine import Engine
    from cloudtask.emulator.tasks.instrument import Instrument
    from cloudtask.emulator.tasks.model.retries import RetryPolicy
    from cloudtask.emulator.tasks.sending.journal import Attempt

#: Tasks or attempts of a page, unless the request says how many.
DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
#: How long advancing and draining may take, in seconds, unless it says.
DEFAULT_TIMEOUT = 10.0
#: By how much the clock can be moved on at once, in microseconds.
MAX_ADVANCE = 3660 * 24 * 3600 * SECOND

# As datetime.timedelta has them, in microseconds.
_UNITS = {
    "weeks": 7 * 24 * 3600 * SECOND,
    "days": 24 * 3600 * SECOND,
    "hours": 3600 * SECOND,
    "minutes": 60 * SECOND,
    "seconds": SECOND,
    "milliseconds": SECOND // 1000,
    "microseconds": 1,
}
_VIEWS = ("FULL", "BASIC")
_LAST_SERIAL = 2**53


def add_routes(app: web.Application, engine: Engine, instrument: Instrument) -> None:
    """Add what steers and shows the emulator."""
    tasks = _Tasks(engine, instrument)
    control = _Control(instrument)
    app.router.add_routes(
        [
            web.get("/emulator/queues", tasks.queues),
            web.get("/emulator/tasks", tasks.page),
            web.get("/emulator/tasks/{name:.+}", tasks.task),
            web.get("/emulator/attempts", tasks.attempts),
            web.get("/emulator/clock", control.clock),
            web.post("/emulator/clock/advance", control.advance),
            web.post("/emulator/drain", control.drain),
            web.post("/emulator/reset", control.reset),
            web.get("/emulator/faults", control.faults),
            web.post("/emulator/faults", control.add_fault),
            web.delete("/emulator/faults", control.clear_faults),
            web.delete(r"/emulator/faults/{id:\d{1,18}}", control.remove_fault),
        ]
    )


class _Tasks:
    """
    What can be seen.

    The engine is read, not called through the API: looking at a queue does
    not use up a fault, nor does it count as a change.
    """

    def __init__(self, engine: Engine, instrument: Instrument) -> None:
        self._engine = engine
        self._instrument = instrument

    async def queues(self, request: web.Request) -> web.Response:
        """All queues with their figures."""
        parameters.read_query(request, ())
        views = self._instrument.queues()
        return json_response({"queues": [shapes.queue_json(view) for view in views]})

    async def page(self, request: web.Request) -> web.Response:
        """A page of a queue's tasks."""
        given = parameters.read_query(
            request, ("queue", "page_size", "page_token", "response_view")
        )
        path = parameters.require(given, "queue")
        size = _page_size(given, "page_size")
        is_full = _is_full(given)
        tasks, token = self._engine.tasks.list(
            path,
            self._instrument.clock.now(),
            size=size,
            token=given.get("page_token", ""),
        )
        policy = self._policy(path)
        shown = [self._describe(task, policy, full=is_full) for task in tasks]
        return json_response({"tasks": shown, "next_page_token": token})

    async def task(self, request: web.Request) -> web.Response:
        """One task with its attempts."""
        is_full = _is_full(parameters.read_query(request, ("response_view",)))
        name = request.match_info["name"]
        task = self._engine.tasks.get(name, self._instrument.clock.now())
        policy = self._policy(names.split_task_name(name)[0])
        shown = self._describe(task, policy, full=is_full)
        attempts = shapes.attempts_json(self._list_attempts({"task": name}))
        return json_response({**shown, "attempts": attempts})

    async def attempts(self, request: web.Request) -> web.Response:
        """Attempts, of one queue or task if the request says so."""
        given = parameters.read_query(request, ("queue", "task", "limit", "after"))
        limit = _page_size(given, "limit")
        attempts = self._list_attempts(given)
        part = attempts[:limit] if "after" in given else attempts[-limit:]
        return json_response({"attempts": shapes.attempts_json(part)})

    def _list_attempts(self, given: Mapping[str, str]) -> list[tuple[int, Attempt]]:
        journal = self._instrument.journal
        after = parameters.read_whole_number(given, "after", 0, most=_LAST_SERIAL)
        task = given.get("task")
        queue = f"{given['queue']}/tasks/" if "queue" in given else ""
        return [
            (serial, attempt)
            for serial, attempt in _number(journal.list_since(after), journal.count)
            if attempt.name.startswith(queue) and task in (None, attempt.name)
        ]

    def _policy(self, path: str) -> RetryPolicy:
        return queues.retry_policy(self._engine.queues.get(path))

    def _describe(
        self, task: Any, policy: RetryPolicy, *, full: bool
    ) -> dict[str, Any]:
        own = policy.override(task.retry_config)
        upcoming = preview(task, own, self._instrument.clock.now())
        return shapes.task_json(task, upcoming, full=full)


class _Control:
    """What can be done."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument

    async def clock(self, request: web.Request) -> web.Response:
        """The emulator's time."""
        parameters.read_query(request, ())
        return json_response(self._describe_clock())

    async def advance(self, request: web.Request) -> web.Response:
        """Move the clock, and send what becomes due on the way."""
        given = await parameters.read_json(request, (*_UNITS, "timeout"))
        duration = _microseconds(given)
        return await self._run(
            lambda timeout: self._instrument.advance(duration, timeout), given
        )

    async def drain(self, request: web.Request) -> web.Response:
        """Send what is due, until nothing is."""
        given = await parameters.read_json(request, ("timeout",))
        return await self._run(self._instrument.drain, given)

    async def reset(self, request: web.Request) -> web.Response:
        """Begin again with the declared queues."""
        await parameters.read_json(request, ())
        await self._instrument.reset()
        return json_response(self._describe_clock())

    async def faults(self, request: web.Request) -> web.Response:
        """The faults that are in force."""
        parameters.read_query(request, ())
        faults = [fault.to_dict() for fault in self._instrument.faults]
        return json_response({"faults": faults})

    async def add_fault(self, request: web.Request) -> web.Response:
        """Put a fault in force, and answer with its number."""
        given = await parameters.read_json(request)
        try:
            fault = Fault.from_dict(given)
        except ValueError as error:
            raise invalid_argument(str(error)) from None
        added = self._instrument.inject(fault)
        return json_response(added.to_dict(), 201)

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Remove all faults."""
        self._instrument.clear_faults()
        return json_response({})

    async def remove_fault(self, request: web.Request) -> web.Response:
        """Remove a fault by its number."""
        number = int(request.match_info["id"])
        if not self._instrument.remove_fault(number):
            raise not_found(f"There is no fault {number}. It may be used up.")
        return json_response({})

    def _describe_clock(self) -> dict[str, Any]:
        clock = self._instrument.clock
        return {
            "now": shapes.instant_json(clock.now()),
            "ahead_seconds": clock.offset / SECOND,
        }

    async def _run(
        self,
        action: Callable[[float], Awaitable[list[Attempt]]],
        given: Mapping[str, Any],
    ) -> web.Response:
        seconds = parameters.read_number(given, "timeout", DEFAULT_TIMEOUT)
        journal = self._instrument.journal
        before = journal.count
        try:
            attempts = await action(seconds)
        except TimeoutError:
            raise too_late(
                f"Not finished within {seconds:g} seconds: {journal.count - before} "
                f"attempts were made, {journal.pending} tasks are pending. Give a "
                "longer `timeout`, or see in /emulator/attempts what takes so long."
            ) from None
        shown = shapes.attempts_json(_number(attempts, journal.count))
        return json_response({**self._describe_clock(), "attempts": shown})


def _number(attempts: list[Attempt], count: int) -> Iterator[tuple[int, Attempt]]:
    """Return the newest attempts, of `count` in all, with their numbers."""
    return enumerate(attempts, count - len(attempts) + 1)


def _page_size(given: Mapping[str, str], name: str) -> int:
    return parameters.read_whole_number(
        given, name, DEFAULT_PAGE_SIZE, least=1, most=MAX_PAGE_SIZE
    )


def _is_full(given: Mapping[str, str]) -> bool:
    view = given.get("response_view", "FULL")
    if view not in _VIEWS:
        raise invalid_argument(
            f"response_view is {view!r}; it must be one of {', '.join(_VIEWS)}."
        )
    return view == "FULL"


def _microseconds(given: Mapping[str, Any]) -> int:
    known = [name for name in _UNITS if name in given]
    if not known:
        raise invalid_argument(
            'Give a duration, such as {"hours": 1}. '
            f"Known units: {', '.join(_UNITS)}."
        )
    duration = sum(
        _UNITS[name] * parameters.read_number(given, name, 0) for name in known
    )
    if duration > MAX_ADVANCE:
        raise invalid_argument(
            f"{', '.join(known)}: the clock moves on by at most "
            f"{MAX_ADVANCE // _UNITS['days']} days at once."
        )
    return int(duration)
