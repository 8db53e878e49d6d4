"""The value of every option, wherever it comes from."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any, Literal

from cloudtask.emulator.arguments.option import UsageError
from cloudtask.emulator.arguments.readers import HIGHEST_PORT, read_address
from cloudtask.emulator.arguments.table import (
    APP_ENGINE_VARIABLE,
    EPHEMERAL,
    OPTIONS,
    STORE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def resolve(given: Mapping[str, Any], implied: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the value of every option but `ephemeral`: then `store` is None.

    Args:
        given: What was given on the command line, by `dest`. It may have
            other keys, too.
        implied: What stands in for defaults. Its queues are declared first,
            then those that were given.

    Raises:
        UsageError: An environment variable is wrong, or two options exclude
            each other.
    """
    arguments = {key: given[key] for key in OPTIONS if key in given}
    chosen = {
        **_apply_ephemeral(_read_environment(), "variable"),
        **_apply_ephemeral(arguments, "flag"),
    }
    values = {
        **{option.dest: option.default for option in OPTIONS.values()},
        **implied,
        **chosen,
    }
    del values[EPHEMERAL.dest]
    if "queues" in implied:
        values["queues"] = [*implied["queues"], *chosen.get("queues", ())]
    if values["http_port"] is None:
        values["http_port"] = _port_after(values["port"])
    return values


def _read_environment() -> dict[str, Any]:
    found = {key: option.read_environment() for key, option in OPTIONS.items()}
    address = os.environ.get(APP_ENGINE_VARIABLE)
    if found["app_engine_url"] is None and address:
        try:
            found["app_engine_url"] = read_address(address)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"{APP_ENGINE_VARIABLE}: {error}") from None
    return {key: value for key, value in found.items() if value is not None}


def _apply_ephemeral(
    values: dict[str, Any], shown: Literal["flag", "variable"]
) -> dict[str, Any]:
    """Return the values with no store if nothing is to be kept."""
    if not values.get(EPHEMERAL.dest):
        return values
    if STORE.dest in values:
        raise UsageError(
            f"{getattr(STORE, shown)} and {getattr(EPHEMERAL, shown)} exclude each "
            "other: tasks are kept in a file or not at all."
        )
    return {**values, STORE.dest: None}


def _port_after(port: int) -> int:
    if port == HIGHEST_PORT:
        raise UsageError(f"There is no port after {port}. Set --http-port.")
    return port + 1 if port else 0
