"""What a comparison looks like, for people and for programs."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from cloudtask.schedules.changes import Verb

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Mapping

    from django.core.management.base import OutputWrapper

    from cloudtask.schedules.changes import Change, Comparison, Step

_SIGNS: Mapping[Verb, str] = {Verb.CREATE: "+", Verb.CHANGE: "~", Verb.DELETE: "-"}


def add_json(parser: ArgumentParser) -> None:
    """Add the option `--json`."""
    parser.add_argument("--json", action="store_true", help="for a program to read")


def write_json(document: Any, stdout: OutputWrapper) -> None:
    """Write a document, with its texts as they are."""
    stdout.write(json.dumps(document, indent=2, ensure_ascii=False))


def write_comparison(comparison: Comparison, stdout: OutputWrapper) -> None:
    """Write what is to be done, step by step, and how much it is."""
    for step in comparison.steps:
        for line in describe_step(step):
            stdout.write(line)
    write_rest(comparison, stdout)
    stdout.write(_sum_up(comparison))


def write_rest(comparison: Comparison, stdout: OutputWrapper) -> None:
    """Write what `apply` leaves alone."""
    for orphan in comparison.orphans:
        stdout.write(f"? {orphan.what} {orphan.name}: no schedule has it")
    if comparison.orphans:
        stdout.write("Delete those that are not needed by `schedules prune`.")
    for note in comparison.notes:
        stdout.write(f"! {note}")


def describe_step(step: Step) -> Iterator[str]:
    """Describe a step: a line for it, and one for each change."""
    yield f"{_SIGNS[step.verb]} {step.what} {step.name}"
    for change in step.changes:
        yield f"    {_describe_change(change, step.verb)}"


def to_document(comparison: Comparison) -> Mapping[str, Any]:
    """Make the document of a comparison."""
    return {
        "steps": [_to_member(each) for each in comparison.steps],
        "orphans": [each.name for each in comparison.orphans],
        "notes": comparison.notes,
        "problems": comparison.problems,
    }


def _describe_change(change: Change, verb: Verb) -> str:
    if verb is Verb.CREATE and change.new is not None:
        return f"{change.field}: {change.new}"
    return str(change)


def _to_member(step: Step) -> Mapping[str, Any]:
    return {
        "verb": step.verb.value,
        "what": step.what,
        "name": step.name,
        "changes": [
            {"field": each.field, "old": each.old, "new": each.new}
            for each in step.changes
        ],
    }


def _sum_up(comparison: Comparison) -> str:
    if not comparison.steps:
        return "Nothing to do."
    counts = Counter(each.verb for each in comparison.steps)
    return ", ".join(f"{counts[verb]} to {verb.value}" for verb in Verb) + "."
