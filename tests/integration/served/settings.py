"""Its settings. The test says where everything is."""

import os

SECRET_KEY = "only for the tests of this package"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.integration.served.urls"
USE_TZ = True
INSTALLED_APPS = ["cloudtask", "tests.integration.served"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

#: What tasks write to: a line for each run.
RUNS = os.environ["SERVED_RUNS"]

CLOUDTASK = {
    "PROJECT": "demo",
    "LOCATION": "local",
    "QUEUE": "default",
    "URL": os.environ["SERVED_URL"],
    "SECRET": "a secret for tests of 32 bytes..",
    "SAE": "tasks@demo.iam.gserviceaccount.com",
    "AUTH": "all",
    "EMULATOR_HOST": os.environ["SERVED_EMULATOR"],
    "EMULATOR_HTTP_HOST": os.environ["SERVED_EMULATOR_HTTP"],
}
