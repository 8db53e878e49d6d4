"""`manage.py cloudtask schedules import`, as tests run it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.core.management.base import CommandError, OutputWrapper

from cloudtask.schedules.importers.action import ImportAction


class Told(NamedTuple):
    """What it wrote."""

    out: str
    errors: list[str]
    failure: str | None


class Import:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._file = folder / "schedules"
        self._capsys = capsys

    def __call__(self, format: str, content: Any, *options: str) -> Told:  # noqa: A002
        """Import a text, or a document that is written as JSON."""
        if isinstance(content, bytes):
            self._file.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            self._file.write_text(text, encoding="utf-8")
        return self.run(format, str(self._file), *options)

    def run(self, *arguments: str) -> Told:
        action, parser, out = ImportAction(), ArgumentParser(), StringIO()
        action.add_arguments(parser)
        failure = None
        try:
            action.handle(vars(parser.parse_args(arguments)), OutputWrapper(out))
        except CommandError as error:
            failure = str(error).replace(str(self._file), "FILE")
        errors = self._capsys.readouterr().err.splitlines()
        return Told(out.getvalue(), errors, failure)
