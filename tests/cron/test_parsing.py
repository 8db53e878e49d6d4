"""What Cloud Scheduler documents is read, and everything else is refused."""

from __future__ import annotations

import dataclasses

import pytest

from cloudtask.cron import Cron, InvalidCron
from tests.fresh import run_fresh

EVERY_MINUTE = tuple(range(60))
EVERY_HOUR = tuple(range(24))
EVERY_DAY = tuple(range(1, 32))
EVERY_MONTH = tuple(range(1, 13))
EVERY_WEEKDAY = (0, 1, 2, 3, 4, 5, 6)


def fields(cron: Cron) -> tuple[tuple[int, ...], ...]:
    return (cron.minutes, cron.hours, cron.days, cron.months, cron.weekdays)


def test_all_stars_are_all_values() -> None:
    cron = Cron.parse("* * * * *")

    assert fields(cron) == (
        EVERY_MINUTE,
        EVERY_HOUR,
        EVERY_DAY,
        EVERY_MONTH,
        EVERY_WEEKDAY,
    )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0", (0,)),
        ("59", (59,)),
        ("07", (7,)),
        ("5,10,15", (5, 10, 15)),
        ("15,5,10,5", (5, 10, 15)),
        ("10-13", (10, 11, 12, 13)),
        ("10-10", (10,)),
        ("0-59", EVERY_MINUTE),
        ("*/1", EVERY_MINUTE),
        ("*/15", (0, 15, 30, 45)),
        ("*/25", (0, 25, 50)),
        ("*/59", (0, 59)),
        ("10-30/10", (10, 20, 30)),
        ("10-29/10", (10, 20)),
        ("10-30/20", (10, 30)),
        ("1,5-7,40-50/5", (1, 5, 6, 7, 40, 45, 50)),
        ("*/30,7", (0, 7, 30)),
        ("3-5,4-6", (3, 4, 5, 6)),
    ],
)
def test_a_minute_has_every_form_of_numbers(text: str, values: tuple[int, ...]) -> None:
    cron = Cron.parse(f"{text} * * * *")

    assert cron.minutes == values
    assert fields(cron)[1:] == (EVERY_HOUR, EVERY_DAY, EVERY_MONTH, EVERY_WEEKDAY)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0 0 1 1 0", ((0,), (0,), (1,), (1,), (0,))),
        ("59 23 31 12 6", ((59,), (23,), (31,), (12,), (6,))),
        ("0 9 * JAN MON", ((0,), (9,), EVERY_DAY, (1,), (1,))),
        ("30 2 14 3 *", ((30,), (2,), (14,), (3,), EVERY_WEEKDAY)),
        ("0 */6 * * *", ((0,), (0, 6, 12, 18), EVERY_DAY, EVERY_MONTH, EVERY_WEEKDAY)),
        ("0 0 */10 * *", ((0,), (0,), (1, 11, 21, 31), EVERY_MONTH, EVERY_WEEKDAY)),
        ("0 0 1 */3 *", ((0,), (0,), (1,), (1, 4, 7, 10), EVERY_WEEKDAY)),
    ],
)
def test_each_field_is_in_its_place(
    text: str, values: tuple[tuple[int, ...], ...]
) -> None:
    assert fields(Cron.parse(text)) == values


@pytest.mark.parametrize(
    ("text", "weekdays"),
    [
        ("0", (0,)),
        ("7", (0,)),
        ("0,7", (0,)),
        ("SUN", (0,)),
        ("sat", (6,)),
        ("5-7", (0, 5, 6)),
        ("0-7", EVERY_WEEKDAY),
        ("1-5", (1, 2, 3, 4, 5)),
        ("MON-FRI", (1, 2, 3, 4, 5)),
        ("Mon-5", (1, 2, 3, 4, 5)),
        ("MON-FRI/2", (1, 3, 5)),
        ("TUE,thu", (2, 4)),
        ("*/2", (0, 2, 4, 6)),
        ("1-7/3", (0, 1, 4)),
        ("SUN,MON,TUE,WED,THU,FRI,SAT", EVERY_WEEKDAY),
    ],
)
def test_a_day_of_the_week_has_names_and_sunday_twice(
    text: str, weekdays: tuple[int, ...]
) -> None:
    assert Cron.parse(f"0 0 * * {text}").weekdays == weekdays


@pytest.mark.parametrize(
    ("text", "months"),
    [
        ("JAN,FEB,MAR,APR,MAY,JUN,JUL,AUG,SEP,OCT,NOV,DEC", EVERY_MONTH),
        ("jan-Mar", (1, 2, 3)),
        ("Oct-12", (10, 11, 12)),
        ("FEB-DEC/5", (2, 7, 12)),
    ],
)
def test_a_month_has_names(text: str, months: tuple[int, ...]) -> None:
    assert Cron.parse(f"0 0 * {text} *").months == months


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("*/5 * * * *", "*/5 * * * *"),
        ("  0\t9  *\r\n jan   mon-Fri \n", "0 9 * JAN MON-FRI"),
        ("00 09 1,1 * 7", "00 09 1,1 * 7"),
    ],
)
def test_the_text_is_kept_with_single_blanks_and_upper_case(
    text: str, normal: str
) -> None:
    cron = Cron.parse(text)

    assert (cron.text, str(cron)) == (normal, normal)
    assert Cron.parse(normal) == cron
    assert hash(Cron.parse(normal)) == hash(cron)


def test_a_cron_is_a_value() -> None:
    cron = Cron.parse("0 9 * * *")

    assert cron != Cron.parse("0 8 * * *")
    with pytest.raises(dataclasses.FrozenInstanceError):
        cron.text = "* * * * *"  # type: ignore[misc]


# What is refused


@pytest.mark.parametrize(
    ("text", "position"),
    [
        # Not five fields.
        ("", 0),
        ("   ", 3),
        ("*", 1),
        ("0 9 * *", 7),
        ("0 9 * * ", 8),
        ("0 0 0 1 4 *", 10),
        ("0 0 9 * * MON 2026", 10),
        ("@daily", 0),
        (" @hourly", 1),
        ("@every 5m", 0),
        ("every 5 minutes", 15),
        # Not of unix cron.
        ("5/15 * * * *", 0),
        ("0 0 L * *", 4),
        ("0 0 5W * *", 4),
        ("0 0 * * 5L", 8),
        ("0 0 * * 5#2", 8),
        ("0 0 ? * *", 4),
        ("0 0 * * ?", 8),
        ("H * * * *", 0),
        ("~ * * * *", 0),
        ("0-59~2 * * * *", 2),
        # Out of the field's range.
        ("60 * * * *", 0),
        ("100 * * * *", 0),
        ("007 * * * *", 0),
        ("* 24 * * *", 2),
        ("* * 0 * *", 4),
        ("* * 32 * *", 4),
        ("* * * 0 *", 6),
        ("* * * 13 *", 6),
        ("* * * * 8", 8),
        ("* 20-24 * * *", 5),
        ("1,2,60 * * * *", 4),
        # Steps.
        ("*/0 * * * *", 2),
        ("*/00 * * * *", 2),
        ("*/60 * * * *", 2),
        ("* */24 * * *", 4),
        ("* * */31 * *", 6),
        ("* * * */12 *", 8),
        ("* * * * */7", 10),
        ("10-20/11 * * * *", 6),
        ("10-10/1 * * * *", 6),
        ("*/ * * * *", 2),
        ("*/-1 * * * *", 2),
        ("*/1.5 * * * *", 2),
        ("*/5/5 * * * *", 2),
        ("* * * * MON/2", 8),
        ("* * * * */MON", 10),
        ("/5 * * * *", 0),
        # Ranges.
        ("10-5 * * * *", 0),
        ("* * * * FRI-SUN", 8),
        ("* * * * 7-1", 8),
        ("* * * NOV-FEB *", 6),
        ("1,9-7 * * * *", 2),
        ("-5 * * * *", 0),
        ("5- * * * *", 2),
        ("1-2-3 * * * *", 2),
        ("*-5 * * * *", 0),
        # Lists.
        (", * * * *", 0),
        ("1, * * * *", 2),
        ("1,,2 * * * *", 2),
        (",1 * * * *", 0),
        ("*,5 * * * *", 0),
        ("* * 1,* * *", 6),
        ("1, 2 * * * *", 11),
        # Names where they do not belong, or that are none.
        ("MON * * * *", 0),
        ("* JAN * * *", 2),
        ("* * MON * *", 4),
        ("* * * MON *", 6),
        ("* * * * JAN", 8),
        ("* * * * MONDAY", 8),
        ("* * * * TUE-THUR", 12),
        # Digits and letters of other alphabets, and signs that int() reads.
        ("\u0663 * * * *", 0),
        ("\uff15 * * * *", 0),
        ("\u00b2 * * * *", 0),
        ("1_0 * * * *", 0),
        ("+5 * * * *", 0),
        ("1e1 * * * *", 0),
        ("* * * * \u017fun", 8),
        ("* * * * \uff2d\uff2f\uff2e", 8),
        ("0\N{NO-BREAK SPACE}9 * * * *", 0),
        ("0\v9 * * * *", 0),
        ("0 9 * * *\0", 8),
        ("0 9 * * * # daily", 10),
        # No date matches.
        ("0 0 31 2 *", 4),
        ("0 0 30 2 *", 4),
        ("0 0 30,31 FEB *", 4),
        ("  0 0 30-31 2 *", 6),
        ("0 0 31 2,4,6,9,11 *", 4),
    ],
)
def test_what_is_not_documented_is_refused_where_it_stands(
    text: str, position: int
) -> None:
    with pytest.raises(InvalidCron) as caught:
        Cron.parse(text)

    assert (caught.value.text, caught.value.position) == (text, position)
    assert f"at position {position}" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "0 0 29 2 *",
        "0 0 30 2,4 *",
        "0 0 31 1 *",
        "0 0 28-31 2 *",
        # The day of the week matches.
        "0 0 31 2 MON",
        "0 0 31 2 0-6",
        "0 0 */2 2 *",
    ],
)
def test_what_matches_some_date_is_accepted(text: str) -> None:
    assert Cron.parse(text).text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0 9 * *",
            "The cron '0 9 * *' ends after 4 of its five fields at position 7. Write "
            "minute, hour, day of month, month, day of week.",
        ),
        (
            "0 0 0 1 4 *",
            "The cron '0 0 0 1 4 *' has a sixth field at position 10. Write minute, "
            "hour, day of month, month, day of week.",
        ),
        (
            "@daily",
            "The cron '@daily' is an alias at position 0. Write minute, hour, day of "
            "month, month, day of week.",
        ),
        (
            "5/15 * * * *",
            "The minute '5/15' at position 0 of the cron '5/15 * * * *' has a step "
            "without a range. Write '5-59/15' or '*/15'.",
        ),
        (
            "0 0 L * *",
            "The day of month 'L' at position 4 of the cron '0 0 L * *' is not one of "
            "its values. Write 1 to 31.",
        ),
        (
            "0 0 * MON *",
            "The month 'MON' at position 6 of the cron '0 0 * MON *' is not one of its "
            "values. Write 1 to 12, or JAN to DEC.",
        ),
        (
            "0 0 * * 8",
            "The day of week '8' at position 8 of the cron '0 0 * * 8' is not one of "
            "its values. Write 0 to 7, or SUN to SAT.",
        ),
        (
            "* */24 * * *",
            "The hour '24' at position 4 of the cron '* */24 * * *' is not a step "
            "within the range. Write 1 to 23.",
        ),
        (
            "5-5/2 * * * *",
            "The minute '2' at position 4 of the cron '5-5/2 * * * *' is a step in a "
            "range of one value. Leave out the step.",
        ),
        (
            "0 0 * * FRI-SUN",
            "The day of week 'FRI-SUN' at position 8 of the cron '0 0 * * FRI-SUN' is "
            "a range that ends before it begins. Write a list, such as "
            "'FRI-6,0-SUN'.",
        ),
        (
            "1,,2 * * * *",
            "The minute '' at position 2 of the cron '1,,2 * * * *' is empty. Write 0 "
            "to 59.",
        ),
        (
            "*,5 * * * *",
            "The minute '*' at position 0 of the cron '*,5 * * * *' is in a list. "
            "Write '*' alone.",
        ),
        (
            "0 0 31 2 *",
            "The day of month '31' at position 4 of the cron '0 0 31 2 *' is in none "
            "of the months. Write another day.",
        ),
    ],
)
def test_the_message_says_what_is_wrong_and_what_to_write(
    text: str, message: str
) -> None:
    with pytest.raises(InvalidCron) as caught:
        Cron.parse(text)

    assert str(caught.value) == message


def test_the_message_of_a_long_text_is_short() -> None:
    text = f"{'1,' * 10_000}x * * * *"

    with pytest.raises(InvalidCron) as caught:
        Cron.parse(text)

    assert (caught.value.text, caught.value.position) == (text, 20_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [None, 5, b"* * * * *", ["*"] * 5])
def test_what_is_not_a_text_is_refused(value: object) -> None:
    with pytest.raises(InvalidCron) as caught:
        Cron.parse(value)  # type: ignore[arg-type]

    assert str(caught.value) == (
        f"A cron must be a text of five fields, not {value!r}."
    )
    assert (caught.value.text, caught.value.position) == (repr(value), 0)
    assert isinstance(caught.value, ValueError)


def test_nothing_else_is_loaded() -> None:
    modules = run_fresh(
        "import json, sys, cloudtask.cron; print(json.dumps([*sys.modules]))"
    )

    ours = {name for name in modules if name.startswith("cloudtask")}
    assert "cloudtask.cron.crons" in ours
    assert {each for each in ours if not each.startswith("cloudtask.cron")} == {
        "cloudtask"
    }
    assert "django" not in modules
