"""
Settings of the noticeboard.

The environment variable TASKS_BACKEND chooses what runs its tasks, and that
is all that differs between the backends.
"""

import os
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import django

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = "for this example only"  # noqa: S105
DEBUG = False
ALLOWED_HOSTS = ["localhost"]
ROOT_URLCONF = "noticeboard.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TASKS = {
    "default": {
        "BACKEND": os.environ.get(
            "TASKS_BACKEND", "cloudtask.backends.CloudTasksBackend"
        ),
        "QUEUES": ["default", "mail"],
    }
}

INSTALLED_APPS = ["cloudtask", "notices"]
# Django has tasks from version 6.0 on; before, the backport is an app.
if find_spec("django.tasks") is None:
    INSTALLED_APPS += ["django_tasks"]
if find_spec("django_tasks_db") is not None:
    INSTALLED_APPS += ["django_tasks_db"]

CLOUDTASK = {
    "PROJECT": "noticeboard",
    "LOCATION": "europe-west1",
    "URL": "https://noticeboard.example/_tasks/",
    "SAE": "tasks@noticeboard.iam.gserviceaccount.com",
    # Cloud Tasks has no priorities: urgent tasks get a queue of their own.
    "PRIORITY_QUEUES": {0: "default", 50: "urgent"},
    # A failed task is not repeated, as with the other backends.
    "RUN_ONCE": True,
    "DEADLINE": timedelta(minutes=2),
}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "db.sqlite3",
        "TEST": {"NAME": ":memory:"},
    }
}

#: Where e-mails go.
_MAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": _MAIL_BACKEND}}
else:
    EMAIL_BACKEND = _MAIL_BACKEND
