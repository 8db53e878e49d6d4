"""
What proves where a dispatch comes from.

A credential knows whether the settings ask for it, and whether one that was
sent holds.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from cloudtask.auth.signing import open_header
from cloudtask.exceptions import InvalidCredentials
from cloudtask.wire.headers import BACKEND_HEADER, SECRET_HEADER, SIGNATURE_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloudtask.auth.signing import SignedTask
    from cloudtask.conf import Settings

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


def remove_signature(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    """The META of a request that came with another body than was signed."""
    return {**meta, SIGNATURE_KEY: _ANOTHER_BODYS}
