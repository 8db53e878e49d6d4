"""
The CLOUDTASK setting.

    CLOUDTASK = {"PROJECT": "shop", "LOCATION": "europe-west1", ...}

`get_settings()` is the one way to read it, and `get_backend_settings()` for
what a task backend's OPTIONS change. Both follow `override_settings`. What a
key may be is one row of `table`. What Google Cloud says of this place, and the
clock, are here as well, since they stand in for what a project could say.
What is done with a setting is not: that belongs to whoever uses it.
"""

from __future__ import annotations

from cloudtask.conf.classes import load_class
from cloudtask.conf.current import (
    OncePerSettings,
    get_backend_settings,
    get_settings,
)
from cloudtask.conf.settings import (
    EMULATOR_VARIABLE,
    GOOGLE_TRANSPORT,
    Settings,
)

__all__ = [
    "EMULATOR_VARIABLE",
    "GOOGLE_TRANSPORT",
    "OncePerSettings",
    "Settings",
    "get_backend_settings",
    "get_settings",
    "load_class",
]
