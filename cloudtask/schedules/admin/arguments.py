"""An argument of a schedule, as a form asks for it."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from django import forms

from cloudtask.schedules.admin.fields import (
    PayloadField,
    make_field,
    read_payload_text,
)
from cloudtask.schedules.admin.parameters import is_sensitive, read_type

if TYPE_CHECKING:
    from inspect import Signature

    from cloudtask.planning.declarations import Schedulable

#: Says that there is no value.
MISSING: Any = Parameter.empty
_COLLECTED = {Parameter.VAR_POSITIONAL: list, Parameter.VAR_KEYWORD: dict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A parameter of a task, and the value that a schedule has for it."""

    parameter: Parameter
    kind: object  # Its type, if one is known.
    is_nullable: bool  # Whether None is a value of it, too.
    is_sensitive: bool  # Whether nobody is to see its value.
    stored: Any = field(default=MISSING, repr=False)

    @property
    def has_default(self) -> bool:
        """Whether a call may leave it out."""
        return (
            self.parameter.kind in _COLLECTED or self.parameter.default is not MISSING
        )

    def make_field(self) -> forms.Field:
        """Make its field, which shows the value that is stored."""
        shown = None if self.is_sensitive or self.stored is MISSING else self.stored
        made = make_field(
            self.kind,
            shown,
            label=self.parameter.name,
            required=not self._may_be_empty(),
            help_text=self._explain(),
        )
        if self.is_sensitive:
            made.widget = forms.PasswordInput({"autocomplete": "new-password"})
        return made

    def read(self, made: forms.Field, cleaned: Any) -> Any:
        """Read what its field was filled in with; MISSING leaves it out."""
        if cleaned not in (None, ""):
            is_payload = isinstance(made, PayloadField)
            return read_payload_text(cleaned) if is_payload else cleaned
        if self.has_default:
            return MISSING
        return None if self.is_nullable else ""

    def _may_be_empty(self) -> bool:
        if self.is_sensitive and self.stored is not MISSING:
            return True
        is_text = self.kind is str and not self.is_sensitive
        return self.has_default or self.is_nullable or is_text

    def _explain(self) -> str:
        if self.is_sensitive:
            return "Shown to nobody, and unchanged unless filled in."
        if self.parameter.default is not MISSING:
            return f"Empty, it is {reprlib.repr(self.parameter.default)}."
        return ""


def list_arguments(
    task: Schedulable, signature: Signature, stored: dict[str, Any]
) -> list[Argument]:
    """
    List the arguments of a task.

    Args:
        task: It.
        signature: Of its function, as a caller sees it.
        stored: The values that a schedule has, by parameter.
    """
    return [
        _make_argument(task, signature, parameter, stored)
        for parameter in signature.parameters.values()
    ]


def _make_argument(
    task: Schedulable,
    signature: Signature,
    parameter: Parameter,
    stored: dict[str, Any],
) -> Argument:
    kind, is_nullable = read_type(task.func, parameter.annotation)
    value = stored.get(parameter.name, MISSING)
    if parameter.kind in _COLLECTED:
        kind, is_nullable = _COLLECTED[parameter.kind], False
        value = value if value is MISSING else kind(value)
    return Argument(
        parameter=parameter,
        kind=kind,
        is_nullable=is_nullable,
        is_sensitive=is_sensitive(task, signature, parameter),
        stored=value,
    )
