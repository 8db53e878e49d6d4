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
        "PORT": os.environ["RELIABILITY_PORT"],
        "USER": os.environ["RELIABILITY_USER"],
        "CONN_MAX_AGE": None,
        # As docs/reliability.md has them, but shorter.
        "OPTIONS": {
            "connect_timeout": 2,
            "tcp_user_timeout": 4000,
            "keepalives_idle": 2,
            "keepalives_interval": 1,
            "keepalives_count": 2,
        },
    }
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}

#: Where it is noted what happens.
RUNS = os.environ["RELIABILITY_RUNS"]
#: Folder of the points where a process is to die or to wait.
POINTS = os.environ["RELIABILITY_POINTS"]
#: Seconds that a lease holds.
LEASE = float(os.environ["RELIABILITY_LEASE"])
#: Bytes that a server's process may have; 0 is no limit.
MEMORY = int(os.environ.get("RELIABILITY_MEMORY", "0"))

CLOUDTASK = {
    "PROJECT": "demo",
    "LOCATION": "local",
    "QUEUE": "default",
    "URL": os.environ["RELIABILITY_URL"],
    "SECRET": "a secret for tests of 32 bytes..",
    "EMULATOR_HOST": os.environ["RELIABILITY_EMULATOR"],
    "RESULTS": "all",
}
