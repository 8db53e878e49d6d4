"""What a view or a form would call."""

from datetime import datetime
from functools import partial

from django.db import transaction

from notices.models import Notice
from notices.tasks import announce, archive, count_words

URGENT = 50


def publish(
    title: str, text: str, *, urgent: bool = False, until: datetime | None = None
) -> Notice:
    """
    Save a notice and announce it.

    Args:
        title: Subject of the e-mail.
        text: Its text.
        urgent: Ahead of what waits already.
        until: When it is taken down.
    """
    with transaction.atomic():
        notice = Notice.objects.create(title=title, text=text)
        announcement = announce.using(priority=URGENT) if urgent else announce
        for task in (announcement, count_words):
            transaction.on_commit(partial(task.enqueue, notice.pk))
        if until is not None:
            take_down = archive.using(run_after=until)
            transaction.on_commit(partial(take_down.enqueue, notice.pk))
    return notice
