from typing import Any

import pytest
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.rpc import code_pb2

from cloudtask.emulator.tasks.engine.engine import Engine
from cloudtask.emulator.tasks.iam import policies
from cloudtask.emulator.tasks.iam.calls import CALLS
from cloudtask.emulator.values.errors import ApiError
from tests.emulator.samples import NOW, PARENT, QUEUE, queue

Policy = policy_pb2.Policy
NOBODY = policies.parse_policy(b"")
ENQUEUERS = {"role": "roles/cloudtasks.enqueuer", "members": ["user:a@example.com"]}
VIEWERS = {"role": "projects/p/roles/viewers", "members": ["allUsers", "domain:a.com"]}
CONDITIONAL = {**ENQUEUERS, "condition": {"expression": "true"}}


def policy(*bindings: dict[str, Any], **values: Any) -> Any:
    return Policy(bindings=bindings, **values)


def refusal(call: Any) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        call()
    return caught.value.code, caught.value.message


def test_a_queue_without_a_policy_has_an_empty_one_with_an_etag() -> None:
    assert Policy(etag=NOBODY.etag) == NOBODY
    assert NOBODY.etag


def test_a_policy_is_read_as_it_was_stored() -> None:
    stored = policies.apply_update(NOBODY, policy(ENQUEUERS), [])

    assert policies.parse_policy(stored.SerializeToString()) == stored


def test_bindings_are_replaced_and_each_change_has_its_etag() -> None:
    first = policies.apply_update(NOBODY, policy(ENQUEUERS, etag=NOBODY.etag), [])
    second = policies.apply_update(first, policy(VIEWERS, etag=first.etag), [])
    third = policies.apply_update(second, policy(ENQUEUERS), [])  # Without looking.

    assert first.bindings[0] == policy_pb2.Binding(**ENQUEUERS)
    assert list(second.bindings) == [policy_pb2.Binding(**VIEWERS)]
    assert third.bindings == first.bindings
    assert len({NOBODY.etag, first.etag, second.etag, third.etag}) == 4
    assert first.version == 1


def test_an_etag_of_an_older_policy_is_refused() -> None:
    current = policies.apply_update(NOBODY, policy(ENQUEUERS), [])
    late = policy(VIEWERS, etag=NOBODY.etag)

    assert refusal(lambda: policies.apply_update(current, late, [])) == (
        code_pb2.ABORTED,
        "There were concurrent policy changes. "
        "Please retry the whole read-modify-write with exponential backoff.",
    )


def test_an_update_leaves_its_arguments_as_they_are() -> None:
    stored, asked = policies.parse_policy(b""), policy(ENQUEUERS)

    policies.apply_update(stored, asked, [])

    assert stored == NOBODY
    assert asked == policy(ENQUEUERS)


def test_a_mask_says_what_is_replaced() -> None:
    audited = policy(ENQUEUERS, audit_configs=[{"service": "allServices"}])

    default = policies.apply_update(NOBODY, audited, [])
    masked = policies.apply_update(
        default, audited, ["auditConfigs", "etag", "version"]
    )
    emptied = policies.apply_update(masked, policy(), ["bindings"])

    assert not default.audit_configs
    assert masked.audit_configs == audited.audit_configs
    assert masked.bindings == audited.bindings
    assert not emptied.bindings
    assert emptied.audit_configs == audited.audit_configs


def test_a_policy_can_have_as_many_members_as_google_takes() -> None:
    crowded = policy({**ENQUEUERS, "members": ["allUsers"] * 1500})

    assert policies.apply_update(NOBODY, crowded, []).bindings == crowded.bindings


def test_conditions_make_it_a_policy_of_version_3() -> None:
    conditional = policies.apply_update(NOBODY, policy(CONDITIONAL, version=3), [])
    plain = policies.apply_update(conditional, policy(ENQUEUERS, version=1), [])

    assert (conditional.version, plain.version) == (3, 1)


@pytest.mark.parametrize(
    ("asked", "paths", "message"),
    [
        (policy(version=2), [], "Policy.version must be 0, 1 or 3."),
        (
            policy(CONDITIONAL, version=1),
            [],
            "Policy.version must be 3 for conditions.",
        ),
        (policy({"members": ["allUsers"]}), [], "Role '' is not valid."),
        (
            policy({"role": "viewer", "members": ["allUsers"]}),
            [],
            "Role 'viewer' is not valid.",
        ),
        (policy({"role": "roles/viewer"}), [], "Binding.members cannot be empty."),
        (
            policy({**ENQUEUERS, "members": ["a@example.com"]}),
            [],
            "Member 'a@example.com' is not valid.",
        ),
        (
            policy({**ENQUEUERS, "members": ["user:"]}),
            [],
            "Member 'user:' is not valid.",
        ),
        (
            policy({**ENQUEUERS, "members": ["allUsers"] * 1501}),
            [],
            "A policy can have at most 1500 members.",
        ),
        (policy(), ["roles"], "Invalid update mask: 'roles' is not a field."),
        (
            policy(),
            ["bindings.role"],
            "Invalid update mask: 'bindings.role' is not a field.",
        ),
    ],
)
def test_a_policy_that_is_not_valid_is_refused(
    asked: Any, paths: list[str], message: str
) -> None:
    assert refusal(lambda: policies.apply_update(NOBODY, asked, paths)) == (
        code_pb2.INVALID_ARGUMENT,
        message,
    )


def test_a_caller_has_every_permission() -> None:
    permissions = ["cloudtasks.tasks.create", "cloudtasks.queues.get"]

    assert policies.check_permissions(permissions) == permissions
    assert policies.check_permissions([]) == []


@pytest.mark.parametrize("permission", ["*", "cloudtasks.*", ""])
def test_permissions_with_wildcards_are_refused(permission: str) -> None:
    assert refusal(
        lambda: policies.check_permissions(["cloudtasks.queues.get", permission])
    ) == (
        code_pb2.INVALID_ARGUMENT,
        f"Permission {permission!r} is not valid.",
    )


def call(engine: Engine, method: str, **fields: Any) -> Any:
    """Carry out a call about the policy of a queue."""
    request = getattr(iam_policy_pb2, f"{method}Request")(**fields)
    return CALLS[method](engine, request, NOW)


def test_a_policy_is_empty_until_it_is_set(engine: Engine) -> None:
    assert list(call(engine, "GetIamPolicy", resource=QUEUE).bindings) == []
    policy = policy_pb2.Policy()
    policy.bindings.add(role="roles/viewer", members=["user:a@b.example"])

    kept = call(engine, "SetIamPolicy", resource=QUEUE, policy=policy)

    assert call(engine, "GetIamPolicy", resource=QUEUE) == kept
    assert list(kept.bindings) == list(policy.bindings)
    policy.etag = b"an older one"
    with pytest.raises(ApiError, match="concurrent policy changes"):
        call(engine, "SetIamPolicy", resource=QUEUE, policy=policy)


def test_everybody_may_do_everything_with_a_queue_that_is_there(
    engine: Engine,
) -> None:
    def test(path: str) -> list[str]:
        request = {"resource": path, "permissions": permissions}
        return list(call(engine, "TestIamPermissions", **request).permissions)

    permissions = ["cloudtasks.tasks.create"]

    assert test(QUEUE) == permissions
    assert test(f"{QUEUE}-2") == []
    with pytest.raises(ApiError, match="Queue name must be"):
        test("other")


@pytest.mark.parametrize("method", ["GetIamPolicy", "SetIamPolicy"])
@pytest.mark.parametrize("deleted", [False, True])
def test_a_policy_needs_a_queue(engine: Engine, method: str, deleted: bool) -> None:
    other = f"{QUEUE}-2"
    if deleted:
        engine.queues.create(PARENT, queue(other), NOW)
        engine.queues.delete(other, NOW)

    with pytest.raises(ApiError, match="Queue does not exist"):
        call(engine, method, resource=other)
    with pytest.raises(ApiError, match="Queue name must be f"):
        call(engine, method, resource="o")
