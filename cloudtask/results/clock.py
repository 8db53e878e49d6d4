"""The database's clock, and times as Django stores them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.db import models
from django.db.models import Expression, ExpressionWrapper, Value, functions
from django.utils import timezone

if TYPE_CHECKING:
    from datetime import datetime, timedelta


class Now(functions.Now):
    """The database's time, in the time zone in which Django stores times."""

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # CURRENT_TIMESTAMP is in the time zone of the server.
        word = "UTC_TIMESTAMP" if django_settings.USE_TZ else "CURRENT_TIMESTAMP"
        return self.as_sql(compiler, connection, template=f"{word}(6)", **context)


def after(wait: timedelta | Expression, moment: Any = None) -> Any:
    """The database's time, or another moment, so much later or earlier."""
    if not isinstance(wait, Expression):
        wait = Value(wait, models.DurationField())
    later = (Now() if moment is None else moment) + wait
    return ExpressionWrapper(later, models.DateTimeField())


def stored(moment: datetime) -> datetime:
    """An aware time as Django stores it: naive and local without USE_TZ."""
    if django_settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())
