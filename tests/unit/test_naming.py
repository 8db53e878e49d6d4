from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtask.exceptions import InvalidTask
from cloudtask.wire import naming

#: What Cloud Tasks takes as a task id.
TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,500}")
KEYS = st.from_regex(rf"[A-Za-z0-9_-]{{1,{naming.MAX_KEY_LENGTH}}}", fullmatch=True)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("default", True),
        ("e-Mails-2", True),
        ("q" * 100, True),
        ("q" * 101, False),
        ("", False),
        ("e_mails", False),  # Unlike in a task id.
        ("e mails", False),
        ("émails", False),
        ("emails\n", False),
        ("projects/p/locations/l/queues/q", False),
    ],
)
def test_a_queue_name_has_letters_digits_and_hyphens(name: str, valid: bool) -> None:
    assert naming.is_queue_name(name) is valid


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("my-project", True),
        ("example.com:shop", True),  # Of a domain.
        ("shop/x", False),
        ("", False),
        ("shop\n", False),
        ("p" * 101, False),
    ],
)
def test_a_project_is_an_id(name: str, valid: bool) -> None:
    assert naming.is_project(name) is valid


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("europe-west1", True),
        ("europe-west1\n", False),
        ("Europe-West1", False),
        ("europe/west1", False),
        ("", False),
        ("l" * 64, False),
    ],
)
def test_a_location_is_a_region(name: str, valid: bool) -> None:
    assert naming.is_location(name) is valid


def test_a_queue_path_is_a_resource_name() -> None:
    path = naming.make_queue_path("shop", "europe-west1", "emails")

    assert path == "projects/shop/locations/europe-west1/queues/emails"


def test_a_task_id_has_its_hash_in_front() -> None:
    # Pinned: another hash would let a duplicate in during a deployment.
    assert naming.make_task_id("shop.tasks.add") == "cf376a08c1b6a7ad-shop-tasks-add"
    assert (
        naming.make_task_id("shop.tasks.add", "order-7") == "d280b52527265f50-order-7"
    )


def test_equal_keys_of_two_tasks_do_not_meet() -> None:
    # Two functions of one name, which peers take for one.
    assert naming.make_task_id("shop.tasks.clean") != naming.make_task_id(
        "news.tasks.clean"
    )
    assert naming.make_task_id("shop.tasks.clean", "k") != naming.make_task_id(
        "news.tasks", "k"
    )
    assert naming.make_task_id("shop.tasks", "clean") != naming.make_task_id(
        "shop.tasks.clean"
    )


@given(st.text(max_size=600), st.none() | KEYS)
def test_every_task_id_is_one_that_cloud_tasks_takes(
    path: str, key: str | None
) -> None:
    assert TASK_ID.fullmatch(naming.make_task_id(path, key))


@given(st.tuples(KEYS, KEYS))
def test_two_keys_make_two_ids(keys: tuple[str, str]) -> None:
    first, second = (naming.make_task_id("shop.tasks.add", key) for key in keys)

    assert (first == second) is (keys[0] == keys[1])


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a b",
        "a/b",
        "ä",
        "a\n",
        "k" * (naming.MAX_KEY_LENGTH + 1),
        7,  # What a named= callable may return by mistake.
        None,
        b"k",
    ],
)
def test_a_key_with_other_characters_is_refused(key: object) -> None:
    with pytest.raises(InvalidTask) as caught:
        naming.check_key("shop.tasks.add", key)

    assert str(caught.value) == (
        f"shop.tasks.add: the task id {key!r} must be 1 to 483 letters, digits, "
        "hyphens or underscores. Hash longer or other keys first."
    )


def test_a_wrong_key_makes_no_id() -> None:
    with pytest.raises(InvalidTask, match=r"the task id '' must be"):
        naming.make_task_id("shop.tasks.add", "")


def test_the_longest_key_makes_an_id_of_the_greatest_length() -> None:
    assert len(naming.make_task_id("p", "k" * naming.MAX_KEY_LENGTH)) == 500
