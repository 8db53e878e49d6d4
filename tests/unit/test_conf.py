from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from cloudtask import RetryPolicy
from cloudtask.conf import (
    GOOGLE_TRANSPORT,
    Settings,
    environment,
    get_backend_settings,
    get_settings,
    load_class,
)
from cloudtask.conf.table import get_all_rows
from cloudtask.exceptions import ConfigurationError, InvalidTask
from cloudtask.results.settings import ResultsSettings, get_results_settings
from cloudtask.schedules.settings import SchedulesSettings

GOOGLE = "cloudtask.transports.google.GoogleTransport"
EMAIL = "tasks@shop.iam.gserviceaccount.com"
URL = "https://shop.example/_tasks/"

#: Every key of the design, with a value that is none of the defaults.
EVERY_KEY: dict[str, Any] = {
    "PROJECT": "shop",
    "LOCATION": "europe-west1",
    "SAE": EMAIL,
    "URL": URL,
    "QUEUE": "default",
    "SECRET": "canary",
    "SECRET_FALLBACKS": ("canary-1", "canary-2"),
    "SIGN": False,
    "SIGN_KEYS": ("canary-3", "canary-4"),
    "AUDIENCE": ("https://shop.example",),
    "AUTH": "all",
    "AUTH_PARAMS": {"header": "canary"},
    "ACCEPTS_TASKS_OF": ("reports",),
    "CREDENTIALS": {"private_key": "canary"},
    "EMULATOR_HOST": "127.0.0.1:8123",
    "EMULATOR_HTTP_HOST": "127.0.0.1:8124",
    "ON_COMMIT": False,
    "DEADLINE": timedelta(minutes=5),
    "RETRY": RetryPolicy(max_attempts=3),
    "RUN_ONCE": True,
    "PRIORITY_QUEUES": {50: "urgent"},
    "QUEUE_ALIASES": {"mails": "e-mails"},
    "QUEUES": {},
    "TRANSPORT": "cloudtask.transports.memory.MemoryTransport",
    "RPC_TIMEOUT": timedelta(seconds=3),
    "RESULTS": "errors",
    "LEASE": timedelta(minutes=1),
    "MAX_ERRORS": 5,
    "PRUNE_AFTER": timedelta(days=30),
    "PRUNE_FAILED_AFTER": timedelta(days=90),
    "SCHEDULER": "scheduler",
    "SCHEDULER_LOCATION": "us-central1",
    "SCHEDULER_PREFIX": "shop",
    "IMPORTS": ("shop.jobs",),
}

DEFAULTS: dict[str, Any] = {
    "PROJECT": None,
    "LOCATION": None,
    "SAE": None,
    "URL": None,
    "QUEUE": None,
    "SECRET": None,
    "SECRET_FALLBACKS": (),
    "SIGN": True,
    "SIGN_KEYS": (),
    "AUDIENCE": (),
    "AUTH": "any",
    "AUTH_PARAMS": {},
    "ACCEPTS_TASKS_OF": (),
    "CREDENTIALS": None,
    "EMULATOR_HOST": None,
    "EMULATOR_HTTP_HOST": None,
    "ON_COMMIT": True,
    "DEADLINE": None,
    "RETRY": None,
    "RUN_ONCE": False,
    "PRIORITY_QUEUES": {},
    "QUEUE_ALIASES": {},
    "QUEUES": {},
    "TRANSPORT": GOOGLE,
    "RPC_TIMEOUT": timedelta(seconds=10),
    "RESULTS": "all",
    "LEASE": None,
    "MAX_ERRORS": 20,
    "PRUNE_AFTER": None,
    "PRUNE_FAILED_AFTER": None,
    "SCHEDULER": "tasks",
    "SCHEDULER_LOCATION": None,
    "SCHEDULER_PREFIX": "cloudtask",
    "IMPORTS": (),
}

#: All that may be set at once.
TOGETHER = {key: EVERY_KEY[key] for key in EVERY_KEY if key != "RUN_ONCE"}

Configure = Callable[..., Settings]


@pytest.fixture
def configure() -> Configure:
    """The settings of a CLOUDTASK dictionary."""
    return lambda **raw: Settings.from_mapping(raw)


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the metadata server would say, as Cloud Run's does."""
    answers = {
        "project/project-id": "detected",
        "project/numeric-project-id": "123",
        "instance/region": "projects/123/regions/us-central1",
        "instance/service-accounts/default/email": "detected@x.example",
    }
    monkeypatch.setattr(environment, "ask_metadata", answers.get)
    monkeypatch.setenv("K_SERVICE", "web")
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    return answers


def values(settings: Settings) -> dict[str, Any]:
    return {
        field.name.upper(): getattr(each, field.name)
        for each in (
            settings,
            settings.get_app_settings(ResultsSettings),
            settings.get_app_settings(SchedulesSettings),
        )
        for field in dataclasses.fields(each)
        if field.name not in ("backend", "base", "app_values")
    }


# The dictionary


def test_every_key_is_a_setting(configure: Configure) -> None:
    assert set(EVERY_KEY) == set(DEFAULTS) == set(get_all_rows())
    assert values(configure(**TOGETHER)) == EVERY_KEY | {"RUN_ONCE": False}
    assert configure(**TOGETHER).backend is None


def test_without_a_key_its_default_holds(configure: Configure) -> None:
    assert values(configure()) == DEFAULTS


def test_none_means_not_set(configure: Configure) -> None:
    assert values(configure(**dict.fromkeys(EVERY_KEY))) == DEFAULTS


@pytest.mark.parametrize("key", sorted(EVERY_KEY))
def test_one_key_sets_nothing_else(configure: Configure, key: str) -> None:
    expected = DEFAULTS | {key: EVERY_KEY[key]}

    assert values(configure(**{key: EVERY_KEY[key]})) == expected


def test_settings_cannot_be_changed(configure: Configure) -> None:
    settings = configure()

    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.queue = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("SECERT", " Did you mean 'SECRET'?"),
        ("secret", " Did you mean 'SECRET'?"),
        ("SECRET_FALLBACK", " Did you mean 'SECRET_FALLBACKS'?"),
        ("PROJECT_ID", " Did you mean 'PROJECT'?"),
        ("DISPATCH_URL", ""),
        # As peers call it, in whatever case.
        ("oidc_service_account", " Did you mean 'SAE'?"),
        ("Enqueue_On_Commit", " Did you mean 'ON_COMMIT'?"),
        ("TIMEOUT", " Did you mean 'RPC_TIMEOUT'?"),
        ("xyzzy", ""),
        (42, ""),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_named(
    key: object, hint: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_mapping({key: "canary"})

    assert str(caught.value) == (
        f"CLOUDTASK[{key!r}]: is not a setting of cloudtask.{hint} "
        f"Known: {', '.join(sorted(EVERY_KEY))}."
    )


def test_a_wrong_value_is_named_by_its_path(configure: Configure) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        configure(QUEUE="e_mails")

    assert str(caught.value) == (
        "CLOUDTASK['QUEUE']: 'e_mails' is not a queue name: 1 to 100 letters, digits "
        "or hyphens."
    )


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        # A comma too many after the closing brace.
        (({"SECRET": "canary"},), "tuple"),
        ([("SECRET", "canary")], "list"),
        ("canary", "str"),
        (False, "bool"),
    ],
)
def test_a_setting_that_is_no_dictionary_is_refused_unseen(
    raw: object, kind: str
) -> None:
    with override_settings(CLOUDTASK=raw), pytest.raises(ConfigurationError) as caught:
        get_settings()

    assert str(caught.value) == f"CLOUDTASK: must be a dictionary, not a {kind}."
    assert caught.value.key is None


def test_no_secret_is_in_the_representation(configure: Configure) -> None:
    text = repr(configure(**TOGETHER))

    assert "canary" not in text
    assert EMAIL in text


def test_the_secret_that_is_sent_comes_first(configure: Configure) -> None:
    assert configure(SECRET="new", SECRET_FALLBACKS=["old", "older"]).secrets() == (
        "new",
        "old",
        "older",
    )
    assert configure(SECRET_FALLBACKS=["old"]).secrets() == ("old",)
    assert configure().secrets() == ()


# Where the settings come from


def test_an_override_is_seen_at_once_and_gone_afterwards() -> None:
    before = get_settings()

    with override_settings(CLOUDTASK={"QUEUE": "other"}):
        assert get_settings().queue == "other"
        with override_settings(CLOUDTASK={"QUEUE": "inner"}):
            assert get_settings().queue == "inner"
        assert get_settings().queue == "other"

    assert get_settings() == before
    assert before.queue == "default"


def test_the_settings_are_one_object_while_nothing_changes() -> None:
    # What other caches go by.
    assert get_settings() is get_settings()


@pytest.mark.parametrize("raw", [None, {}])
def test_without_the_setting_the_defaults_hold(raw: dict[str, Any] | None) -> None:
    with override_settings(CLOUDTASK=raw):
        assert values(get_settings()) == DEFAULTS


def test_a_project_may_leave_the_setting_out() -> None:
    with override_settings():
        del django_settings.CLOUDTASK

        assert values(get_settings()) == DEFAULTS


def test_a_wrong_setting_is_refused_each_time_and_then_replaced() -> None:
    with override_settings(CLOUDTASK={"QUEUE": 1}):
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=r"^CLOUDTASK\['QUEUE'\]"):
                get_settings()

    assert get_settings().queue == "default"


# What Google Cloud knows


def test_settings_go_before_what_is_detected(
    configure: Configure, metadata: dict[str, str]
) -> None:
    settings = configure(
        PROJECT="shop", LOCATION="europe-west1", SAE=EMAIL, URL=URL, AUDIENCE="aud"
    )

    assert settings.require_project() == "shop"
    assert settings.require_location() == "europe-west1"
    assert settings.service_account() == EMAIL
    assert settings.require_url() == settings.find_url() == URL
    assert settings.accepted_audiences() == ("aud",)


def test_what_is_not_set_is_detected(
    configure: Configure, metadata: dict[str, str]
) -> None:
    settings = configure()

    assert settings.require_project() == "detected"
    assert settings.require_location() == "us-central1"
    assert settings.service_account() == "detected@x.example"
    assert settings.require_url() == "https://web-123.us-central1.run.app/_tasks/"
    assert settings.accepted_audiences() == (settings.require_url(),)


def test_a_detected_url_needs_the_route(
    configure: Configure, metadata: dict[str, str]
) -> None:
    urlconf = ModuleType("urlconf")
    urlconf.urlpatterns = []  # type: ignore[attr-defined]

    with (
        override_settings(ROOT_URLCONF=urlconf),
        pytest.raises(ConfigurationError) as caught,
    ):
        configure().require_url()

    assert str(caught.value) == (
        "CLOUDTASK['URL']: the dispatch view is not routed. Add path('_tasks/', "
        "include('cloudtask.urls')) to your URLconf, or set the full URL."
    )


@pytest.mark.parametrize(
    ("ask", "key", "example"),
    [
        (Settings.require_project, "PROJECT", "the project's id, as in 'my-project',"),
        (
            Settings.require_location,
            "LOCATION",
            "the queues' region, as in 'europe-west1',",
        ),
        (
            Settings.require_url,
            "URL",
            "the dispatch view's URL, as in 'https://shop.example/_tasks/',",
        ),
        (
            Settings.accepted_audiences,
            "URL",
            "the dispatch view's URL, as in 'https://shop.example/_tasks/',",
        ),
        (
            lambda settings: settings.queue_for(None),
            "QUEUE",
            "the default queue's name, as in 'default', or pass queue=,",
        ),
    ],
)
def test_what_nobody_knows_is_asked_for(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[Settings], object],
    key: str,
    example: str,
) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

    with pytest.raises(ConfigurationError) as caught:
        ask(configure())

    assert str(caught.value) == (
        f"CLOUDTASK[{key!r}]: is not set, and this place does not tell it. "
        f"Set it to {example} in your Django settings."
    )


def test_a_service_account_and_a_url_may_stay_unknown(configure: Configure) -> None:
    assert configure().service_account() is None
    assert configure().find_url() is None


# The emulator


def test_the_setting_names_the_emulator_in_production(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", "other:1")

    assert configure(EMULATOR_HOST="127.0.0.1:8123").emulator() == "127.0.0.1:8123"


@override_settings(DEBUG=True)
def test_the_environment_names_the_emulator_while_debug_is_on(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", "localhost:8123")

    assert configure().emulator() == "localhost:8123"
    assert configure().emulator_http() == "localhost:8124"


def test_the_environment_names_no_emulator_in_production(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", "localhost:8123")

    for ask in (Settings.emulator, Settings.emulator_http, Settings.service_account):
        with pytest.raises(ConfigurationError) as caught:
            ask(configure())
        assert str(caught.value) == (
            "CLOUDTASK['EMULATOR_HOST']: the environment variable "
            "CLOUD_TASKS_EMULATOR_HOST is set to 'localhost:8123' while DEBUG is "
            "off. Unset it, or set EMULATOR_HOST to say that this is meant."
        )


@override_settings(DEBUG=True)
def test_a_wrong_address_in_the_environment_is_refused(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", "http://localhost:8123")

    with pytest.raises(ConfigurationError, match=r"must be host:port"):
        configure().emulator()


@pytest.mark.parametrize("debug", [False, True])
def test_an_empty_variable_names_no_emulator(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, debug: bool
) -> None:
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", "")

    with override_settings(DEBUG=debug):
        assert configure().emulator() is None
        assert configure().emulator_http() is None


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        ({"EMULATOR_HOST": "[::1]:8123"}, "[::1]:8124"),
        (
            {"EMULATOR_HOST": "a:1", "EMULATOR_HTTP_HOST": "b:9"},
            "b:9",
        ),
        # Left behind in the settings of a project that is in production: its
        # keys must not be trusted.
        ({"EMULATOR_HTTP_HOST": "b:9"}, None),
        ({}, None),
    ],
)
def test_the_emulators_keys_are_at_its_http_address(
    configure: Configure, raw: dict[str, str], host: str | None
) -> None:
    assert configure(**raw).emulator_http() == host


def test_with_an_emulator_nobody_detects_a_place(
    configure: Configure, metadata: dict[str, str]
) -> None:
    settings = configure(EMULATOR_HOST="127.0.0.1:8123")

    assert settings.service_account() is None
    assert settings.find_url() is None


def test_with_an_emulator_the_settings_hold(configure: Configure) -> None:
    settings = configure(EMULATOR_HOST="127.0.0.1:8123", SAE=EMAIL, URL=URL)

    assert (settings.service_account(), settings.find_url()) == (EMAIL, URL)


# Queues


@pytest.mark.parametrize(
    ("raw", "queue", "name"),
    [
        ({"QUEUE": "default"}, None, "default"),
        ({"QUEUE": "default"}, "e-mails", "e-mails"),
        ({"QUEUE_ALIASES": {"mails": "e-mails"}}, "mails", "e-mails"),
        ({"QUEUE_ALIASES": {"mails": "e-mails"}}, "other", "other"),
        # The default queue may be an alias, too.
        ({"QUEUE": "main", "QUEUE_ALIASES": {"main": "shop-main"}}, None, "shop-main"),
        # One step, no further.
        ({"QUEUE_ALIASES": {"a": "b", "b": "c"}}, "a", "b"),
    ],
)
def test_a_queue_has_its_name_at_google(
    configure: Configure, raw: dict[str, Any], queue: str | None, name: str
) -> None:
    assert configure(**raw).queue_for(queue) == name


@pytest.mark.parametrize(
    ("priority", "name"),
    [
        (100, "urgent"),
        (50, "urgent"),
        (49, "normal"),
        (1, "normal"),
        (0, "default"),  # No priority: the default queue.
        (-1, "shop-bulk"),
        (-50, "shop-bulk"),
        (-100, "shop-bulk"),  # Below all bands: the lowest.
    ],
)
def test_a_priority_goes_to_the_band_at_or_below_it(
    configure: Configure, priority: int, name: str
) -> None:
    settings = configure(
        QUEUE="default",
        PRIORITY_QUEUES={-50: "bulk", 50: "urgent", 0: "normal"},
        QUEUE_ALIASES={"bulk": "shop-bulk"},
    )

    assert settings.queue_for(None, priority) == name


def test_a_priority_needs_queues_that_serve_it(configure: Configure) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure(QUEUE="default").queue_for(None, 5)

    assert str(caught.value) == (
        "CLOUDTASK['PRIORITY_QUEUES']: a task has priority 5 and no queue serves "
        "priorities. Map them: {50: 'urgent', 0: 'default', -50: 'bulk'}."
    )


def test_the_default_transport_is_googles() -> None:
    assert GOOGLE_TRANSPORT == GOOGLE


# A task backend's OPTIONS

#: What OPTIONS take, with a value for each.
OPTIONS = {
    key: EVERY_KEY[key] for key, row in get_all_rows().items() if not row.project_wide
}
#: What other packages call them, and what we do.
PEERS = {peer: key for key, row in get_all_rows().items() for peer in row.peers}
THRICE, TWICE = RetryPolicy(max_attempts=3), RetryPolicy(max_attempts=2)
ONCE = RetryPolicy(max_attempts=1)


def test_options_stand_in_for_what_is_set(configure: Configure) -> None:
    base = configure(QUEUE="default", PROJECT="shop", SAE=EMAIL, SECRET="canary")

    own = base.override("mails", {"PROJECT": "mails", "SECRET": "other"})

    assert own.backend == "mails"
    assert values(own) == values(base) | {"PROJECT": "mails", "SECRET": "other"}
    assert (base.backend, base.project, base.secret) == (None, "shop", "canary")


@pytest.mark.parametrize("key", sorted(OPTIONS))
def test_each_option_sets_nothing_else(configure: Configure, key: str) -> None:
    own = configure(QUEUE="default").override("mails", {key: OPTIONS[key]})

    assert values(own) == DEFAULTS | {"QUEUE": "default", key: OPTIONS[key]}


@pytest.mark.parametrize("key", sorted(set(OPTIONS) - {"RUN_ONCE"}))
def test_an_option_of_none_leaves_what_is_set(configure: Configure, key: str) -> None:
    own = configure(**TOGETHER).override("mails", {key: None})

    assert values(own) == values(configure(**TOGETHER))
    assert own.backend == "mails"


def test_an_option_of_none_leaves_run_once(configure: Configure) -> None:
    own = configure(RUN_ONCE=True).override("mails", {"RUN_ONCE": None})

    assert own.run_once is True


def test_an_option_may_take_back_what_is_set(configure: Configure) -> None:
    base = configure(RUN_ONCE=True, SECRET_FALLBACKS=["old"], QUEUE_ALIASES={"a": "b"})

    own = base.override(
        "mails", {"RUN_ONCE": False, "SECRET_FALLBACKS": [], "QUEUE_ALIASES": {}}
    )

    assert (own.run_once, own.secret_fallbacks, own.queue_aliases) == (False, (), {})


@pytest.mark.parametrize(
    ("options", "reset"),
    [
        # A former secret, or a key of others, opens nothing that has its own.
        ({"SECRET": "own"}, {"SECRET_FALLBACKS", "SIGN_KEYS"}),
        ({"SECRET": "own", "SIGN_KEYS": ["own"]}, {"SECRET_FALLBACKS", "SIGN"}),
        ({"SECRET": "own", "SECRET_FALLBACKS": ["own, too"]}, {"SIGN_KEYS"}),
        ({"SECRET": None}, set()),
        ({"SECRET_FALLBACKS": ["own"]}, set()),
        ({"SIGN_KEYS": ["own"]}, {"SIGN"}),
        ({"SIGN_KEYS": ["own"], "SIGN": False}, set()),
        ({"AUTH": "any"}, {"AUTH_PARAMS"}),
        ({"AUTH": "shop.auth.Own", "AUTH_PARAMS": {"own": 1}}, set()),
        ({"AUTH_PARAMS": {"own": 1}}, set()),
        # The keys of another emulator.
        ({"EMULATOR_HOST": "own:8123"}, {"EMULATOR_HTTP_HOST"}),
        ({"EMULATOR_HTTP_HOST": "own:8124"}, set()),
        ({"SAE": "own@shop.example", "URL": "https://own.example/"}, set()),
    ],
)
def test_an_option_takes_along_what_belongs_to_it(
    configure: Configure, options: dict[str, Any], reset: set[str]
) -> None:
    base = configure(**TOGETHER)
    own = values(base.override("vault", options))

    assert own == values(base) | {key: DEFAULTS[key] for key in reset} | {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in options.items()
        if value is not None
    }


UNKNOWN = "is not a setting of cloudtask.{} Known: " + ", ".join(sorted(OPTIONS)) + "."


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"PROJECT": 42}, "['PROJECT']: must be a non-empty string, not 42."),
        (
            {"SECRET": b"canary"},
            "['SECRET']: must be a non-empty string without spaces.",
        ),
        (
            {"RETRY": {"max_attempts": 0}},
            "['RETRY']: RetryPolicy(max_attempts=0): must be at least 1, or -1.",
        ),
        # Belongs to the project.
        (
            {"QUEUE": "mails"},
            "['QUEUE']: belongs in CLOUDTASK: a Django task always names its queue. "
            "Map it with QUEUE_ALIASES.",
        ),
        (
            {"IMPORTS": ["shop.jobs"]},
            "['IMPORTS']: belongs in CLOUDTASK: tasks are found once for all backends.",
        ),
        # Whatever its value.
        (
            {"IMPORTS": None},
            "['IMPORTS']: belongs in CLOUDTASK: tasks are found once for all backends.",
        ),
        # Unknown.
        (
            {"SECERT": "canary"},
            f"['SECERT']: {UNKNOWN}".format(" Did you mean 'SECRET'?"),
        ),
        ({"queue": "mails"}, f"['queue']: {UNKNOWN}".format(" Did you mean 'QUEUES'?")),
        ({"xyzzy": None}, f"['xyzzy']: {UNKNOWN}".format("")),
        ({42: "canary"}, f"[42]: {UNKNOWN}".format("")),
        # Not to be told which one is meant.
        (
            {"RUN_ONCE": True, "RETRY": THRICE},
            "['RUN_ONCE']: contradicts RETRY: leave one of them out.",
        ),
        # No dictionary.
        ([("SECRET", "canary")], ": must be a dictionary, not a list."),
        ("canary", ": must be a dictionary, not a str."),
    ],
)
def test_what_is_wrong_with_options_is_named_by_its_path(
    configure: Configure, options: Any, text: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure().override("mails", options)

    assert str(caught.value) == f"TASKS['mails']['OPTIONS']{text}"
    assert "canary" not in str(caught.value)
    # What was caught to name the place is not shown again.
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("word", [str.upper, str.lower, str.title])
@pytest.mark.parametrize(("key", "ours"), sorted(PEERS.items()))
def test_a_peers_option_is_answered_with_ours(
    configure: Configure, key: str, ours: str, word: Callable[[str], str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure().override("mails", {word(key): "x"})

    hint = f" Did you mean {ours!r}?"
    assert str(caught.value) == (
        f"TASKS['mails']['OPTIONS'][{word(key)!r}]: {UNKNOWN.format(hint)}"
    )


def test_a_key_of_the_project_is_known_there(configure: Configure) -> None:
    own = configure(QUEUE="default", IMPORTS=["shop.jobs"]).override("mails", {})

    assert (own.queue, own.imports) == ("default", ("shop.jobs",))


# Whether a failed attempt is repeated


@pytest.mark.parametrize(
    ("raw", "options", "policy"),
    [
        ({}, {}, None),
        ({"RETRY": THRICE}, {}, THRICE),
        ({"RUN_ONCE": True}, {}, ONCE),
        ({"RUN_ONCE": False, "RETRY": THRICE}, {}, THRICE),
        # A backend's own word, whichever of the two it is, goes before.
        ({"RUN_ONCE": True}, {"RETRY": THRICE}, THRICE),
        ({"RUN_ONCE": True}, {"RETRY": THRICE, "RUN_ONCE": False}, THRICE),
        ({"RUN_ONCE": True}, {"RETRY": THRICE, "RUN_ONCE": None}, THRICE),
        ({"RUN_ONCE": True}, {"RETRY": None}, ONCE),
        ({"RUN_ONCE": True}, {"RUN_ONCE": False}, None),
        ({"RETRY": TWICE}, {"RETRY": THRICE}, THRICE),
        ({"RETRY": THRICE}, {"RUN_ONCE": True}, ONCE),
        ({"RETRY": THRICE}, {"RUN_ONCE": True, "RETRY": None}, ONCE),
        ({"RETRY": THRICE}, {"RUN_ONCE": False}, THRICE),
    ],
)
def test_one_policy_is_that_of_tasks_without_their_own(
    configure: Configure,
    raw: dict[str, Any],
    options: dict[str, Any],
    policy: RetryPolicy | None,
) -> None:
    own = configure(**raw).override("mails", options)

    assert own.default_retry == policy
    if not options:
        assert configure(**raw).default_retry == policy


def test_run_once_beside_a_policy_is_a_contradiction(configure: Configure) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configure(RUN_ONCE=True, RETRY={"max_attempts": 3})

    assert str(caught.value) == (
        "CLOUDTASK['RUN_ONCE']: contradicts RETRY: leave one of them out."
    )


# How one speaks of a setting


def test_a_setting_has_a_path(configure: Configure) -> None:
    base = configure()
    own = base.override("mails", {})

    assert base.path_of("QUEUE") == "CLOUDTASK['QUEUE']"
    assert own.path_of("URL") == "TASKS['mails']['OPTIONS']['URL']"
    assert str(base.error("URL", "is wrong.")) == "CLOUDTASK['URL']: is wrong."
    error = own.error("URL", "is wrong.")
    assert str(error) == "TASKS['mails']['OPTIONS']['URL']: is wrong."
    assert (error.key, error.message) == ("URL", "is wrong.")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            Settings.require_project,
            "TASKS['mails']['OPTIONS']['PROJECT']: is not set, and this place does "
            "not tell it. Set it to the project's id, as in 'my-project', in your "
            "Django settings.",
        ),
        (
            lambda settings: settings.queue_for("mails", 5),
            "TASKS['mails']['OPTIONS']['PRIORITY_QUEUES']: a task has priority 5 and "
            "no queue serves priorities. Map them: {50: 'urgent', 0: 'default', "
            "-50: 'bulk'}.",
        ),
    ],
)
def test_what_a_backend_lacks_is_named_by_its_path(
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[Settings], object],
    message: str,
) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)

    with pytest.raises(ConfigurationError) as caught:
        ask(configure().override("mails", {}))

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("backend", "where"),
    [(None, "CLOUDTASK"), ("mails", "TASKS['mails']['OPTIONS']")],
)
def test_a_queue_without_a_name_is_told_where_to_map_it(
    backend: str | None, where: str
) -> None:
    with pytest.raises(InvalidTask) as caught:
        Settings(backend=backend).queue_for("e_mails")

    assert str(caught.value) == (
        f"'e_mails' is neither an alias of {where}['QUEUE_ALIASES'] nor a queue name: "
        "1 to 100 letters, digits or hyphens."
    )


# The settings of a backend


@pytest.mark.parametrize("options", [{}, None])
def test_without_options_the_settings_are_the_same_object(options: object) -> None:
    assert get_backend_settings("mails", options) is get_settings()


def test_a_backends_settings_are_one_object_while_nothing_changes() -> None:
    options, others = {"PROJECT": "mails"}, {"PROJECT": "others"}
    first = get_backend_settings("mails", options)

    assert (first.backend, first.project) == ("mails", "mails")
    assert first.queue == get_settings().queue == "default"
    assert get_backend_settings("others", others).backend == "others"
    assert get_backend_settings("mails", options) is first
    # By identity: equal ones may be from another TASKS.
    again = get_backend_settings("mails", dict(options))
    assert again is not first
    assert again == first


def test_a_backends_settings_follow_an_override() -> None:
    options = {"PROJECT": "mails"}
    before = get_backend_settings("mails", options)

    with override_settings(CLOUDTASK={"QUEUE": "other", "PROJECT": "shop"}):
        inside = get_backend_settings("mails", options)
        assert (inside.queue, inside.project) == ("other", "mails")
        assert get_backend_settings("mails", options) is inside
        assert get_backend_settings("mails", {"URL": URL}).project == "shop"

    after = get_backend_settings("mails", options)
    assert after is not before
    assert after == before


def test_wrong_options_are_refused_each_time_and_then_replaced() -> None:
    for _ in range(2):
        with pytest.raises(
            ConfigurationError, match=r"^TASKS\['mails'\]\['OPTIONS'\]\['URL'\]: "
        ):
            get_backend_settings("mails", {"URL": 1})

    assert get_backend_settings("mails", {"URL": URL}).url == URL


def test_a_wrong_setting_is_told_before_an_option() -> None:
    with (
        override_settings(CLOUDTASK={"QUEUE": 1}),
        pytest.raises(ConfigurationError, match=r"^CLOUDTASK\['QUEUE'\]: "),
    ):
        get_backend_settings("mails", {"URL": 1})


# What is made of settings


def test_an_apps_settings_are_made_once_while_nothing_changes() -> None:
    own = {"default": {"RESULTS": "errors"}}
    ours = get_results_settings(get_settings())
    theirs = get_results_settings(get_backend_settings("default", own["default"]))

    assert get_results_settings(get_settings()) is ours
    assert (ours.results, theirs.results) == ("none", "errors")
    with override_settings(CLOUDTASK={"RESULTS": "all"}):
        assert get_results_settings(get_settings()).results == "all"


# Classes that settings name


class Base:
    """What a setting's class has to derive from."""


class Derived(Base):
    """What a setting may name."""


an_object = Derived()


@pytest.mark.parametrize("name", ["Base", "Derived"])
def test_a_setting_names_a_class(name: str) -> None:
    settings = Settings(auth=f"{__name__}.{name}")

    assert load_class(settings, "AUTH", Base) is globals()[name]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("shop.auth.Mine", "No module named 'shop'."),
        (
            f"{__name__}.Mine",
            f'Module "{__name__}" does not define a "Mine" attribute/class.',
        ),
        ("Mine", "Mine doesn't look like a module path."),
        (
            f"{__name__}.an_object",
            f"'{__name__}.an_object' is not a subclass of Base.",
        ),
        (
            f"{__name__}.Settings",
            f"'{__name__}.Settings' is not a subclass of Base.",
        ),
        ("os.getpid", "'os.getpid' is not a subclass of Base."),
    ],
)
@pytest.mark.parametrize(
    ("backend", "where"),
    [(None, "CLOUDTASK"), ("mails", "TASKS['mails']['OPTIONS']")],
)
def test_what_a_setting_names_has_to_be_such_a_class(
    path: str, message: str, backend: str | None, where: str
) -> None:
    settings = Settings(backend=backend, transport=path)

    with pytest.raises(ConfigurationError) as caught:
        load_class(settings, "TRANSPORT", Base)

    assert str(caught.value) == f"{where}['TRANSPORT']: {message}"
