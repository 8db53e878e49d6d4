"""How an emulator is set up, as values and as arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, TypedDict

from cloudtask.emulator.identity.tokens import DEFAULT_ISSUER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cloudtask.emulator.scheduler.engine.options import BusySlots
    from cloudtask.emulator.scheduler.model.retries import Growth
    from cloudtask.emulator.scheduler.sending.attempts import JobAttempt
    from cloudtask.emulator.tasks.sending.journal import Attempt

#: Which passes of a time that a clock shows twice are slots.
DoubledTimes = Literal["first", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorOptions:
    """How an emulator is set up."""

    store: Path | None = None  # The file that keeps everything; None keeps nothing.
    host: str = "127.0.0.1"  # Where both servers listen.
    port: int = 0  # gRPC; 0 takes a free one.
    http_port: int = 0  # REST, keys and the page; 0 takes a free one.
    issuer: str = DEFAULT_ISSUER  # The `iss` of its OIDC tokens.
    tombstone_ttl: timedelta = timedelta(hours=24)  # Used task names stay blocked.
    queue_tombstone_ttl: timedelta = timedelta(days=7)  # Used queue names, too.
    create_queues: bool = False  # Make a queue when a task names one.
    concurrency: int | None = None  # Of queues that it makes without a limit.
    doubled_times: DoubledTimes = "first"  # Of jobs: the slots of such a time.
    retry_growth: Growth = "recorded"  # Of jobs: delays after their doublings.
    busy_slots: BusySlots = "skip"  # Of jobs: slots while one is retried.
    rephase_intervals: bool = False  # Of jobs: a forced run moves intervals.
    app_engine_url: str | None = None  # Where App Engine is.
    allowed_hosts: tuple[str, ...] = ()  # Names for the HTTP server, see web.
    allow_public_targets: bool = False  # Dispatch to the internet, too.
    require_https: bool = False  # A token needs an https URL, on local hosts, too.
    stop_grace: timedelta = timedelta(seconds=2)  # For requests under way.
    on_attempt: Callable[[Attempt], object] | None = None
    on_job_attempt: Callable[[JobAttempt], object] | None = None


class OptionArguments(TypedDict, total=False):
    """The fields of EmulatorOptions as keyword arguments."""

    store: Path | None
    host: str
    port: int
    http_port: int
    issuer: str
    tombstone_ttl: timedelta
    queue_tombstone_ttl: timedelta
    create_queues: bool
    concurrency: int | None
    doubled_times: DoubledTimes
    retry_growth: Growth
    busy_slots: BusySlots
    rephase_intervals: bool
    app_engine_url: str | None
    allowed_hosts: tuple[str, ...]
    allow_public_targets: bool
    require_https: bool
    stop_grace: timedelta
    on_attempt: Callable[[Attempt], object] | None
    on_job_attempt: Callable[[JobAttempt], object] | None


class FaultArguments(TypedDict, total=False):
    """The options of a fault. See Fault."""

    queue: str | None
    task: str | None
    method: str | None
    times: int | None
    skip: int
    probability: float
    delay: timedelta


class Duration(TypedDict, total=False):
    """The arguments of a timedelta."""

    days: float
    hours: float
    minutes: float
    seconds: float
    milliseconds: float
    microseconds: float
    weeks: float
