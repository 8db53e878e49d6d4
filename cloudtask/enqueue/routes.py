"""The route of tasks: what they ask for, and what the settings say else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtask.wire.outgoing import Route

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from cloudtask.conf import Settings
    from cloudtask.wire.outgoing import Target
    from cloudtask.wire.retry import RetryPolicy


def make_route(
    settings: Settings,
    target: Target,
    *,
    queue: str,
    url: str,
    headers: Mapping[str, str],
    deadline: timedelta | None,
    retry: RetryPolicy | None,
) -> Route:
    """
    The route of tasks that are the same but for their arguments.

    Args:
        settings: For what the tasks leave open.
        target: Where tasks of these settings go.
        queue: The queue's name at Google.
        url: Where they are dispatched; empty leaves it to each task.
        headers: Those of the tasks.
        deadline: That of the tasks.
        retry: Their own policy.
    """
    return Route(
        queue_path=target.queue_path(queue),
        url=url,
        headers={**headers, **target.headers},
        deadline=deadline or settings.deadline,
        retry=retry or settings.default_retry,
        oidc=target.oidc,
    )
