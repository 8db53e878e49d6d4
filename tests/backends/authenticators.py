"""A project's own ways to know who dispatches."""

from collections.abc import Mapping
from typing import Any

from cloudtask.auth import Authenticator
from cloudtask.conf import Settings
from cloudtask.exceptions import InvalidCredentials


class ByHeader(Authenticator):
    """Asks for a header."""

    def __init__(self, settings: Settings, name: str = "X-Door") -> None:
        super().__init__(settings)
        self._key = "HTTP_" + name.upper().replace("-", "_")

    def authenticate(self, meta: Mapping[str, Any]) -> None:
        if self._key not in meta:
            raise InvalidCredentials("no such header")


no_class = 5
