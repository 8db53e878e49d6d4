"""Business data."""

from django.db import models


class Effect(models.Model):
    """What a task did, once, however many runs of it overlap."""

    task = models.CharField(max_length=32, unique=True)

    def __str__(self) -> str:
        return self.task


class Order(models.Model):
    """Enqueues a task in the transaction that makes it."""

    number = models.CharField(max_length=32)

    def __str__(self) -> str:
        return self.number
