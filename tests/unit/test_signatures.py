"""Which functions can be tasks, and which arguments they take."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudtask.enqueue.signatures import Arguments
from cloudtask.exceptions import InvalidTask


def nothing(request: object) -> None: ...
def two(request: object, a: object, b: object) -> None: ...
def defaults(request: object, a: object, b: object = 1, c: object = 2) -> None: ...
def keyword_only(request: object, a: object, *, b: object, c: object = 1) -> None: ...
def positional_only(request: object, a: object, /, b: object = 1) -> None: ...
def all_positional(request: object, a: object, b: object = 1, /) -> None: ...
def keywords(request: object, a: object = 1, **rest: object) -> None: ...
def positions(request: object, a: object, *rest: object) -> None: ...
def anything(*args: object, **kwargs: object) -> None: ...
async def later(request: object, a: object, b: object = 1) -> None: ...


FUNCTIONS = [
    *(nothing, two, defaults, keyword_only, positional_only, all_positional),
    *(keywords, positions, anything, later),
]


class Shop:
    def sell(self, item: int) -> None: ...

    def __call__(self, request: object) -> None: ...


def generator(request: object) -> Any:
    yield 1


async def async_generator(request: object) -> Any:
    yield 1


def no_parameters() -> None: ...
def no_request(*, a: int) -> None: ...
def only_keywords(**options: int) -> None: ...


@pytest.mark.parametrize(
    ("func", "message"),
    [
        # Not functions: nothing tells their path.
        (Shop, f"@task decorates functions, not {Shop!r}."),
        (len, "@task decorates functions, not <built-in function len>."),
        (5, "@task decorates functions, not 5."),
        # Nothing would run what these return.
        (generator, "@task: generator is a generator."),
        (async_generator, "@task: async_generator is a generator."),
        # Nowhere to put the request.
        (
            no_parameters,
            "@task: no_parameters must take the CloudTaskRequest first, "
            "as in def add(request, a, b).",
        ),
        (
            no_request,
            "@task: no_request must take the CloudTaskRequest first, "
            "as in def add(request, a, b).",
        ),
        (
            only_keywords,
            "@task: only_keywords must take the CloudTaskRequest first, "
            "as in def add(request, a, b).",
        ),
    ],
)
def test_what_can_be_no_task_is_refused(func: Any, message: str) -> None:
    with pytest.raises(InvalidTask) as caught:
        Arguments("shop.tasks.func", func)
    assert str(caught.value) == message


@pytest.mark.parametrize("func", [Shop().sell, Shop(), partial(two, None)])
def test_methods_and_other_callables_are_no_functions(func: Any) -> None:
    with pytest.raises(InvalidTask, match=r"^@task decorates functions, not "):
        Arguments("shop.tasks.func", func)


NAMES = st.sampled_from(["request", "a", "b", "c", "rest"])


@given(
    func=st.sampled_from(FUNCTIONS),
    args=st.lists(st.integers(), max_size=4).map(tuple),
    kwargs=st.dictionaries(NAMES, st.integers(), max_size=3),
)
@example(func=two, args=(1,), kwargs={"a": 1})
@example(func=defaults, args=(1, 2, 3), kwargs={})
@example(func=nothing, args=(), kwargs={"request": 1})
def test_exactly_what_the_function_takes_is_taken(
    func: Callable[..., Any], args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    bind = inspect.signature(func).bind
    arguments = Arguments("shop.tasks.func", func)
    expected = problem_of(lambda: bind(None, *args, **kwargs))

    assert problem_of(lambda: arguments.check(args, kwargs)) == (
        expected and f"shop.tasks.func(): {expected}"
    )


def problem_of(call: Callable[[], object]) -> str | None:
    """What a TypeError says, if there is one."""
    try:
        call()
    except TypeError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("func", "args", "kwargs", "expected"),
    [
        (nothing, (), {}, {}),
        # By name however they were passed, defaults filled in.
        (defaults, (1,), {"c": 3}, {"a": 1, "b": 1, "c": 3}),
        (positional_only, (1,), {}, {"a": 1, "b": 1}),
        (keyword_only, (1,), {"b": 2}, {"a": 1, "b": 2, "c": 1}),
        # Further keywords are arguments like the others.
        (keywords, (), {"x": 1, "y": 2}, {"a": 1, "x": 1, "y": 2}),
        (keywords, (), {}, {"a": 1}),
        # Further positions have one name for all of them.
        (positions, (1, 2, 3), {}, {"a": 1, "rest": (2, 3)}),
    ],
)
def test_arguments_have_names(
    func: Callable[..., Any],
    args: tuple[int, ...],
    kwargs: dict[str, int],
    expected: dict[str, object],
) -> None:
    assert Arguments("shop.tasks.func", func).by_name(args, kwargs) == expected
