"""Django tasks of two backends. Imported by a test, with TASKS in force."""

from __future__ import annotations

from cloudtask.framework import task
from tests.tasks import ran


@task
def mine(word: str = "") -> str:
    ran.append(("mine", word))
    return f"mine {word}"


@task(backend="vault")
def theirs(word: str = "") -> str:
    ran.append(("theirs", word))
    return f"theirs {word}"


@task(backend="vault")
def failing() -> None:
    ran.append(("failing",))
    raise ValueError("broken")


@task(backend="elsewhere")
def foreign() -> None:
    ran.append(("foreign",))


#: Where `theirs` was before it was renamed, and a second name for it.
former = theirs
#: A name that leads to it through the first backend.
disguised = object.__new__(type(theirs))
for _name in type(theirs).__dataclass_fields__:
    _value = "default" if _name == "backend" else getattr(theirs, _name)
    object.__setattr__(disguised, _name, _value)


def _renamed(word: str = "") -> None:
    ran.append(("renamed", word))


#: Its path does not lead to it.
renamed = task(backend="vault")(_renamed)
