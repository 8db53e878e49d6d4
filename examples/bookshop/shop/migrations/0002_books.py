"""The shop's first books."""

from decimal import Decimal

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

BOOKS = [
    ("Dune", Decimal("11.90"), 12),
    ("Emma", Decimal("7.50"), 30),
    ("Middlemarch", Decimal("14.00"), 5),
]


def add_books(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    book = apps.get_model("shop", "Book")
    for title, price, stock in BOOKS:
        book.objects.create(title=title, price=price, stock=stock)


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.RunPython(add_books, migrations.RunPython.noop)]
