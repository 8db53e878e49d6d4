"""
Settings of the bookshop, for a developer's machine.

`demo.py` sets the environment variables. By hand they can all be left out:
then the emulator is on its default ports and the server on port 8000.
"""

import os
from pathlib import Path

import django

BASE_DIR = Path(__file__).resolve().parent.parent
#: Everything that a run leaves behind.
VAR_DIR = BASE_DIR / "var"
VAR_DIR.mkdir(exist_ok=True)

SECRET_KEY = os.environ.get("BOOKSHOP_SECRET_KEY", "for this example only")
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "bookshop.urls"
WSGI_APPLICATION = "bookshop.wsgi.application"
USE_TZ = True

INSTALLED_APPS = [
    "cloudtask",
    "cloudtask.results",
    "cloudtask.schedules",
    "shop",
    "django.contrib.messages",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR_DIR / "db.sqlite3",
        # Several threads and processes write to it.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL",
        },
    }
}

#: Where e-mails go, one file each.
MAIL_DIR = VAR_DIR / "mail"
_MAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {"BACKEND": _MAIL_BACKEND, "OPTIONS": {"file_path": MAIL_DIR}}
    }
else:
    EMAIL_BACKEND = _MAIL_BACKEND
    EMAIL_FILE_PATH = MAIL_DIR

#: Who gets the stock report.
OWNER_EMAIL = "owner@bookshop.example"

CLOUDTASK = {
    "PROJECT": "bookshop",
    "LOCATION": "europe-west1",
    "QUEUE": "default",
    "QUEUES": {"default": {}, "emails": {"max_concurrent_dispatches": 10}},
    "URL": os.environ.get("BOOKSHOP_URL", "http://127.0.0.1:8000") + "/_tasks/",
    # A dispatch has to carry both, the secret and a token of this account.
    "AUTH": "all",
    "SECRET": os.environ.get("BOOKSHOP_TASK_SECRET"),
    "SAE": "tasks@bookshop.iam.gserviceaccount.com",
    "AUDIENCE": "https://bookshop.example",
    # Never Google Cloud: in production both are left out.
    "EMULATOR_HOST": os.environ.get("CLOUD_TASKS_EMULATOR_HOST", "127.0.0.1:8123"),
    "EMULATOR_HTTP_HOST": os.environ.get("BOOKSHOP_EMULATOR_HTTP_HOST"),
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"cloudtask": {"handlers": ["console"], "level": "INFO"}},
}
