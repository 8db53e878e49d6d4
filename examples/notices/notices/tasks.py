"""What happens to a notice in the background."""

from django.core.mail import send_mail

from notices.framework import TaskContext, task
from notices.models import Delivery, Notice, Subscriber


class Unreachable(Exception):
    """Nobody gets e-mail at this address."""


@task
def announce(notice_id: int) -> int:
    """Have a notice sent to everybody. Returns to how many."""
    subscribers = Subscriber.objects.values_list("pk", flat=True)
    for subscriber_id in subscribers:
        deliver.enqueue(notice_id, subscriber_id=subscriber_id)
    return len(subscribers)


@task(takes_context=True, queue_name="mail")
def deliver(context: TaskContext, notice_id: int, subscriber_id: int) -> None:
    """Send a notice to a subscriber."""
    notice = Notice.objects.get(pk=notice_id)
    subscriber = Subscriber.objects.get(pk=subscriber_id)
    if subscriber.email.endswith(".invalid"):
        raise Unreachable(subscriber.email)
    Delivery.objects.create(
        notice=notice,
        subscriber=subscriber,
        task_id=context.task_result.id,
        attempt=context.attempt,
    )
    send_mail(notice.title, notice.text, None, [subscriber.email])


@task
async def count_words(notice_id: int) -> int:
    """Count the words of a notice."""
    notice = await Notice.objects.aget(pk=notice_id)
    notice.words = len(notice.text.split())
    await notice.asave(update_fields=["words"])
    return notice.words


@task
def archive(notice_id: int) -> None:
    """Take a notice down."""
    Notice.objects.filter(pk=notice_id).update(is_archived=True)
