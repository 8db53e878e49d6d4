"""Settings of the test project. Each test overrides what it needs."""

import os

SECRET_KEY = "only for the tests of this package"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.urls"
USE_TZ = True
INSTALLED_APPS = ["cloudtask", "tests"]
MIDDLEWARE: list[str] = []

CLOUDTASK = {
    "PROJECT": "project",
    "LOCATION": "europe-west1",
    "URL": "https://shop.example/_tasks/",
    "QUEUE": "default",
    "SECRET": "a secret for tests of 32 bytes..",
    "TRANSPORT": "cloudtask.transports.memory.MemoryTransport",
}

if os.environ.get("CLOUDTASK_TEST_DATABASE") == "postgresql":
    _DATABASE = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "postgres"),
        "HOST": os.environ.get("PGHOST", "127.0.0.1"),
        "USER": os.environ.get("PGUSER", "postgres"),
    }
    DATABASES = {
        "default": {**_DATABASE, "TEST": {"NAME": "test_cloudtask"}},
        "other": {**_DATABASE, "TEST": {"NAME": "test_cloudtask_other"}},
    }
else:
    DATABASES = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    }
