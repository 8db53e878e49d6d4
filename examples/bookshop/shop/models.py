"""Books, orders, and what tasks did about them."""

from django.db import models


class Book(models.Model):
    title = models.CharField(max_length=200, unique=True)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    stock = models.PositiveIntegerField()

    class Meta:
        ordering = ("title",)

    def __str__(self) -> str:
        return self.title


class Order(models.Model):
    """
    An order of one title.

    Each task has a field of its own here, by which it knows that its work is
    done when Cloud Tasks delivers it a second time.
    """

    book = models.ForeignKey(Book, on_delete=models.PROTECT)
    quantity = models.PositiveSmallIntegerField()
    email = models.EmailField()
    created_at = models.DateTimeField(auto_now_add=True)
    confirmed_at = models.DateTimeField(null=True, editable=False)
    stock_taken_at = models.DateTimeField(null=True, editable=False)
    paid_at = models.DateTimeField(null=True, editable=False)
    packed_at = models.DateTimeField(null=True, editable=False)
    review_asked_at = models.DateTimeField(null=True, editable=False)
    payment_calls = models.PositiveSmallIntegerField(default=0, editable=False)

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"order {self.pk}: {self.quantity} x {self.book}"


class Event(models.Model):
    """What a task did in one attempt, for the page and for the demo."""

    created_at = models.DateTimeField(auto_now_add=True)
    task = models.CharField(max_length=100)  # The function's name.
    task_name = models.CharField(max_length=500)  # At Cloud Tasks; may be empty.
    attempt = models.PositiveIntegerField()
    text = models.CharField(max_length=500)

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.task}, attempt {self.attempt}: {self.text}"
