from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.test import Client, override_settings

from cloudtask.transports.memory import MemoryTransport
from tests.results_admin.rows import make_person

SETTINGS = {
    "ROOT_URLCONF": "tests.results_admin.urls",
    "STATIC_URL": "/static/",
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    # The tests need no slow one.
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
}

LogIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def _project() -> Iterator[None]:
    with override_settings(**SETTINGS):
        yield


@pytest.fixture(autouse=True)
def _queue(queue: MemoryTransport) -> None:
    """Nothing is sent further than into this process."""


@pytest.fixture
def log_in(db: None) -> LogIn:
    def log_in(*verbs: str) -> Client:
        client = Client()
        client.force_login(make_person(*verbs))
        return client

    return log_in


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> None:
    """These are about what is kept."""
