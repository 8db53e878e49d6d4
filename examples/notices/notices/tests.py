"""These run unchanged under every backend; see pending.py."""

from datetime import timedelta
from typing import Any
from unittest import skipIf, skipUnless

from asgiref.sync import sync_to_async
from django.core import mail
from django.db import transaction
from django.test import TransactionTestCase
from django.utils import timezone

from notices.board import publish
from notices.framework import (
    InvalidTask,
    TaskResultStatus,
    default_task_backend,
    task_enqueued,
    task_finished,
)
from notices.models import Delivery, Notice, Subscriber
from notices.pending import pending
from notices.tasks import announce, archive, count_words, deliver


class NoticesTestCase(TransactionTestCase):
    def setUp(self) -> None:
        self.run_pending = self.enterContext(pending())
        self.enqueued: list[str] = []
        self.finished: list[Any] = []
        task_enqueued.connect(self._on_enqueued)
        task_finished.connect(self._on_finished)
        self.addCleanup(task_enqueued.disconnect, self._on_enqueued)
        self.addCleanup(task_finished.disconnect, self._on_finished)

    def _on_enqueued(self, task_result: Any, **kwargs: Any) -> None:
        self.enqueued.append(task_result.task.name)

    def _on_finished(self, task_result: Any, **kwargs: Any) -> None:
        self.finished.append(task_result)


class PublishingTests(NoticesTestCase):
    def test_a_notice_is_sent_to_every_subscriber(self) -> None:
        for name in ("ada", "bob"):
            Subscriber.objects.create(email=f"{name}@example.com")

        publish("Closed", "We are closed on Monday.")
        self.run_pending()

        sent = sorted((message.to, message.subject) for message in mail.outbox)
        self.assertEqual(
            sent, [(["ada@example.com"], "Closed"), (["bob@example.com"], "Closed")]
        )

    def test_publishing_enqueues_its_tasks_once(self) -> None:
        publish("Closed", "We are closed on Monday.")

        self.assertEqual(self.enqueued, ["announce", "count_words"])

    def test_a_notice_that_is_rolled_back_enqueues_nothing(self) -> None:
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            publish("Closed", "We are closed on Monday.")
            raise ZeroDivisionError

        self.assertEqual(self.enqueued, [])

    def test_an_urgent_notice_is_announced(self) -> None:
        Subscriber.objects.create(email="ada@example.com")

        publish("Fire", "Leave the house.", urgent=True)
        self.run_pending()

        self.assertEqual([message.subject for message in mail.outbox], ["Fire"])

    def test_the_words_are_counted_by_an_async_task(self) -> None:
        notice = publish("Closed", "We are closed on Monday.")
        self.run_pending()

        notice.refresh_from_db()
        self.assertEqual(notice.words, 5)

    @skipUnless(default_task_backend.supports_defer, "The backend cannot defer.")
    def test_a_notice_is_archived_when_its_time_has_come(self) -> None:
        now = timezone.now()
        over = publish("Over", "It is over.", until=now)
        later = publish("Later", "It is not.", until=now + timedelta(days=1))
        self.run_pending()

        archived = Notice.objects.filter(is_archived=True)
        self.assertEqual(list(archived), [over])
        self.assertEqual(Notice.objects.exclude(pk=over.pk).get(), later)

    @skipIf(default_task_backend.supports_defer, "The backend can defer.")
    def test_a_backend_that_cannot_defer_says_so(self) -> None:
        with self.assertRaisesMessage(InvalidTask, "does not support run_after"):
            publish("Over", "It is over.", until=timezone.now())


class TaskTests(NoticesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.notice = Notice.objects.create(title="Closed", text="On Monday.")
        self.subscriber = Subscriber.objects.create(email="ada@example.com")

    def test_a_result_tells_what_was_enqueued(self) -> None:
        result = deliver.enqueue(self.notice.pk, subscriber_id=self.subscriber.pk)

        self.assertEqual(result.task, deliver)
        self.assertEqual(result.args, [self.notice.pk])
        self.assertEqual(result.kwargs, {"subscriber_id": self.subscriber.pk})
        self.assertEqual(result.backend, "default")
        self.assertIsNotNone(result.enqueued_at)
        self.assertEqual(result.task.queue_name, "mail")

    def test_a_task_knows_its_id_and_its_attempt(self) -> None:
        result = deliver.enqueue(self.notice.pk, subscriber_id=self.subscriber.pk)
        self.run_pending()

        delivery = Delivery.objects.get()
        self.assertEqual(delivery.task_id, result.id)
        self.assertEqual(delivery.attempt, 1)

    def test_a_task_that_raises_fails_and_the_others_run(self) -> None:
        lost = Subscriber.objects.create(email="bob@nowhere.invalid")

        with self.assertLogs(level="ERROR") as logs:
            deliver.enqueue(self.notice.pk, subscriber_id=lost.pk)
            deliver.enqueue(self.notice.pk, subscriber_id=self.subscriber.pk)
            self.run_pending()

        failed, successful = self.finished
        self.assertEqual(failed.status, TaskResultStatus.FAILED)
        self.assertEqual(successful.status, TaskResultStatus.SUCCESSFUL)
        self.assertEqual(failed.errors[0].exception_class.__name__, "Unreachable")
        self.assertIn("bob@nowhere.invalid", failed.errors[0].traceback)
        self.assertEqual(successful.errors, [])
        self.assertEqual(len(logs.records), 1)
        self.assertEqual(Delivery.objects.get().subscriber, self.subscriber)

    def test_what_a_task_returns_is_in_its_result(self) -> None:
        announce.enqueue(self.notice.pk)
        self.run_pending()

        results = {result.task.name: result for result in self.finished}
        self.assertEqual(results["announce"].return_value, 1)
        self.assertIsNone(results["deliver"].return_value)

    def test_a_result_can_be_looked_up_where_the_backend_keeps_it(self) -> None:
        result = announce.enqueue(self.notice.pk)
        self.run_pending()

        if default_task_backend.supports_get_result:
            self.assertEqual(announce.get_result(result.id).return_value, 1)
        else:
            with self.assertRaises(NotImplementedError):
                result.refresh()

    async def test_tasks_are_enqueued_from_async_code(self) -> None:
        await count_words.aenqueue(notice_id=self.notice.pk)
        await archive.aenqueue(self.notice.pk)
        await sync_to_async(self.run_pending)()

        notice = await Notice.objects.aget(pk=self.notice.pk)
        self.assertEqual((notice.words, notice.is_archived), (2, True))

    def test_arguments_that_are_no_json_are_refused(self) -> None:
        with self.assertRaises(TypeError):
            archive.enqueue(timezone.now())

        self.assertEqual(self.enqueued, [])

    def test_an_unknown_queue_is_refused(self) -> None:
        with self.assertRaisesMessage(
            InvalidTask, "Queue 'post' is not valid for backend"
        ):
            archive.using(queue_name="post")

    def test_a_priority_out_of_range_is_refused(self) -> None:
        with self.assertRaisesMessage(
            InvalidTask, "priority must be a whole number between -100 and 100."
        ):
            announce.using(priority=101)

    def test_a_task_is_called_as_the_function_that_it_is(self) -> None:
        self.assertEqual(count_words.call(self.notice.pk), 2)
        self.assertEqual(self.enqueued, [])
