"""Passes that traffic makes: small ones, at the end of a task."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from time import monotonic

from django.db import Error

from cloudtask.conf import clock, get_settings
from cloudtask.exceptions import CloudTaskError
from cloudtask.results.database.connections import get_connection
from cloudtask.results.pruning import prune_some
from cloudtask.results.settings import get_results_settings
from cloudtask.results.sweeping.passes import sweep

logger = logging.getLogger("cloudtask")

#: Seconds between two passes, and their limit.
SECONDS, LIMIT = 60.0, 10
#: Tasks that are pruned with such a pass.
PRUNED = 500

_last_pass = monotonic()

#: Before any task.
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def sweep_by_traffic() -> None:
    """
    Make a short pass, if this process has made none for a while.

    Nothing is raised: the task that made the traffic has ended, and errors of
    others do not concern it.
    """
    global _last_pass
    now = monotonic()
    if now - _last_pass < SECONDS:
        return
    if get_connection().in_atomic_block:
        return  # An error in here would undo what others do in it.
    _last_pass = now
    try:
        sweep(LIMIT)
        _prune()
    except (Error, CloudTaskError) as error:
        logger.warning("a pass of the sweeper failed: %r", error)
    except Exception:
        logger.exception("a pass of the sweeper failed")


def _prune() -> None:
    """Delete some of the tasks that the settings want pruned."""
    settings = get_results_settings(get_settings())
    if settings.prune_after or settings.prune_failed_after:
        prune_some(
            _compute_cutoff(settings.prune_after),
            _compute_cutoff(settings.prune_failed_after),
            PRUNED,
        )


def _compute_cutoff(age: timedelta | None) -> datetime:
    return clock.now() - age if age else _NEVER
