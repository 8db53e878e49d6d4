"""
The CLOUDTASK setting, checked and frozen.

    CLOUDTASK = {"PROJECT": "shop", "LOCATION": "europe-west1", ...}

`get_settings()` is the one way to read it, and `get_backend_settings()` for
what a task backend's OPTIONS change. Both follow `override_settings`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

from django.conf import settings as django_settings

from cloudtask.conf import environment
from cloudtask.conf.validation import (
    CHECKS,
    PEERS_KEYS,
    PROJECT_WIDE,
    QueueConfig,
    address,
)
from cloudtask.exceptions import (
    ConfigurationError,
    InvalidTask,
    MetadataUnavailable,
)
from cloudtask.wire import naming
from cloudtask.wire.retry import ONE_ATTEMPT, RetryPolicy

_Class = TypeVar("_Class")

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
    results: str = "all"  # What the app cloudtask.results keeps.
    lease: timedelta | None = None  # How long it holds without a sign of life.
    max_errors: int = 20  # Attempts of one task whose errors are kept.
    prune_after: timedelta | None = None  # For successful tasks, by traffic.
    prune_failed_after: timedelta | None = None  # For failed ones.
    imports: tuple[str, ...] = ()  # Modules with tasks beside each tasks.py.

    @classmethod
    def from_mapping(cls, raw: object) -> Settings:
        """
        Check the CLOUDTASK dictionary. A value of None means "not set".

        Raises:
            ConfigurationError: A key is unknown or a value is wrong.
        """
        return cls(**_checked(raw, CHECKS))

    def overridden(self, backend: str, options: object) -> Settings:
        """
        These settings with a task backend's OPTIONS in place of some.

        Args:
            backend: The backend's alias in TASKS.
            options: As CLOUDTASK. A value of None leaves what is set there.

        Raises:
            ConfigurationError: A key is unknown or a value is wrong.
        """
        known = {key: CHECKS[key] for key in CHECKS if key not in PROJECT_WIDE}
        try:
            values = _checked(options, known)
        except ConfigurationError as error:
            raise ConfigurationError(
                error.key, error.message, where=_options_path(backend)
            ) from None
        unset = {
            name: getattr(_UNSET, name)
            for key in values
            for name in _BELONGS_TO.get(key, ())
        }
        return replace(self, backend=backend, base=self, **(unset | values))

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
            or self._detect("PROJECT", environment.project)
            or self._missing("PROJECT")
        )

    def require_location(self) -> str:
        return (
            self.location
            or self._detect("LOCATION", environment.location)
            or self._missing("LOCATION")
        )

    def require_url(self) -> str:
        return self.find_url() or self._missing("URL")

    def find_url(self) -> str | None:
        """URL of the dispatch view: the setting, or what Cloud Run gives."""
        if self.url is not None or self.emulator() is not None:
            return self.url
        origin = self._detect("URL", environment.origin)
        return origin + self._dispatch_path() if origin else None

    def service_account(self) -> str | None:
        """
        Who signs dispatches: the setting, or who this process runs as.

        Raises:
            MetadataUnavailable: Nobody can tell now. That is not None.
        """
        if self.sae is not None or self.emulator() is not None:
            return self.sae
        return self._detect("SAE", environment.service_account)

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
            f"Set it to {_EXAMPLES[key]} in your Django settings.",
        )


_UNSET = Settings()
#: What a key of OPTIONS brings along: CLOUDTASK's value no longer counts. A
#: former secret opens nothing that has its own, and no key of another emulator
#: is trusted.
_BELONGS_TO: Mapping[str, tuple[str, ...]] = {
    "auth": ("auth_params",),
    "emulator_host": ("emulator_http_host",),
    "retry": ("run_once",),
    "secret": ("secret_fallbacks", "sign_keys"),
    "sign_keys": ("sign",),
}

_cached: tuple[object, Settings] | None = None
_overridden: dict[str, tuple[Settings, object, Settings]] = {}


def get_settings() -> Settings:
    """The checked CLOUDTASK setting. An empty one where it is not set."""
    global _cached
    raw = getattr(django_settings, "CLOUDTASK", None)
    # Compared by identity, so every override is seen and nothing is to reset.
    if _cached is None or _cached[0] is not raw:
        _cached = (raw, Settings.from_mapping({} if raw is None else raw))
    return _cached[1]


def get_backend_settings(backend: str, options: object) -> Settings:
    """
    The settings of a task backend: CLOUDTASK's, with its OPTIONS on top.

    Without options they are the same object, so that everything which is made
    of settings, the client above all, is made once.

    Args:
        backend: Its alias in TASKS.
        options: Its OPTIONS.
    """
    base = get_settings()
    if not options:
        return base
    cached = _overridden.get(backend)
    if cached is None or cached[0] is not base or cached[1] is not options:
        cached = (base, options, base.overridden(backend, options))
        _overridden[backend] = cached
    return cached[2]


def load_class(settings: Settings, key: str, base: type[_Class]) -> type[_Class]:
    """
    The class whose dotted path is the value of a setting.

    Raises:
        ConfigurationError: There is none, or it does not derive from `base`.
    """
    from django.utils.module_loading import import_string

    path = getattr(settings, key.lower())
    try:
        value = import_string(path)
    except (ImportError, TypeError, ValueError) as error:
        raise settings.error(key, f"{error}.") from error
    if not (isinstance(value, type) and issubclass(value, base)):
        raise settings.error(key, f"{path!r} is no {base.__name__} class.")
    return value


def _options_path(backend: str) -> str:
    return f"TASKS[{backend!r}]['OPTIONS']"


def _checked(raw: object, known: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        # Not shown: a comma too many makes it a tuple, secrets and all.
        kind = type(raw).__qualname__
        raise ConfigurationError(None, f"must be a dictionary, not a {kind}.")
    values = {}
    for key, value in raw.items():
        check = known.get(key)
        if check is None:
            raise ConfigurationError(key, _unknown(key, known))
        if value is not None:
            values[key.lower()] = check(key, value)
    if values.get("run_once") and "retry" in values:
        raise ConfigurationError(
            "RUN_ONCE", "contradicts RETRY: leave one of them out."
        )
    return values


def _unknown(key: object, known: Iterable[str]) -> str:
    if key in PROJECT_WIDE:
        return f"belongs in CLOUDTASK: {PROJECT_WIDE[str(key)]}"
    hint = f" Did you mean {nearest!r}?" if (nearest := _nearest(key, known)) else ""
    return f"is no setting of cloudtask.{hint} Known: {', '.join(sorted(known))}."


def _nearest(key: object, known: Iterable[str]) -> str | None:
    word = str(key).upper()
    if word in PEERS_KEYS:
        return PEERS_KEYS[word]
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.5)), None)


_EXAMPLES = {
    "PROJECT": "the project's id, as in 'my-project',",
    "LOCATION": "the queues' region, as in 'europe-west1',",
    "URL": "the dispatch view's URL, as in 'https://shop.example/_tasks/',",
    "QUEUE": "the default queue's name, as in 'default', or pass queue=,",
}
