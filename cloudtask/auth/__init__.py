"""
Who may dispatch: who has the secret, a task's signature, or a token that
Google signed.

Here are the credentials, the keys that prove them, and how many of them AUTH
asks for. Whatever is wrong with a credential is the same refusal. What a
request is answered belongs to the view, and which backends share credentials
to `backends`.
"""

from __future__ import annotations

from cloudtask.auth.authenticator import (
    Authenticator,
    authenticate,
    make_authenticator,
    recognise,
)
from cloudtask.auth.keys import forget_keys

__all__ = [
    "Authenticator",
    "authenticate",
    "forget_keys",
    "make_authenticator",
    "recognise",
]
