"""
The examples of django-tasks-gcp's README, run as they are written there.

Its settings have other names here. A token is always that of one service
account: the README's None, any account will do, is not had here.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.seeds.project import ORIGIN, Project, claims_of

EMAIL = "django@gcp-project.iam.gserviceaccount.com"

#: "Django Configuration".
SETTINGS = f"""
from pathlib import Path

BASE_DIR = Path(__file__).parent

from google.oauth2 import service_account
import os

GCP_KEY_PATH = os.path.join(BASE_DIR, "path_to_gcp_key.json")
GCP_KEY = service_account.Credentials.from_service_account_file(GCP_KEY_PATH)
GCP_PROJECT_ID = GCP_KEY.project_id
TASKS = {{
    "default": {{
        "BACKEND": "cloudtask.backends.CloudTasksBackend",
        "QUEUES": [],
        "OPTIONS": {{
            "CREDENTIALS": GCP_KEY,
            "PROJECT": GCP_PROJECT_ID,
            "LOCATION": "gcp-region",
            "URL": "{ORIGIN}/cloud_tasks",
            "ON_COMMIT": True,
            "AUTH": "cloudtask.auth.Authenticator",
            "AUTH_PARAMS": {{}},
            "SAE": GCP_KEY.service_account_email,
        }},
    }}
}}
"""

#: "URL configuration".
URLS = """
from django.urls import include, path

urlpatterns = [
    # ... your other URLs
    path("cloud_tasks", include("cloudtask.urls")),
]
"""

TASKS = """
from django.tasks import task

@task
def add(a, b):
    return a + b
"""

EXAMPLE = """
from .tasks import add

result = add.enqueue(1, b=2)
"""

#: The same, with a backend that is not the default one.
OTHER_SETTINGS = SETTINGS.replace('"default": {', '"cloud_tasks": {').replace(
    "TASKS = {",
    'TASKS = {\n    "default": {"BACKEND": "cloudtask.backends.CloudTasksBackend"},',
)
# Its tasks are declared for the default one.
OTHER_SETTINGS = OTHER_SETTINGS.replace(
    '"OPTIONS": {', '"OPTIONS": {"ACCEPTS_TASKS_OF": ["default"],'
)

#: "If this backend is not your default, you can bind the view explicitly".
#: The view is a function here, and its argument is the URL pattern's.
BOUND_URLS = """
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from cloudtask import views

urlpatterns = [
    path("cloud_tasks", csrf_exempt(views.dispatch), {"backend": "cloud_tasks"}),
]
"""

#: The same, by the way that fits ASGI and WSGI alike.
INCLUDED_URLS = """
from django.urls import include, path

urlpatterns = [
    path("cloud_tasks", include("cloudtask.urls"), {"backend": "cloud_tasks"}),
]
"""


#: What the default backend has, whose OPTIONS are left out.
DEFAULT = {
    "PROJECT": "gcp-project",
    "LOCATION": "gcp-region",
    "URL": f"{ORIGIN}/cloud_tasks",
    "SAE": EMAIL,
    "RUN_ONCE": True,
}


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    """A service account's key file."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "type": "service_account",
        "project_id": "gcp-project",
        "private_key_id": "1",
        "private_key": private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        "client_email": EMAIL,
        "token_uri": "https://oauth2.googleapis.com/token",
    }


def start(
    project: Project, key: dict[str, str], settings: str, urls: str, **cloudtask: Any
) -> None:
    Path(project.root, "path_to_gcp_key.json").write_text(json.dumps(key))
    where = {"project": "gcp-project", "location": "gcp-region"}
    project.start(settings, urls, "default", **where, **cloudtask)


def test_django_configuration(project: Project, key: dict[str, str]) -> None:
    start(project, key, SETTINGS, URLS)
    project.module("tasks", TASKS)
    example = project.run(EXAMPLE)

    settings = project.backend().settings
    assert settings.credentials.service_account_email == EMAIL
    assert project.backend().check() == []
    [attempt] = project.emulator.attempts
    assert example.result.name == attempt.name
    assert attempt.name.startswith(
        "projects/gcp-project/locations/gcp-region/queues/default/tasks/"
    )
    assert project.returned == [3]


def test_url_configuration(project: Project, key: dict[str, str]) -> None:
    start(project, key, SETTINGS, URLS)
    project.module("tasks", TASKS)
    project.run(EXAMPLE)

    [attempt] = project.emulator.attempts
    assert (attempt.url, attempt.status) == (f"{project.live.origin}/cloud_tasks", 200)


@pytest.mark.parametrize("urls", [BOUND_URLS, INCLUDED_URLS], ids=["view", "include"])
def test_a_backend_that_is_not_the_default_binds_the_view(
    project: Project, key: dict[str, str], urls: str
) -> None:
    start(project, key, OTHER_SETTINGS, urls, **DEFAULT)
    project.module("tasks", TASKS)

    project.run(
        """
from .tasks import add

theirs = add.using(backend="cloud_tasks").enqueue(1, b=2)
others = add.enqueue(3, b=4)
"""
    )

    # The view is that of one backend, and refuses what is not for it.
    statuses = [attempt.status for attempt in project.emulator.attempts]
    assert sorted(statuses) == [200, 403]
    assert project.returned == [3]
    assert project.finished[0].backend == "cloud_tasks"


def test_authentication(project: Project, key: dict[str, str]) -> None:
    start(project, key, SETTINGS, URLS)
    project.module("tasks", TASKS)
    project.run(EXAMPLE)

    [attempt] = project.emulator.attempts
    claims = claims_of(attempt.headers["Authorization"])
    assert (claims["email"], claims["email_verified"]) == (EMAIL, True)
    assert claims["aud"] == f"{project.live.origin}/cloud_tasks"
    assert project.backend().settings.auth == "cloudtask.auth.Authenticator"
