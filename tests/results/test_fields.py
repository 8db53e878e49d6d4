"""What columns hold, whatever the database."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection

from cloudtask.results.columns.fields import AnyCharField, AnyTextField
from cloudtask.results.columns.moments import MomentField

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("vendor", "stored"),
    [("postgresql", NOON), ("mysql", NOON.replace(tzinfo=None))],
)
def test_moments_are_utc(vendor: str, stored: datetime) -> None:
    fake = SimpleNamespace(
        vendor=vendor, ops=SimpleNamespace(adapt_datetimefield_value=lambda each: each)
    )
    field = MomentField()

    assert field.get_db_prep_value(NOON, fake) == stored
    assert field.from_db_value(stored, None, fake) == NOON
    assert field.get_db_prep_value(None, fake) is None


def test_a_moment_that_is_read_in_the_zone_of_the_session(settings: Any) -> None:
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Tokyo"
    local = NOON.replace(tzinfo=None, hour=21)
    fake: Any = SimpleNamespace(vendor="postgresql")

    read = MomentField().from_db_value(local, None, fake)
    assert read == NOON
    assert read is not None
    assert read.replace(tzinfo=None) == local


@pytest.mark.parametrize(
    ("is_mariadb", "collation"),
    [(True, "utf8mb4_nopad_bin"), (False, "utf8mb4_0900_bin")],
)
def test_mysql_compares_character_by_character(
    monkeypatch: pytest.MonkeyPatch, is_mariadb: bool, collation: str
) -> None:
    monkeypatch.setattr(connection, "vendor", "mysql")
    monkeypatch.setattr(connection, "mysql_is_mariadb", is_mariadb, raising=False)

    for field in (AnyCharField(max_length=5), AnyTextField()):
        assert field.db_parameters(connection)["collation"] == collation


def test_what_is_too_long_when_it_is_escaped_is_cut() -> None:
    field = AnyCharField(max_length=5)

    assert field.get_db_prep_save("a\0b\0c\0", connection) == "a\\0b\\"
    assert field.get_db_prep_save("too long", connection) == "too long"
    assert field.get_db_prep_save(None, connection) is None
