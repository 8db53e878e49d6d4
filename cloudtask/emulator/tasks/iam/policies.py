"""
IAM policies of queues, which the emulator keeps but does not enforce.

Messages are google.iam.v1.Policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.iam.v1 import policy_pb2

from cloudtask.emulator.tasks import refusals
from cloudtask.emulator.values import errors, fields
from cloudtask.emulator.values.errors import invalid_argument

if TYPE_CHECKING:
    from collections.abc import Sequence

# Google's own etag of a policy that nobody has set.
_FIRST_ETAG = b"\x00\x20\x01"
_ETAG_SIZE = 8
_DEFAULT_MASK = ("bindings",)
_MAX_MEMBERS = 1500
_ALL_MEMBERS = frozenset({"allUsers", "allAuthenticatedUsers"})
# The version of policies with conditions; no other may have them.
_CONDITIONAL = 3
_VERSIONS = frozenset({0, 1, _CONDITIONAL})

_Policy: Any = policy_pb2.Policy


def parse_policy(serialized: bytes) -> Any:
    """Return a stored policy, the empty one if nothing is stored."""
    policy = _Policy.FromString(serialized)
    policy.etag = policy.etag or _FIRST_ETAG
    return policy


def apply_update(stored: Any, policy: Any, paths: Sequence[str]) -> Any:
    """
    Return the policy after a SetIamPolicy.

    Args:
        stored: The policy so far.
        policy: The one of the request. Its etag, unless empty, has to be that
            of `stored`.
        paths: What to replace; nothing means the bindings.

    Raises:
        ApiError: The etag is an older one, or something is not valid.
    """
    if policy.etag and policy.etag != stored.etag:
        raise refusals.stale_policy()
    _check(policy)
    result = _Policy()
    result.CopyFrom(stored)
    for path in paths or _DEFAULT_MASK:
        fields.replace(result, policy, path)
    has_conditions = any(b.HasField("condition") for b in result.bindings)
    result.version = _CONDITIONAL if has_conditions else 1
    result.etag = _next_etag(stored.etag)
    return result


def check_permissions(permissions: Sequence[str]) -> list[str]:
    """
    Return which permissions a caller has: all, nobody is kept out here.

    Raises:
        ApiError: One has a wildcard.
    """
    for permission in permissions:
        if not permission or "*" in permission:  # Unconfirmed wording.
            raise invalid_argument(
                f"Permission {errors.quote(permission)} is not valid."
            )
    return list(permissions)


def _next_etag(etag: bytes) -> bytes:
    return (int.from_bytes(etag, "big") + 1).to_bytes(_ETAG_SIZE, "big")


# The wordings are ours.
def _check(policy: Any) -> None:
    if policy.version not in _VERSIONS:
        raise invalid_argument("Policy.version must be 0, 1 or 3.")
    for binding in policy.bindings:
        _check_binding(binding)
        if binding.HasField("condition") and policy.version != _CONDITIONAL:
            raise invalid_argument("Policy.version must be 3 for conditions.")
    if sum(len(binding.members) for binding in policy.bindings) > _MAX_MEMBERS:
        raise invalid_argument(f"A policy can have at most {_MAX_MEMBERS} members.")


def _check_binding(binding: Any) -> None:
    if "roles/" not in binding.role:
        raise invalid_argument(f"Role {errors.quote(binding.role)} is not valid.")
    if not binding.members:
        raise invalid_argument("Binding.members cannot be empty.")
    for member in binding.members:
        kind, _, name = member.partition(":")
        if member not in _ALL_MEMBERS and not (kind and name):
            raise invalid_argument(f"Member {errors.quote(member)} is not valid.")
