"""What lets a dispatch in: how many credentials, and for which task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtask.exceptions import InvalidCredentials, MissingCredentials

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloudtask.auth.credentials import Credential
    from cloudtask.auth.signing import SignedTask
    from cloudtask.wire.payload import Payload


class Admission(NamedTuple):
    """That a request was let in, and with which task it may come."""

    signed: SignedTask | None = None  # None does not tie it to one.

    def check_payload(self, payload: Payload) -> None:
        """
        Refuse the task of another signature.

        Raises:
            InvalidCredentials: It is not the one that was signed.
        """
        if self.signed is not None and not self.signed.is_of(payload):
            raise InvalidCredentials("the signature is another task's")

    def allows(self, body: bytes) -> bool:
        """Whether it may come with this body."""
        return self.signed is None or self.signed.has_body(body)


def check_any(
    credentials: Sequence[Credential], meta: Mapping[str, Any]
) -> SignedTask | None:
    """Let in who has sent one credential that holds."""
    problems = []
    for credential in credentials:
        if credential.is_sent(meta):
            try:
                return credential.check(meta)
            except InvalidCredentials as error:
                problems.append(str(error))
    if problems:
        raise InvalidCredentials("; ".join(problems))
    raise MissingCredentials("neither a secret nor a signature nor a token was sent")


def check_all(
    credentials: Sequence[Credential], meta: Mapping[str, Any]
) -> SignedTask | None:
    """Let in who has sent all that is configured."""
    checked, signed = False, None
    for credential in credentials:
        # One after the other: what may have to wait is asked for nobody who
        # lacks another credential.
        if credential.is_configured():
            if not credential.is_sent(meta):
                raise MissingCredentials(f"no {credential.name} was sent")
            signed = credential.check(meta) or signed
            checked = True
    if not checked:
        raise MissingCredentials("neither SECRET nor SAE is set, and SIGN is off")
    return signed
