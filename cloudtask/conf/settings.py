"""
The settings as one checked and frozen value.

What is not set and Google Cloud knows is asked for by the methods. What an
optional app has in CLOUDTASK is here, too; the app's own class gives it names
and defaults.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings as django_settings

from cloudtask.conf import environment
from cloudtask.conf.parsing import parse
from cloudtask.conf.table import CORE_ROWS
from cloudtask.conf.values import check_address
from cloudtask.exceptions import (
    ConfigurationError,
    InvalidTask,
    MetadataUnavailable,
)
from cloudtask.wire import naming
from cloudtask.wire.retry import ONE_ATTEMPT, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cloudtask.conf.queues import QueueConfig

_AppSettings = TypeVar("_AppSettings")

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

    backend: str | None = None  # Alias of the task backend whose they are.
    # CLOUDTASK's, if these are a backend's.
    base: Settings | None = field(default=None, repr=False, compare=False)
    project: str | None = None  # Project id of the queues.
    location: str | None = None  # Region of the queues.
    sae: str | None = None  # Service account e-mail that signs dispatches.
    url: str | None = None  # Full URL of the dispatch view.
    queue: str | None = None  # Queue of tasks that name none.
    secret: str | None = field(default=None, repr=False)
    secret_fallbacks: tuple[str, ...] = field(default=(), repr=False)
    sign: bool = True  # Whether each task carries a signature, and may need it.
    sign_keys: tuple[str, ...] = field(default=(), repr=False)  # The first signs.
    audience: tuple[str, ...] = ()  # Accepted audiences; the first is sent.
    auth: str = "any"  # "any" or "all" credentials, or an Authenticator's path.
    auth_params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    accepts_tasks_of: tuple[str, ...] = ()  # Aliases of other backends.
    credentials: Any = field(default=None, repr=False)
    emulator_host: str | None = None  # gRPC address, `host:port`.
    emulator_http_host: str | None = None  # Where its keys are, `host:port`.
    on_commit: bool = True  # Hold tasks back until the transaction commits.
    deadline: timedelta | None = None  # For tasks that set none.
    retry: RetryPolicy | None = None  # For tasks that set none.
    run_once: bool = False  # In place of RETRY: one attempt, and no more.
    priority_queues: Mapping[int, str] = field(default_factory=dict)
    queue_aliases: Mapping[str, str] = field(default_factory=dict)
    queues: Mapping[str, QueueConfig] = field(default_factory=dict)
    transport: str = GOOGLE_TRANSPORT  # Dotted path of a Transport class.
    rpc_timeout: timedelta = timedelta(seconds=10)  # For one enqueue.
    imports: tuple[str, ...] = ()  # Modules with tasks beside each tasks.py.
    # Of the keys that optional apps have; get_app_settings() gives them names.
    app_values: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_mapping(cls, raw: object) -> Settings:
        """
        Check the CLOUDTASK dictionary. A value of None means "not set".

        Raises:
            ConfigurationError: A key is unknown or a value is wrong.
        """
        return cls()._set(parse(raw))

    def override(self, backend: str, options: object) -> Settings:
        """
        These settings with a task backend's OPTIONS in place of some.

        Args:
            backend: The backend's alias in TASKS.
            options: As CLOUDTASK. A value of None leaves what is set there.

        Raises:
            ConfigurationError: A key is unknown or a value is wrong.
        """
        try:
            values = parse(options, is_options=True)
        except ConfigurationError as error:
            raise ConfigurationError(
                error.key, error.message, where=_options_path(backend)
            ) from None
        owned = [CORE_ROWS[key].owns for key in values if key in CORE_ROWS]
        unset = {
            key.lower(): getattr(_UNSET, key.lower()) for keys in owned for key in keys
        }
        own = replace(self, backend=backend, base=self, **unset)
        return own._set(values)

    def _set(self, values: Mapping[str, Any]) -> Settings:
        """These settings with checked values by their keys."""
        core = {key.lower(): values[key] for key in values if key in CORE_ROWS}
        rest = {key.lower(): values[key] for key in values if key not in CORE_ROWS}
        return replace(self, **core, app_values={**self.app_values, **rest})

    def get_app_settings(self, kind: type[_AppSettings]) -> _AppSettings:
        """
        The settings of an optional app.

        Args:
            kind: The app's dataclass: a field for each key, with its default.
        """
        names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
        return kind(**{n: v for n, v in self.app_values.items() if n in names})

    def path_of(self, key: str) -> str:
        """How to speak of a setting, as in `CLOUDTASK['QUEUE']`."""
        return f"{self._where}[{key!r}]"

    def error(self, key: str, message: str) -> ConfigurationError:
        """The error for one of these settings."""
        return ConfigurationError(key, message, where=self._where)

    @property
    def _where(self) -> str:
        return _options_path(self.backend) if self.backend else "CLOUDTASK"

    @property
    def has_own_auth(self) -> bool:
        """Whether AUTH names a class of the project."""
        return self.auth not in ("any", "all")

    @property
    def default_retry(self) -> RetryPolicy | None:
        """The policy of tasks that have none of their own."""
        return ONE_ATTEMPT if self.run_once else self.retry

    def require_project(self) -> str:
        return (
            self.project
            or self._detect("PROJECT", environment.find_project)
            or self._missing("PROJECT")
        )

    def require_location(self) -> str:
        return (
            self.location
            or self._detect("LOCATION", environment.find_location)
            or self._missing("LOCATION")
        )

    def require_url(self) -> str:
        return self.find_url() or self._missing("URL")

    def find_url(self) -> str | None:
        """URL of the dispatch view: the setting, or what Cloud Run gives."""
        if self.url is not None or self.emulator() is not None:
            return self.url
        origin = self._detect("URL", environment.find_origin)
        return origin + self._dispatch_path() if origin else None

    def service_account(self) -> str | None:
        """
        Who signs dispatches: the setting, or who this process runs as.

        Raises:
            MetadataUnavailable: Nobody can tell now. That is not None.
        """
        if self.sae is not None or self.emulator() is not None:
            return self.sae
        return self._detect("SAE", environment.find_service_account)

    def accepted_audiences(self) -> tuple[str, ...]:
        """
        What a token's `aud` may be; never taken from a request.

        Raises:
            ConfigurationError: Neither AUDIENCE nor URL is known.
            MetadataUnavailable: Nobody can tell now.
        """
        return self.audience or (self.require_url(),)

    def secrets(self) -> tuple[str, ...]:
        """Accepted secrets, the one that is sent first."""
        return (*([self.secret] if self.secret else ()), *self.secret_fallbacks)

    def accepted_credentials(self) -> tuple[object, ...]:
        """
        All that decides who is let in.

        Settings that are equal in this let in the same dispatches.

        Raises:
            MetadataUnavailable: Nobody can tell now.
        """
        email = self.service_account()
        return (
            self.auth,
            self.auth_params,
            frozenset(self.secrets()),
            frozenset(self.sign_keys) if self.sign else None,
            email,
            # Without a service account no token is accepted.
            frozenset(self.audience or (self.find_url(),)) if email else None,
            self.emulator_http(),
        )

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
            raise self.error(
                "EMULATOR_HOST",
                f"the environment variable {EMULATOR_VARIABLE} is set to {host!r} "
                "while DEBUG is off. Unset it, or set EMULATOR_HOST to say that "
                "this is meant.",
            )
        return check_address(EMULATOR_VARIABLE, host)

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
            InvalidTask: It is not a queue name.
        """
        if priority:
            queue = self._queue_of(priority)
        name = queue or self.queue or self._missing("QUEUE")
        name = self.queue_aliases.get(name, name)
        if not naming.is_queue_name(name):
            raise InvalidTask(
                f"{name!r} is neither an alias of {self.path_of('QUEUE_ALIASES')} nor "
                "a queue name: 1 to 100 letters, digits or hyphens."
            )
        return name

    def _queue_of(self, priority: int) -> str:
        if not self.priority_queues:
            raise self.error(
                "PRIORITY_QUEUES",
                f"a task has priority {priority} and no queue serves priorities. "
                "Map them: {50: 'urgent', 0: 'default', -50: 'bulk'}.",
            )
        bands = sorted(self.priority_queues)
        band = max((b for b in bands if b <= priority), default=bands[0])
        return self.priority_queues[band]

    def _dispatch_path(self) -> str:
        from django.urls import NoReverseMatch, reverse

        try:
            # A namespace that is called like the backend is for it alone.
            return reverse("cloudtask:dispatch", current_app=self.backend)
        except NoReverseMatch:
            raise self.error(
                "URL",
                "the dispatch view is not routed. Add path('_tasks/', "
                "include('cloudtask.urls')) to your URLconf, or set the full URL.",
            ) from None

    def _detect(self, key: str, detect: Callable[[], str | None]) -> str | None:
        try:
            return detect()
        except MetadataUnavailable as error:
            raise MetadataUnavailable(
                f"{self.path_of(key)} is not set, and {error} It is asked again "
                f"later. Set {key}, and it need not be asked. Where this is not Google "
                "Cloud, set NO_GCE_CHECK=true in the environment."
            ) from None

    def _missing(self, key: str) -> Any:
        raise self.error(
            key,
            "is not set, and this place does not tell it. "
            f"Set it to {CORE_ROWS[key].example} in your Django settings.",
        )


def _options_path(backend: str) -> str:
    return f"TASKS[{backend!r}]['OPTIONS']"


_UNSET = Settings()
