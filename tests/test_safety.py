"""Files are data: nothing in the package runs what a file holds, but the estimator that a user names to `init`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

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
