"""What the tests of the admin of schedules share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings

from cloudtask.transports.memory import MemoryTransport
from tests.backends.samples import TASKS
from tests.results_admin.conftest import SETTINGS
from tests.schedules.conftest import _nothing_is_kept, _results, heart, moved

with override_settings(TASKS=TASKS):
    # The class of Django's tasks is the backend's.
    from tests.schedules_admin.samples import LogIn

__all__ = ["_nothing_is_kept", "_results", "heart", "moved"]


@pytest.fixture(autouse=True)
def _project() -> Iterator[None]:
    with override_settings(**SETTINGS):
        yield


@pytest.fixture(autouse=True)
def _queue(queue: MemoryTransport) -> None:
    """Nothing is sent further than into this process."""


def make_person(*verbs: str) -> User:
    """Somebody of the staff, with these permissions for schedules alone."""
    person = User.objects.create_user("ada", password="a password", is_staff=True)
    found = Permission.objects.filter(
        content_type__app_label="cloudtask_schedules",
        codename__in=[f"{verb}_scheduledtask" for verb in verbs],
    )
    assert found.count() == len(verbs)
    person.user_permissions.set(found)
    return person


@pytest.fixture
def log_in(db: Any) -> LogIn:
    def log_in(*verbs: str) -> Client:
        client = Client()
        client.force_login(make_person(*verbs))
        return client

    return log_in
