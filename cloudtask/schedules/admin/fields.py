"""Form fields for values, by their types."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.widgets import AdminDateWidget

from cloudtask.wire.dumping import dump
from cloudtask.wire.loading import load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class PayloadField(forms.CharField):
    """
    A value as JSON, as payloads have it. Its cleaned value is a text.

    Args:
        expected: The type of the value: list, dict, or any for `object`.
    """

    widget = forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"})

    def __init__(self, *, expected: type = object, **options: Any) -> None:
        super().__init__(**options)
        self._expected = expected

    def to_python(self, value: Any) -> str:
        """
        Read the text, and write it as payloads do.

        Raises:
            ValidationError: It is not such JSON.
        """
        text = super().to_python(value) or ""
        if not text:
            return text
        try:
            read = read_payload_text(text)
            normal = dump(read)
        except Exception:
            # Whatever it makes the parsers raise. It is not repeated, as it
            # may be sensitive.
            raise forms.ValidationError(
                'It must be JSON: a text is written "in quotes".', code="invalid"
            ) from None
        if not isinstance(read, self._expected):
            shape = "[1, 2]" if self._expected is list else '{"a": 1}'
            raise forms.ValidationError(
                f"It must be JSON of the form {shape}.", code="invalid"
            )
        return normal

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Whether it is another value, however both are written."""
        return super().has_changed(self.to_python(initial), data)


class YesNoField(forms.TypedChoiceField):
    """True, false, or nothing chosen."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            choices=[("", "---------"), ("true", "true"), ("false", "false")],
            coerce=lambda text: text == "true",
            empty_value=None,
            **options,
        )


def read_payload_text(text: str) -> Any:
    """Read JSON of a payload. Raises whatever the parsers raise."""
    return load(text.encode())


def write_payload_text(value: Any) -> str:
    """
    Write a value as JSON of a payload, in lines for people.

    Raises:
        Unwritable: No payload carries it.
    """
    return json.dumps(json.loads(dump(value)), indent=2, ensure_ascii=False)


def make_field(kind: object, value: Any, **options: Any) -> forms.Field:
    """
    Make the field of a value.

    Args:
        kind: Its type. What has no field of its own is JSON.
        value: What it holds at first; None is nothing.
        options: Of the field.
    """
    make = _FIELDS.get(kind, PayloadField) if isinstance(kind, type) else PayloadField
    if make is PayloadField or not (value is None or _fits(kind, value)):
        text = None if value is None else write_payload_text(value)
        expected = kind if kind in (list, dict) else object
        return PayloadField(expected=expected, initial=text, **options)
    if isinstance(value, bool):
        value = "true" if value else "false"
    return make(initial=value, **options)


def _fits(kind: object, value: Any) -> bool:
    # A line of text has no other lines. Calls that the code made may pass
    # values of other types.
    return type(value) is kind and (kind is not str or value.isprintable())


def _make_text_field(**options: Any) -> forms.Field:
    widget = forms.TextInput(attrs={"class": "vTextField"})
    return forms.CharField(strip=False, empty_value="", widget=widget, **options)


def _make_date_field(**options: Any) -> forms.Field:
    return forms.DateField(widget=AdminDateWidget, **options)


def _make_datetime_field(**options: Any) -> forms.Field:
    hint = {"placeholder": "2026-01-31 12:00:00", "class": "vTextField"}
    return forms.DateTimeField(widget=forms.DateTimeInput(attrs=hint), **options)


_FIELDS: Mapping[object, Callable[..., forms.Field]] = {
    bool: YesNoField,
    int: forms.IntegerField,
    float: forms.FloatField,
    str: _make_text_field,
    Decimal: forms.DecimalField,
    date: _make_date_field,
    datetime: _make_datetime_field,
}
