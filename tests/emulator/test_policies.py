from typing import Any

import pytest
from google.iam.v1 import policy_pb2
from google.rpc import code_pb2

from cloudtask.emulator.tasks.iam import policies
from cloudtask.emulator.values.errors import ApiError

Policy = policy_pb2.Policy
NOBODY = policies.parse(b"")
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
    stored = policies.updated(NOBODY, policy(ENQUEUERS), [])

    assert policies.parse(stored.SerializeToString()) == stored


def test_bindings_are_replaced_and_each_change_has_its_etag() -> None:
    first = policies.updated(NOBODY, policy(ENQUEUERS, etag=NOBODY.etag), [])
    second = policies.updated(first, policy(VIEWERS, etag=first.etag), [])
    third = policies.updated(second, policy(ENQUEUERS), [])  # Without looking.

    assert first.bindings[0] == policy_pb2.Binding(**ENQUEUERS)
    assert list(second.bindings) == [policy_pb2.Binding(**VIEWERS)]
    assert third.bindings == first.bindings
    assert len({NOBODY.etag, first.etag, second.etag, third.etag}) == 4
    assert first.version == 1


def test_an_etag_of_an_older_policy_is_refused() -> None:
    current = policies.updated(NOBODY, policy(ENQUEUERS), [])
    late = policy(VIEWERS, etag=NOBODY.etag)

    assert refusal(lambda: policies.updated(current, late, [])) == (
        code_pb2.ABORTED,
        "There were concurrent policy changes. "
        "Please retry the whole read-modify-write with exponential backoff.",
    )


def test_an_update_leaves_its_arguments_as_they_are() -> None:
    stored, asked = policies.parse(b""), policy(ENQUEUERS)

    policies.updated(stored, asked, [])

    assert stored == NOBODY
    assert asked == policy(ENQUEUERS)


def test_a_mask_says_what_is_replaced() -> None:
    audited = policy(ENQUEUERS, audit_configs=[{"service": "allServices"}])

    default = policies.updated(NOBODY, audited, [])
    masked = policies.updated(default, audited, ["auditConfigs", "etag", "version"])
    emptied = policies.updated(masked, policy(), ["bindings"])

    assert not default.audit_configs
    assert masked.audit_configs == audited.audit_configs
    assert masked.bindings == audited.bindings
    assert not emptied.bindings
    assert emptied.audit_configs == audited.audit_configs


def test_a_policy_can_have_as_many_members_as_google_takes() -> None:
    crowded = policy({**ENQUEUERS, "members": ["allUsers"] * 1500})

    assert policies.updated(NOBODY, crowded, []).bindings == crowded.bindings


def test_conditions_make_it_a_policy_of_version_3() -> None:
    conditional = policies.updated(NOBODY, policy(CONDITIONAL, version=3), [])
    plain = policies.updated(conditional, policy(ENQUEUERS, version=1), [])

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
    assert refusal(lambda: policies.updated(NOBODY, asked, paths)) == (
        code_pb2.INVALID_ARGUMENT,
        message,
    )


def test_a_caller_has_every_permission() -> None:
    permissions = ["cloudtasks.tasks.create", "cloudtasks.queues.get"]

    assert policies.testable(permissions) == permissions
    assert policies.testable([]) == []


@pytest.mark.parametrize("permission", ["*", "cloudtasks.*", ""])
def test_permissions_with_wildcards_are_refused(permission: str) -> None:
    assert refusal(
        lambda: policies.testable(["cloudtasks.queues.get", permission])
    ) == (
        code_pb2.INVALID_ARGUMENT,
        f"Permission {permission!r} is not valid.",
    )
