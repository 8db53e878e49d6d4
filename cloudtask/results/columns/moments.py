"""
Moments as they are stored, and the database's clock.

All databases store UTC, whatever the settings say, so that times of this
process and times of the database's clock can be compared. In Python all times
are aware.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Expression, ExpressionWrapper, Value, functions
from django.utils import timezone


class MomentField(models.DateTimeField):  # type: ignore[type-arg]
    """
    A moment, aware in Python and UTC in the database.

    On a database without time zones Django's own field stores the zone of the
    settings or of the connection. Times of the database's clock would not
    agree with that.
    """

    def to_python(self, value: Any) -> Any:
        """Read a moment; a naive one is in the time zone of the settings."""
        moment = super().to_python(value)
        if moment is None:
            return None
        if timezone.is_naive(moment):
            moment = timezone.make_aware(moment, timezone.get_default_timezone())
        try:
            return _localize(moment.astimezone(UTC))
        except OverflowError:
            raise ValidationError(
                self.error_messages["invalid_datetime"],
                code="invalid_datetime",
                params={"value": value},
            ) from None

    def get_db_prep_value(
        self, value: Any, connection: Any, prepared: bool = False
    ) -> Any:
        """Convert a moment to UTC, naive where the database knows no zones."""
        moment = value if prepared else self.get_prep_value(value)
        if isinstance(moment, datetime):
            moment = moment.astimezone(UTC)
            if not _has_zones(connection):
                moment = moment.replace(tzinfo=None)
        return super().get_db_prep_value(moment, connection, prepared=True)

    def from_db_value(
        self, value: datetime | None, expression: Any, connection: Any
    ) -> datetime | None:
        """Read what is stored as UTC."""
        if value is None:
            return None
        if not _has_zones(connection):
            # Django may have given it any zone. It is UTC.
            value = value.replace(tzinfo=UTC)
        elif timezone.is_naive(value):
            value = timezone.make_aware(value, timezone.get_default_timezone())
        return _localize(value)


class Now(functions.Now):
    """The database's time."""

    output_field = MomentField()

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Ask MySQL and MariaDB for UTC."""
        # CURRENT_TIMESTAMP is in the time zone of the server.
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)


def shift(moment: Any, wait: timedelta | Expression) -> Any:
    """
    Move a moment of the database.

    Args:
        moment: An expression, such as `Now()`.
        wait: How much later, or earlier if it is negative.
    """
    if not isinstance(wait, Expression):
        wait = Value(wait, models.DurationField())
    return ExpressionWrapper(moment + wait, MomentField())


def _has_zones(connection: Any) -> bool:
    return bool(connection.vendor == "postgresql")


def _localize(moment: datetime) -> datetime:
    """Convert a moment to the zone in which the project shows times."""
    if django_settings.USE_TZ:
        return moment
    try:
        return moment.astimezone(timezone.get_default_timezone())
    except OverflowError:
        return moment
