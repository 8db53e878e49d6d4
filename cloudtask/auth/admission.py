"""
What lets a dispatch in: its credentials, and how many of them it takes.

A credential knows whether the settings ask for it, and whether one that was
sent holds.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from cloudtask.auth.signing import SignedTask, open_header
from cloudtask.exceptions import InvalidCredentials, MissingCredentials
from cloudtask.wire.headers import BACKEND_HEADER, SECRET_HEADER, SIGNATURE_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cloudtask.conf import Settings
    from cloudtask.wire.payload import Payload

#: Where META has headers.
BACKEND_KEY, SECRET_KEY, SIGNATURE_KEY = (
    "HTTP_" + header.upper().replace("-", "_")
    for header in (BACKEND_HEADER, SECRET_HEADER, SIGNATURE_HEADER)
)

#: In place of a signature that was found not to be the body's.
_ANOTHER_BODYS = "another body's"


class Credential(ABC):
    """One way to prove where a dispatch comes from."""

    name: ClassVar[str]  # What the log calls it.
    key: ClassVar[str]  # Where META has it.

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @abstractmethod
    def is_configured(self) -> bool:
        """Whether the settings know it."""

    def is_sent(self, meta: Mapping[str, Any]) -> bool:
        return self.key in meta

    @abstractmethod
    def check(self, meta: Mapping[str, Any]) -> SignedTask | None:
        """
        Refuse one that was sent, and does not hold.

        Returns:
            The task that it was made for, if for one.

        Raises:
            InvalidCredentials: It does not hold.
            KeysUnavailable: Nobody can tell now.
        """


class SecretCredential(Credential):
    name, key = "secret", SECRET_KEY

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._secrets = [secret.encode() for secret in settings.secrets()]

    def is_configured(self) -> bool:
        return bool(self._secrets)

    def check(self, meta: Mapping[str, Any]) -> None:
        sent = str(meta[SECRET_KEY]).encode("utf-8", "surrogatepass")
        # As bytes, and every one of them: the time tells nothing.
        matches = [hmac.compare_digest(sent, secret) for secret in self._secrets]
        if not any(matches):
            raise InvalidCredentials("the secret is another")


class SignatureCredential(Credential):
    name, key = "signature", SIGNATURE_KEY

    def is_configured(self) -> bool:
        return self._settings.sign

    def check(self, meta: Mapping[str, Any]) -> SignedTask | None:
        if not self._settings.sign:
            raise InvalidCredentials("a signature was sent, and SIGN is off")
        sent, backend = str(meta[SIGNATURE_KEY]), str(meta.get(BACKEND_KEY) or "")
        if sent == _ANOTHER_BODYS:
            raise InvalidCredentials(f"the signature is {sent}")
        return open_header(sent, backend, self._settings)


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


def without_signature(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """The META of a request that came with another body than was signed."""
    return {**meta, SIGNATURE_KEY: _ANOTHER_BODYS}
