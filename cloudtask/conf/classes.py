"""Classes that settings name by their dotted paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from cloudtask.conf.settings import Settings

_Class = TypeVar("_Class")


def load_class(settings: Settings, key: str, base: type[_Class]) -> type[_Class]:
    """
    The class whose dotted path is the value of a setting.

    Raises:
        ConfigurationError: There is none, or it does not derive from `base`.
    """
    from django.utils.module_loading import import_string

    path = getattr(settings, key.lower())
    try:
        value = import_string(path)
    except (ImportError, TypeError, ValueError) as error:
        raise settings.error(key, f"{error}.") from error
    if not (isinstance(value, type) and issubclass(value, base)):
        raise settings.error(key, f"{path!r} is not a subclass of {base.__name__}.")
    return value
