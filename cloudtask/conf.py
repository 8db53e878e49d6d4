"""
The CLOUDTASK setting, checked and frozen.

    CLOUDTASK = {"PROJECT": "shop", "LOCATION": "europe-west1", ...}

`get_settings()` is the one way to read it. It follows `override_settings`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings

from cloudtask import environment, naming
from cloudtask.exceptions import ConfigurationError, InvalidTask
from cloudtask.validation import CHECKS, QueueConfig, address

if TYPE_CHECKING:
    from cloudtask.retry import RetryPolicy

#: Environment variable that names the emulator, where the setting does not.
EMULATOR_VARIABLE = "CLOUD_TASKS_EMULATOR_HOST"
GOOGLE_TRANSPORT = "cloudtask.transports.google.GoogleTransport"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    The values of CLOUDTASK, each checked.

    PROJECT, LOCATION, SAE and URL may be None here although Google Cloud
    knows them; the methods ask it.
    """

    project: str | None = None  # Project id of the queues.
    location: str | None = None  # Region of the queues.
    sae: str | None = None  # Service account e-mail that signs dispatches.
    url: str | None = None  # Full URL of the dispatch view.
    queue: str | None = None  # Queue of tasks that name none.
    secret: str | None = field(default=None, repr=False)
    secret_fallbacks: tuple[str, ...] = field(default=(), repr=False)
    audience: tuple[str, ...] = ()  # Accepted audiences; the first is sent.
    auth: str = "any"  # Which credentials a dispatch needs: "any" or "all".
    credentials: Any = field(default=None, repr=False)
    emulator_host: str | None = None  # gRPC address, `host:port`.
    emulator_http_host: str | None = None  # Where its keys are, `host:port`.
    on_commit: bool = True  # Hold tasks back until the transaction commits.
    deadline: timedelta | None = None  # For tasks that set none.
    retry: RetryPolicy | None = None  # For tasks that set none.
    priority_queues: Mapping[int, str] = field(default_factory=dict)
    queue_aliases: Mapping[str, str] = field(default_factory=dict)
    queues: Mapping[str, QueueConfig] = field(default_factory=dict)
    transport: str = GOOGLE_TRANSPORT  # Dotted path of a Transport class.
    rpc_timeout: timedelta = timedelta(seconds=10)  # For one enqueue.

    @classmethod
    def from_mapping(cls, raw: object) -> Settings:
        """
        Check the CLOUDTASK dictionary. A value of None means "not set".

        Raises:
            ConfigurationError: A key is unknown or a value is wrong.
        """
        if not isinstance(raw, Mapping):
            # Not shown: a comma too many makes it a tuple, secrets and all.
            kind = type(raw).__qualname__
            raise ConfigurationError(None, f"must be a dictionary, not a {kind}.")
        values = {}
        for key, value in raw.items():
            check = CHECKS.get(key)
            if check is None:
                raise ConfigurationError(key, _unknown(key, CHECKS))
            if value is not None:
                values[key.lower()] = check(key, value)
        return cls(**values)

    def require_project(self) -> str:
        return self.project or environment.project() or _missing("PROJECT")

    def require_location(self) -> str:
        return self.location or environment.location() or _missing("LOCATION")

    def require_url(self) -> str:
        return self.find_url() or _missing("URL")

    def find_url(self) -> str | None:
        """URL of the dispatch view: the setting, or what Cloud Run gives."""
        if self.url is not None or self.emulator() is not None:
            return self.url
        origin = environment.origin()
        return origin + _dispatch_path() if origin else None

    def service_account(self) -> str | None:
        """Who signs dispatches: the setting, or who this process runs as."""
        if self.sae is not None or self.emulator() is not None:
            return self.sae
        return environment.service_account()

    def accepted_audiences(self) -> tuple[str, ...]:
        """
        What a token's `aud` may be; never taken from a request.

        Raises:
            ConfigurationError: Neither AUDIENCE nor URL is known.
        """
        return self.audience or (self.require_url(),)

    def secrets(self) -> tuple[str, ...]:
        """Accepted secrets, the one that is sent first."""
        return (*([self.secret] if self.secret else ()), *self.secret_fallbacks)

    def emulator(self) -> str | None:
        """
        The emulator's gRPC address, or None for Google Cloud.

        Raises:
            ConfigurationError: The environment names an emulator in
                production.
        """
        if self.emulator_host is not None:
            return self.emulator_host
        host = os.environ.get(EMULATOR_VARIABLE)
        if not host:
            return None
        if not django_settings.DEBUG:
            raise ConfigurationError(
                "EMULATOR_HOST",
                f"the environment variable {EMULATOR_VARIABLE} is set to {host!r} "
                "while DEBUG is off. Unset it, or set EMULATOR_HOST to say that "
                "this is meant.",
            )
        return address(EMULATOR_VARIABLE, host)

    def emulator_http(self) -> str | None:
        """The emulator's HTTP address: as set, or the gRPC port plus one."""
        host = self.emulator()
        if host is None:
            return None  # Without an emulator nobody trusts its keys.
        if self.emulator_http_host is not None:
            return self.emulator_http_host
        name, _, port = host.rpartition(":")
        return f"{name}:{int(port) + 1}"

    def queue_for(self, queue: str | None, priority: int = 0) -> str:
        """
        The queue's name at Google, for a queue or a priority.

        Raises:
            ConfigurationError: No queue is named and QUEUE is not set, or no
                queue serves the priority.
            InvalidTask: The name is no queue's.
        """
        if priority:
            queue = self._queue_of(priority)
        name = queue or self.queue or _missing("QUEUE")
        name = self.queue_aliases.get(name, name)
        if not naming.is_queue_name(name):
            raise InvalidTask(
                f"{name!r} is neither an alias of CLOUDTASK['QUEUE_ALIASES'] nor a "
                "queue name: 1 to 100 letters, digits or hyphens."
            )
        return name

    def _queue_of(self, priority: int) -> str:
        if not self.priority_queues:
            raise ConfigurationError(
                "PRIORITY_QUEUES",
                f"a task has priority {priority} and no queue serves priorities. "
                "Map them: {50: 'urgent', 0: 'default', -50: 'bulk'}.",
            )
        bands = sorted(self.priority_queues)
        band = max((b for b in bands if b <= priority), default=bands[0])
        return self.priority_queues[band]


_cached: tuple[object, Settings] | None = None


def get_settings() -> Settings:
    """The checked CLOUDTASK setting. An empty one where it is not set."""
    global _cached
    raw = getattr(django_settings, "CLOUDTASK", None)
    # Compared by identity, so every override is seen and nothing is to reset.
    if _cached is None or _cached[0] is not raw:
        _cached = (raw, Settings.from_mapping({} if raw is None else raw))
    return _cached[1]


def _dispatch_path() -> str:
    from django.urls import NoReverseMatch, reverse

    try:
        return reverse("cloudtask:dispatch")
    except NoReverseMatch:
        raise ConfigurationError(
            "URL",
            "the dispatch view is not routed. Add path('_tasks/', "
            "include('cloudtask.urls')) to your URLconf, or set the full URL.",
        ) from None


def _missing(key: str) -> Any:
    raise ConfigurationError(
        key,
        "is not set, and this place does not tell it. "
        f"Set it to {_EXAMPLES[key]} in your Django settings.",
    )


def _unknown(key: object, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(str(key).upper(), known, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"is no setting of cloudtask.{hint} Known: {', '.join(sorted(known))}."


_EXAMPLES = {
    "PROJECT": "the project's id, as in 'my-project',",
    "LOCATION": "the queues' region, as in 'europe-west1',",
    "URL": "the dispatch view's URL, as in 'https://shop.example/_tasks/',",
    "QUEUE": "the default queue's name, as in 'default', or pass queue=,",
}
