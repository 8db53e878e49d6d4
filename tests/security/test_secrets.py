"""The shared secret: the whole of it, compared as bytes, and nothing else."""

import ast
from pathlib import Path
from typing import Any

import pytest

import cloudtask
from cloudtask.checks import check_cloudtask
from cloudtask.conf import GOOGLE_TRANSPORT, get_settings
from cloudtask.transports import get_transport
from tests import tasks
from tests.security.sending import FORBIDDEN, Send, Unreadable
from tests.security.tokens import SECRET

PACKAGE = Path(cloudtask.__file__).parent
OLD, OLDER = "the secret before, of 32 bytes..", "the one before that, 32 bytes..."


def near_misses(secret: str) -> list[str]:
    """256 and more values that look like a secret and are another."""
    changed = [
        secret[:i] + chr(ord(c) ^ 1) + secret[i + 1 :] for i, c in enumerate(secret)
    ]
    doubled = [secret[:i] + c + secret[i:] for i, c in enumerate(secret)]
    left_out = [secret[:i] + secret[i + 1 :] for i in range(len(secret))]
    beyond = [
        secret[:i] + c + secret[i + 1 :]
        for i in range(len(secret))
        for c in "\xe9\xff\x80"
    ]
    around = [
        form.format(s=secret)
        for form in (
            *("{s} ", " {s}", "{s}\t", "{s}\n", "{s}\r\n", "{s}\0", "\0{s}", "{s}\x1f"),
            *("{s},", ",{s}", "{s},{s}", "{s}, {s}", "{s},x", "x, {s}", "{s};{s}"),
            *('"{s}"', "'{s}'", "<{s}>", "{s}=", "Bearer {s}", "secret={s}", "{s}{s}"),
        )
    ]
    prefixes = [secret[:i] for i in range(len(secret))]
    suffixes = [secret[i:] for i in range(1, len(secret))]
    words = [
        *(secret.upper(), secret.title(), secret.swapcase(), secret[::-1]),
        *(secret.encode().hex(), repr(secret), repr(secret.encode())),
        *("None", "null", "True", "0", "*", "%", ".*", "é", "ÿ" * len(secret)),
        *("x" * len(secret), "\0" * len(secret), "x" * 8192, secret * 256),
    ]
    groups = (changed, doubled, left_out, beyond, around, prefixes, suffixes, words)
    return sorted({value for group in groups for value in group} - {secret})


def test_there_are_256_near_misses_of_a_secret() -> None:
    assert len(near_misses(SECRET)) >= 256


def test_nothing_but_the_secret_is_let_in_and_nothing_raises(
    secret: str, send: Send
) -> None:
    for value in near_misses(secret):
        assert send({"X-Task-Secret": value}, Unreadable()) == FORBIDDEN, value

    assert tasks.ran == []
    assert send({"X-Task-Secret": secret}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Secret": SECRET},
        {"X-Secret": SECRET},
        {"X-Task-Secrets": SECRET},
        {"X-CloudTasks-Task-Secret": SECRET},
        {"Authorization": SECRET},
        {"Authorization": f"Bearer {SECRET}"},
        {"Authorization": f"Basic {SECRET}"},
        {"Cookie": f"X-Task-Secret={SECRET}"},
    ],
)
def test_the_secret_counts_in_its_own_header_only(
    secret: str, send: Send, headers: dict[str, str]
) -> None:
    assert send(headers, Unreadable()) == FORBIDDEN


def test_a_secret_in_the_url_does_not_count(secret: str, send: Send) -> None:
    assert send({"X-Original-URL": f"/?X-Task-Secret={secret}"}) == FORBIDDEN


def test_a_secret_is_rotated_without_a_refused_dispatch(
    settings: Any, send: Send
) -> None:
    def configure(secret: str, *fallbacks: str) -> None:
        settings.CLOUDTASK = {
            **settings.CLOUDTASK,
            "TRANSPORT": GOOGLE_TRANSPORT,
            "SECRET": secret,
            "SECRET_FALLBACKS": list(fallbacks),
        }

    def statuses(*secrets: str) -> list[int]:
        return [send({"X-Task-Secret": secret}).status for secret in secrets]

    def sent() -> str:
        settings = get_settings()
        return get_transport(settings).target(settings).headers["X-Task-Secret"]

    configure(OLD)
    assert (sent(), statuses(OLD, SECRET)) == (OLD, [200, 403])
    configure(OLD, SECRET)  # Known everywhere, before anybody sends it.
    assert (sent(), statuses(OLD, SECRET)) == (OLD, [200, 200])
    configure(SECRET, OLD)
    assert (sent(), statuses(OLD, SECRET)) == (SECRET, [200, 200])
    configure(SECRET)
    assert (sent(), statuses(OLD, SECRET)) == (SECRET, [403, 200])


def test_every_fallback_is_accepted_even_without_a_secret_to_send(
    settings: Any, send: Send
) -> None:
    settings.CLOUDTASK = {"SECRET_FALLBACKS": [OLD, OLDER]}

    assert send({"X-Task-Secret": OLD}).status == 200
    assert send({"X-Task-Secret": OLDER}).status == 200
    assert send({"X-Task-Secret": OLD + OLDER}) == FORBIDDEN
    assert send({"X-Task-Secret": f"{OLD},{OLDER}"}) == FORBIDDEN


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({"SECRET": "x" * 24}, []),
        ({"SECRET": "x" * 23}, ["cloudtask.E003"]),
        ({"SECRET": "x"}, ["cloudtask.E003"]),
        ({"SECRET": "x" * 24, "SECRET_FALLBACKS": ["y" * 23]}, ["cloudtask.E003"]),
        ({"SECRET": "only for the tests of this package"}, ["cloudtask.E003"]),
    ],
)
@pytest.mark.parametrize("debug", [True, False])
def test_a_weak_secret_is_an_error_of_the_check_and_not_shown(
    settings: Any, changes: dict[str, Any], ids: list[str], debug: bool
) -> None:
    settings.DEBUG = debug
    settings.CLOUDTASK = {**settings.CLOUDTASK, **changes}

    found = check_cloudtask()

    assert [message.id for message in found] == ids
    # On a desk it is a warning.
    assert all(message.is_serious() is not debug for message in found)
    for message in found:
        assert message.msg == (
            "CLOUDTASK['SECRET'], or a fallback, is shorter than 24 bytes, or is "
            "SECRET_KEY."
        )


# What no behaviour shows


@pytest.mark.parametrize(
    ("module", "call", "word"),
    [
        ("auth/credentials", "hmac.compare_digest(sent, secret)", "secret"),
        (
            "auth/signing",
            "hmac.compare_digest(sent, _make_mac(key, text, backend))",
            "mac",
        ),
    ],
)
def test_secrets_are_compared_in_constant_time_only(
    module: str, call: str, word: str
) -> None:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    compared = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for name in _names(node)
    ]
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]

    assert call in calls
    assert [name for name in compared if word in name.lower()] == []


def _names(node: ast.AST) -> list[str]:
    names = (getattr(n, "id", getattr(n, "attr", None)) for n in ast.walk(node))
    return [name for name in names if name]


def test_all_secrets_are_compared_whichever_matches(
    settings: Any, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cloudtask.auth import credentials

    settings.CLOUDTASK = {"SECRET": SECRET, "SECRET_FALLBACKS": [OLD, OLDER]}
    compared = []
    compare = credentials.hmac.compare_digest

    def compare_digest(sent: bytes, secret: bytes) -> bool:
        compared.append(secret)
        return compare(sent, secret)

    monkeypatch.setattr(credentials.hmac, "compare_digest", compare_digest)

    assert send({"X-Task-Secret": SECRET}).status == 200
    assert compared == [SECRET.encode(), OLD.encode(), OLDER.encode()]


UNSAFE_MODULES = {"pickle", "marshal", "shelve", "dill", "yaml", "jsonpickle"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}


def test_nothing_in_the_package_loads_code_from_data() -> None:
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
                found += [(path.name, name) for name in names & UNSAFE_MODULES]
            elif isinstance(node, ast.ImportFrom):
                module = (node.module or "").partition(".")[0]
                found += [(path.name, module)] if module in UNSAFE_MODULES else []
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = node.func.id
                found += [(path.name, name)] if name in UNSAFE_CALLS else []

    assert found == []


#: Modules that see a request: whole rooms, and what they ask for tasks.
SEE_A_REQUEST = [
    path.relative_to(PACKAGE).as_posix()
    for pattern in (
        *("auth/*.py", "backends/*.py", "dispatch/*.py", "wire/*.py"),
        *("enqueue/kind.py", "enqueue/registry.py", "urls.py", "views.py"),
    )
    for path in sorted(PACKAGE.glob(pattern))
]
#: What they get by name: attributes of what was found before, of tasks above
#: all. No request brings their names.
BY_NAME: dict[str, set[str]] = {
    "backends/backend.py": {
        "getattr(task, 'retry', None)",
        "getattr(task, 'timeout', None)",
    },
    "backends/base.py": {"getattr(task, 'sensitive', ())"},
    "backends/definitions.py": {
        "getattr(task, 'retry', None)",
        "getattr(task, 'sensitive', ())",
        "getattr(task, 'timeout', None)",
    },
    "backends/finding.py": {
        "getattr(task, name)",
        "getattr(task, field.name)",
    },
    "backends/options.py": {
        "getattr(task, 'retry', None)",
        "getattr(task, 'timeout', None)",
    },
    "backends/results.py": {"getattr(fresh, name)"},
    "dispatch/workers.py": {"getattr(patcher, function)"},
    "wire/retry.py": {"getattr(self, field)"},
}


def _calls(source: str, function: str) -> list[str]:
    """Calls of a function, as they are written."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and function in (getattr(node.func, k, None) for k in ("id", "attr"))
    ]


@pytest.mark.parametrize("module", SEE_A_REQUEST)
def test_no_module_that_sees_a_request_can_import_by_name(module: str) -> None:
    source = (PACKAGE / module).read_text()

    for word in ("import_string", "import_module", "importlib", "attrgetter"):
        assert word not in source
    assert set(_calls(source, "getattr")) == BY_NAME.get(module, set())


def test_rooms_that_see_a_request_are_all_looked_at() -> None:
    assert {*BY_NAME, "dispatch/kinds.py", "auth/keys.py", "views.py"} <= {
        *SEE_A_REQUEST
    }


def test_a_class_is_loaded_for_two_settings_and_from_nothing_else() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): calls
        for path in PACKAGE.rglob("*.py")
        if (calls := _calls(path.read_text(), "load_class"))
    }

    assert found == {
        "auth/authenticator.py": ["load_class(settings, 'AUTH', Authenticator)"],
        "transports/__init__.py": ["load_class(settings, 'TRANSPORT', Transport)"],
    }
