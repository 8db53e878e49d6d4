"""
Every key of CLOUDTASK: one row for each.

The rows of an optional app are in a module of the app. It is loaded with the
first key that is not the core's, whether the app is installed or not: a key
means the same in settings with the app and in settings without it.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from cloudtask.conf.queues import (
    check_priority_queues,
    check_queue_aliases,
    check_queue_name,
    check_queues,
    check_retry,
)
from cloudtask.conf.rows import Row
from cloudtask.conf.values import (
    accept_anything,
    check_address,
    check_audiences,
    check_auth,
    check_boolean,
    check_deadline,
    check_each,
    check_email,
    check_keys,
    check_name,
    check_params,
    check_secret,
    check_text,
    check_timeout,
    check_url,
)
from cloudtask.wire import naming

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Modules of optional apps that have rows: a mapping ROWS of their keys.
_OPTIONAL = ("cloudtask.results.settings", "cloudtask.schedules.settings")

CORE_ROWS: Mapping[str, Row] = {
    "PROJECT": Row(
        check=check_name("project id", naming.is_project),
        example="the project's id, as in 'my-project',",
        peers=("CLOUD_TASKS_PROJECT", "PROJECT_ID"),
    ),
    "LOCATION": Row(
        check=check_name("region, as in 'europe-west1'", naming.is_location),
        example="the queues' region, as in 'europe-west1',",
        peers=("CLOUD_TASKS_LOCATION",),
    ),
    "SAE": Row(
        check=check_email,
        peers=("OIDC_SERVICE_ACCOUNT", "OIDC_SERVICE_ACCOUNT_EMAIL"),
    ),
    "URL": Row(
        check=check_url,
        example="the dispatch view's URL, as in 'https://shop.example/_tasks/',",
        peers=(
            *("BASE_URL", "DEFAULT_TARGET", "EXECUTE_URL"),
            *("TASK_HANDLER_HOST", "TASK_HANDLER_PATH"),
        ),
    ),
    "QUEUE": Row(
        check=check_queue_name,
        project_wide="a Django task always names its queue. Map it with QUEUE_ALIASES.",
        example="the default queue's name, as in 'default', or pass queue=,",
    ),
    # A former secret opens nothing that has its own.
    "SECRET": Row(check=check_secret, owns=("SECRET_FALLBACKS", "SIGN_KEYS")),
    "SECRET_FALLBACKS": Row(check=check_each(check_secret)),
    "SIGN": Row(check=check_boolean),
    "SIGN_KEYS": Row(check=check_keys, owns=("SIGN",)),
    "AUDIENCE": Row(check=check_audiences, peers=("OIDC_AUDIENCE",)),
    "AUTH": Row(check=check_auth, owns=("AUTH_PARAMS",), peers=("VIEW_AUTHN",)),
    "AUTH_PARAMS": Row(check=check_params, peers=("VIEW_AUTHN_PARAMS",)),
    "ACCEPTS_TASKS_OF": Row(check=check_each(check_text)),
    "CREDENTIALS": Row(check=accept_anything),
    # No key of another emulator is trusted.
    "EMULATOR_HOST": Row(check=check_address, owns=("EMULATOR_HTTP_HOST",)),
    "EMULATOR_HTTP_HOST": Row(check=check_address),
    "ON_COMMIT": Row(check=check_boolean, peers=("ENQUEUE_ON_COMMIT",)),
    "DEADLINE": Row(check=check_deadline),
    "RETRY": Row(check=check_retry, owns=("RUN_ONCE",)),
    "RUN_ONCE": Row(check=check_boolean),
    "PRIORITY_QUEUES": Row(check=check_priority_queues),
    "QUEUE_ALIASES": Row(check=check_queue_aliases),
    "QUEUES": Row(check=check_queues),
    "TRANSPORT": Row(check=check_text),
    "RPC_TIMEOUT": Row(check=check_timeout),
    "IMPORTS": Row(
        check=check_each(check_text),
        project_wide="tasks are found once for all backends.",
    ),
}


@cache
def get_all_rows() -> Mapping[str, Row]:
    """The core's rows, and those of the optional apps."""
    rows = dict(CORE_ROWS)
    for module in _OPTIONAL:
        rows |= import_module(module).ROWS
    return rows
