"""Settings of the test project. Each test overrides what it needs."""

import os
from typing import Any

SECRET_KEY = "only for the tests of this package"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
USE_TZ = True
INSTALLED_APPS = [
    "cloudtask",
    "cloudtask.results",
    "cloudtask.schedules",
    "tests",
    # For the admin of results, whose tests bring its middleware and templates.
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
]
SILENCED_SYSTEM_CHECKS = ["admin.E403", "admin.E408", "admin.E409", "admin.E410"]
if os.environ.get("CLOUDTASK_TEST_APPS") == "core":
    contrib = ("auth", "contenttypes", "sessions")
    INSTALLED_APPS = ["cloudtask", "tests", *(f"django.contrib.{a}" for a in contrib)]
MIDDLEWARE: list[str] = []

CLOUDTASK = {
    "PROJECT": "project",
    "LOCATION": "europe-west1",
    "URL": "https://shop.example/_tasks/",
    "QUEUE": "default",
    "SECRET": "a secret for tests of 32 bytes..",
    "TRANSPORT": "cloudtask.transports.memory.MemoryTransport",
    # Tests of cloudtask.results ask for it.
    "RESULTS": "none",
}

_SERVERS: dict[str, dict[str, Any]] = {
    "postgresql": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "postgres"),
        "HOST": os.environ.get("PGHOST", "127.0.0.1"),
        "PORT": os.environ.get("PGPORT", "5432"),
        "USER": os.environ.get("PGUSER", "postgres"),
        # What a crash of the server would lose is not wanted after a test.
        "OPTIONS": {"options": "-c synchronous_commit=off"},
    },
    "mariadb": {
        "ENGINE": "django.db.backends.mysql",
        "NAME": os.environ.get("MYSQL_DATABASE", "test"),
        "HOST": os.environ.get("MYSQL_HOST", "127.0.0.1"),
        "PORT": os.environ.get("MYSQL_TCP_PORT", "3306"),
        "USER": os.environ.get("MYSQL_USER", "root"),
        "OPTIONS": {"charset": "utf8mb4"},
    },
}
_server = os.environ.get("CLOUDTASK_TEST_DATABASE")
#: Name of the databases that tests make: two runs on one server need two.
_name = os.environ.get("CLOUDTASK_TEST_NAME", "test_cloudtask")
if _server == "mariadb":
    import pymysql  # type: ignore[import-untyped, unused-ignore]

    pymysql.install_as_MySQLdb()
if _server:
    DATABASES = {
        "default": {**_SERVERS[_server], "TEST": {"NAME": _name}},
        "other": {**_SERVERS[_server], "TEST": {"NAME": f"{_name}_other"}},
    }
else:
    DATABASES = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    }
