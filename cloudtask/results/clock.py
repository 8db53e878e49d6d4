"""
What is stored of times, and the database's clock.

All databases store one zone, whatever the settings say, so that times of this
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

    Django's own field stores the time zone of the settings or of the
    connection where the database knows no zones. Times of the database's
    clock would not agree with that.
    """

    def to_python(self, value: Any) -> Any:
        moment = super().to_python(value)
        if moment is None:
            return None
        if timezone.is_naive(moment):
            moment = timezone.make_aware(moment, timezone.get_default_timezone())
        try:
            return _local(moment.astimezone(UTC))
        except OverflowError:
            raise ValidationError(
                self.error_messages["invalid_datetime"],
                code="invalid_datetime",
                params={"value": value},
            ) from None

    def get_db_prep_value(
        self, value: Any, connection: Any, prepared: bool = False
    ) -> Any:
        moment = value if prepared else self.get_prep_value(value)
        if isinstance(moment, datetime):
            moment = moment.astimezone(UTC)
            if not _has_zones(connection):
                moment = moment.replace(tzinfo=None)
        return super().get_db_prep_value(moment, connection, prepared=True)

    def from_db_value(
        self, value: datetime | None, expression: Any, connection: Any
    ) -> datetime | None:
        if value is None:
            return None
        if not _has_zones(connection):
            # Whatever zone Django takes it for.
            value = value.replace(tzinfo=UTC)
        elif timezone.is_naive(value):
            value = timezone.make_aware(value, timezone.get_default_timezone())
        return _local(value)


class Now(functions.Now):
    """The database's time."""

    output_field = MomentField()

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # CURRENT_TIMESTAMP is in the time zone of the server.
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)


def after(wait: timedelta | Expression, moment: Any = None) -> Any:
    """The database's time, or another moment, so much later or earlier."""
    if not isinstance(wait, Expression):
        wait = Value(wait, models.DurationField())
    later = (Now() if moment is None else moment) + wait
    return ExpressionWrapper(later, MomentField())


def _has_zones(connection: Any) -> bool:
    return bool(connection.vendor == "postgresql")


def _local(moment: datetime) -> datetime:
    """The same moment in the zone in which the project shows times."""
    if django_settings.USE_TZ:
        return moment
    try:
        return moment.astimezone(timezone.get_default_timezone())
    except OverflowError:
        return moment
