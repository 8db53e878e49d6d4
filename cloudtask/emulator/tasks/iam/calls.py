"""Calls about the policies of queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.iam.v1 import iam_policy_pb2

from cloudtask.emulator.tasks.iam import policies

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloudtask.emulator.tasks.engine.engine import Engine


def _get_iam_policy(engine: Engine, request: Any, now: int) -> Any:
    return _stored_policy(engine, request.resource)


def _set_iam_policy(engine: Engine, request: Any, now: int) -> Any:
    path = request.resource
    policy = policies.apply_update(
        _stored_policy(engine, path), request.policy, request.update_mask.paths
    )
    engine.store.queues.keep_policy(path, policy.SerializeToString())
    return policy


def _test_iam_permissions(engine: Engine, request: Any, now: int) -> Any:
    granted: list[str] = []
    # Without a queue nobody has any, which is not an error.
    if engine.queues.exists(request.resource):
        granted = policies.check_permissions(request.permissions)
    return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)


def _stored_policy(engine: Engine, path: str) -> Any:
    queue = engine.queues.get(path)
    return policies.parse_policy(engine.store.queues.policy(queue.name))


#: What carries out each method: given the engine, the request and `now`.
CALLS: dict[str, Callable[[Engine, Any, int], Any]] = {
    "GetIamPolicy": _get_iam_policy,
    "SetIamPolicy": _set_iam_policy,
    "TestIamPermissions": _test_iam_permissions,
}
