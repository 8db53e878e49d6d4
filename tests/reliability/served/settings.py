"""Its settings. The harness says where everything is."""

import os
from datetime import timedelta

from tests.settings import _SERVERS

SECRET_KEY = "only for the tests of this package"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.reliability.served.urls"
USE_TZ = True
INSTALLED_APPS = [
    "cloudtask",
    "cloudtask.results",
    "cloudtask.schedules",
    "tests.reliability.served.apps.ServedConfig",
]
_OPTIONS = {
    # As docs/reliability.md has them, but shorter.
    "postgresql": {
        "connect_timeout": 2,
        "tcp_user_timeout": 4000,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 2,
    },
    "mariadb": {
        "charset": "utf8mb4",
        "connect_timeout": 2,
        "read_timeout": 10,
        "write_timeout": 10,
    },
}
_server = os.environ["RELIABILITY_SERVER"]
if _server == "mariadb":
    import pymysql

    pymysql.install_as_MySQLdb()
DATABASES = {
    "default": {
        "ENGINE": _SERVERS[_server]["ENGINE"],
        "NAME": os.environ["RELIABILITY_DATABASE"],
        "HOST": os.environ["RELIABILITY_HOST"],
        "PORT": os.environ["RELIABILITY_PORT"],
        "USER": os.environ["RELIABILITY_USER"],
        # Under ASGI each request has a thread, whose connection nobody finds
        # again.
        "CONN_MAX_AGE": 0 if os.environ.get("RELIABILITY_IS_ASGI") else None,
        "OPTIONS": _OPTIONS[_server],
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
#: File that says by how many seconds the clock was moved.
CLOCK = os.environ["RELIABILITY_CLOCK"]
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
    "RPC_TIMEOUT": timedelta(seconds=float(os.environ["RELIABILITY_RPC_TIMEOUT"])),
    "RESULTS": "all",
}
