"""Its settings. The harness says where everything is."""

import os

SECRET_KEY = "only for the tests of this package"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.reliability.served.urls"
USE_TZ = True
INSTALLED_APPS = [
    "cloudtask",
    "cloudtask.results",
    "tests.reliability.served.apps.ServedConfig",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["RELIABILITY_DATABASE"],
        "HOST": os.environ["RELIABILITY_HOST"],
        "USER": os.environ["RELIABILITY_USER"],
        "CONN_MAX_AGE": None,
    }
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

#: What tasks write to: a line for each run, and one for its end.
RUNS = os.environ["RELIABILITY_RUNS"]

CLOUDTASK = {
    "PROJECT": "demo",
    "LOCATION": "local",
    "QUEUE": "default",
    "URL": os.environ["RELIABILITY_URL"],
    "SECRET": "a secret for tests of 32 bytes..",
    "EMULATOR_HOST": os.environ["RELIABILITY_EMULATOR"],
    "RESULTS": "all",
}
