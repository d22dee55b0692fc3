"""Files are data: nothing in the package runs what a file holds, but the estimator that a user names to `init`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from integrations.calling import call
from modelwatch.serve.run import app_of
from serve.conftest import House
from serve.test_guard import HERE, NEEDED

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "modelwatch"
RUNNING = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal", "torch"}
CALLS = {
    "eval",
    "exec",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "numpy.load",
    "np.load",
    "pandas.read_pickle",
}
ALLOWED = {
    ("onboarding/inference.py", "pickle"),  # the user's own fitted estimator, which the documents say is run
    ("onboarding/inference.py", "joblib"),
    ("configtext.py", "yaml.load"),  # with a SafeLoader; see below
}


def running(text: str) -> Iterator[str]:
    """Yield what a module has that runs what a file holds."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names if one.name.partition(".")[0] in RUNNING)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in RUNNING:
            yield str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS:
            yield ast.unparse(node.func)


def test_nothing_runs_what_a_file_holds() -> None:
    """No pickle, joblib, torch, eval, exec nor an unsafe loader in the package, but where it is said."""
    found = {
        (path.relative_to(PACKAGE).as_posix(), what)
        for path in PACKAGE.rglob("*.py")
        for what in running(path.read_text(encoding="utf-8"))
    }
    assert found == ALLOWED


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from joblib import load", "import numpy as np\nnp.load('x')", "eval('1')", "yaml.load(t)"],
)
def test_what_would_run_a_file_is_seen(text: str) -> None:
    """The walk sees each of the ways."""
    assert list(running(text))


def test_the_loader_of_the_configuration_is_safe() -> None:
    """A tag that would make an object is refused, and nothing is made."""
    import yaml

    from modelwatch.configtext import _Loader

    assert issubclass(_Loader, yaml.SafeLoader)


# -- no name of others leads to a file ---------------------------------------------------------------------------------

UP = (
    "../",
    "..\\",
    "..%2f",
    "..%5c",
    "%2e%2e/",
    "%252e%252e%252f",
    "....//",
    "..;/",
    "/../",
    "//",
    "\uff0e\uff0e/",
    "..\x00/",
)
ENDS = ("", "\x00", "\x00.css", "%00.css", ".md", "#", "?", "/.")


def traversals(name: str) -> list[str]:
    """Return more than two hundred ways to ask for a file outside."""
    relative = [up * n + name + end for up in UP for n in (1, 3) for end in ENDS]
    absolute = [lead + name + end for lead in ("/", "file:///", "~/", "\\\\host\\share\\") for end in ENDS]
    return [*relative, *absolute]


def test_no_name_in_an_address_leads_to_a_file(tmp_path: Path) -> None:
    """On every route with a name in it, in the path and behind the question mark: nothing of a file outside, no 500."""
    secret = "PLANTED-" + "7" * 24
    folder = tmp_path / "deep" / "er" / "house"
    folder.mkdir(parents=True)
    house = House(folder)
    try:
        for place in (folder, *folder.parents[:3]):
            for name in ("planted", "planted.md"):  # a runbook has an ending of ours
                (place / name).write_text(secret)
        app = app_of(house.serve())
        named = [path for path, (method, _) in NEEDED.items() if method == "GET" and path.endswith(("/name", "/x"))]
        assert len(named) == 2  # a runbook and a static file: one more has to be tried as well
        names = [f"{tmp_path}/planted", "planted", *traversals("planted"), *traversals(str(tmp_path / "planted")[1:])]
        assert len(names) > 400
        for name in names:
            for path in named:
                answer = call(app, f"{path.rpartition('/')[0]}/{name}", headers=[HERE])
                assert (name, path, answer.status) in {(name, path, status) for status in (400, 404, 405)}
                assert secret.encode() not in answer.body
        for name in names[::9]:
            said = quote(name, safe="").encode("ascii")
            for field in (b"model", b"feature", b"range", b"to", b"id", b"next"):
                for path in ("/drift", "/api/status", "/review"):
                    answer = call(app, path, query_string=field + b"=" + said, headers=[HERE])
                    assert answer.status < 500, (name, field, path)
                    assert secret.encode() not in answer.body
    finally:
        house.close()
