"""Files that nobody but their owner can read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cloudtask.emulator.storage.errors import StoreError

_OTHERS = 0o077  # Permissions of everybody but the owner.


def make_private_file(path: Path) -> Path:
    """
    Return the file that a path leads to, and create it if there is none.

    A new file is readable by its owner alone.

    Raises:
        StoreError: It cannot be created.
    """
    try:
        file = Path(os.path.realpath(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"{path} cannot be created: {error.strerror}.") from error
    return file


def keep_private(file: Path) -> None:
    """
    Take the permissions on a store, and on what it left, from all others.

    Raises:
        StoreError: They cannot be changed.
    """
    # SQLite gives the files that it creates the permissions of the first.
    for ending in ("", "-wal", "-shm", "-journal"):
        each = file.with_name(file.name + ending)
        try:
            if each.stat().st_mode & _OTHERS:
                each.chmod(0o600)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(
                f"{each} is open to others, and that cannot be changed: "
                f"{error.strerror}. It holds a private key: give it to yourself alone, "
                "or use another file with --store."
            ) from error
