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

from cloudtask import RetryPolicy, environment
from cloudtask.conf import GOOGLE_TRANSPORT, Settings, get_settings
from cloudtask.exceptions import ConfigurationError
from cloudtask.validation import CHECKS

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
    "AUDIENCE": ("https://shop.example",),
    "AUTH": "all",
    "CREDENTIALS": {"private_key": "canary"},
    "EMULATOR_HOST": "127.0.0.1:8123",
    "EMULATOR_HTTP_HOST": "127.0.0.1:8124",
    "ON_COMMIT": False,
    "DEADLINE": timedelta(minutes=5),
    "RETRY": RetryPolicy(max_attempts=3),
    "PRIORITY_QUEUES": {50: "urgent"},
    "QUEUE_ALIASES": {"mails": "e-mails"},
    "QUEUES": {},
    "TRANSPORT": "cloudtask.transports.memory.MemoryTransport",
    "RPC_TIMEOUT": timedelta(seconds=3),
}

DEFAULTS: dict[str, Any] = {
    "PROJECT": None,
    "LOCATION": None,
    "SAE": None,
    "URL": None,
    "QUEUE": None,
    "SECRET": None,
    "SECRET_FALLBACKS": (),
    "AUDIENCE": (),
    "AUTH": "any",
    "CREDENTIALS": None,
    "EMULATOR_HOST": None,
    "EMULATOR_HTTP_HOST": None,
    "ON_COMMIT": True,
    "DEADLINE": None,
    "RETRY": None,
    "PRIORITY_QUEUES": {},
    "QUEUE_ALIASES": {},
    "QUEUES": {},
    "TRANSPORT": GOOGLE,
    "RPC_TIMEOUT": timedelta(seconds=10),
}

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
    monkeypatch.setattr(environment, "metadata", answers.get)
    monkeypatch.setenv("K_SERVICE", "web")
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    return answers


def values(settings: Settings) -> dict[str, Any]:
    return {
        field.name.upper(): getattr(settings, field.name)
        for field in dataclasses.fields(settings)
    }


# The dictionary


def test_every_key_is_a_setting(configure: Configure) -> None:
    assert set(EVERY_KEY) == set(DEFAULTS) == set(CHECKS)
    assert values(configure(**EVERY_KEY)) == EVERY_KEY


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
        f"CLOUDTASK[{key!r}]: is no setting of cloudtask.{hint} "
        f"Known: {', '.join(sorted(EVERY_KEY))}."
    )


def test_a_wrong_value_is_named_by_its_path(configure: Configure) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        configure(QUEUE="e_mails")

    assert str(caught.value) == (
        "CLOUDTASK['QUEUE']: 'e_mails' is no queue name: 1 to 100 letters, digits "
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
    text = repr(configure(**EVERY_KEY))

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
