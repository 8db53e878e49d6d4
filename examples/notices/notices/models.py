"""What is announced, and to whom."""

from typing import ClassVar

from django.db import models


class Subscriber(models.Model):
    """Somebody who gets every notice by e-mail."""

    email = models.EmailField(unique=True)

    def __str__(self) -> str:
        return self.email


class Notice(models.Model):
    """Something to announce."""

    title = models.CharField(max_length=200)
    text = models.TextField()
    words = models.PositiveIntegerField(null=True)  # Known once counted.
    is_archived = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.title


class Delivery(models.Model):
    """A notice that was sent to a subscriber."""

    notice = models.ForeignKey(Notice, models.CASCADE)
    subscriber = models.ForeignKey(Subscriber, models.CASCADE)
    task_id = models.CharField(max_length=64)  # Of the task that sent it.
    attempt = models.PositiveSmallIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["notice", "subscriber"], name="notices_one_delivery_each"
            )
        ]

    def __str__(self) -> str:
        return f"{self.notice} to {self.subscriber}"
