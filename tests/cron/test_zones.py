from __future__ import annotations

import sys
import zoneinfo
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtask.cron import InvalidZone, find_zone, zones

#: A zone of one type, with no offset.
UTC_FILE = (
    b"TZif1"
    + bytes(15)
    + bytes.fromhex(
        "00000000 00000000 00000000 00000000 00000001 0000000400000000 00 00 55544300"
    )
)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where zones are looked for; there are none yet."""

    class Uncached(zoneinfo.ZoneInfo):
        """Has a cache of its own, so that all others keep theirs."""

    monkeypatch.setattr(zones, "ZoneInfo", Uncached)
    zoneinfo.reset_tzpath([tmp_path])
    yield tmp_path
    zoneinfo.reset_tzpath()


@pytest.mark.parametrize(
    "name",
    [
        "Europe/Berlin",
        "America/Argentina/Buenos_Aires",
        "America/Port-au-Prince",
        "Etc/GMT+5",
        "UTC",
        "EST5EDT",
    ],
)
def test_a_name_of_the_tz_database_is_found(name: str) -> None:
    assert find_zone(name).key == name
    assert find_zone(name) is find_zone(name)
    assert find_zone(name) is zoneinfo.ZoneInfo(name)


@pytest.mark.parametrize("name", ["", "utc", "UTC"])
def test_an_empty_name_is_utc(name: str) -> None:
    assert find_zone(name).key == "UTC"


@pytest.mark.parametrize(
    "name",
    [
        "Europe/Atlantis",
        "Berlin",
        "CEST",
        "+01:00",
        "UTC+1",
        " UTC",
        "UTC ",
        "UTC\n",
        "Europe/Berlin\0",
        "Europe",
        "Europe/",
        "/Europe/Berlin",
        "Europe//Berlin",
        "../zoneinfo/UTC",
        "Europe/../UTC",
        "./UTC",
        "/etc/passwd",
        "C:\\UTC",
        "tzdata.zi",
        "zone.tab",
        "posix/Europe/Berlin",
        "right/Europe/Berlin",
        "right/UTC",
        "posixrules",
        "localtime",
        "\uff35",
        "x" * 5000,
        "a/" * 5000,
        None,
        0,
        b"UTC",
        ["UTC"],
    ],
)
def test_another_name_is_refused(name: object) -> None:
    with pytest.raises(InvalidZone) as caught:
        find_zone(name)  # type: ignore[arg-type]

    assert str(caught.value) == (
        f"{name!r} is not a time zone. Write a name of the tz database, such as "
        "'Europe/Berlin' or 'UTC'."
    )
    assert isinstance(caught.value, ValueError)


def test_a_file_that_is_not_a_zone_is_refused(database: Path) -> None:
    (database / "UTC").write_bytes(UTC_FILE)
    (database / "leapseconds").write_text("Leap 1972 Jun 30 23:59:60 + S\n")

    assert find_zone("UTC").key == "UTC"
    with pytest.raises(InvalidZone, match=r"^'leapseconds' is not a time zone"):
        find_zone("leapseconds")


@pytest.mark.parametrize("name", ["", "UTC", "Europe/Berlin"])
def test_a_system_without_zones_is_told_to_install_them(
    database: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # The package may be installed, and loaded.
    loaded = [module for module in sys.modules if module.startswith("tzdata.")]
    for module in ["tzdata", *loaded]:
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(InvalidZone) as caught:
        find_zone(name)

    assert str(caught.value) == (
        "There is no tz database on this system. Install the package 'tzdata'."
    )
