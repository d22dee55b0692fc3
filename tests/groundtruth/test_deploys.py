"""Deploys: told by a command, kept in the store, shown with the quality of the model."""

from __future__ import annotations

import time
from pathlib import Path

from typer.testing import CliRunner

from modelwatch.cli import app
from modelwatch.config import load_config
from modelwatch.groundtruth.deploys import MOST, Deploy
from modelwatch.groundtruth.store import Store
from modelwatch.sources.quality import QualitySource

CONFIG = """\
service: {name: shop}
models:
  churn: {version: "2", task: classification, classes: [stays, leaves]}
  spam: {version: "1", task: classification, classes: [spam, ham]}
store: sqlite:///modelwatch.db
"""


def test_the_latest_comes_first(store_url: str) -> None:
    """Deploys of one model since a time, the latest first, a hundred at most; those of others are not among them."""
    store = Store.open(store_url)
    for at in range(MOST + 20):
        store.tell_deploy(Deploy("churn", str(at), float(at), "ann", "why"))
    store.tell_deploy(Deploy("spam", "1", 50.5, "bob"))
    found = store.deploys("churn", since=10.0)
    assert [deploy.at for deploy in found] == [float(at) for at in range(MOST + 19, 19, -1)]
    assert store.deploys("churn", since=118.0) == [
        Deploy("churn", str(at), float(at), "ann", "why") for at in (119, 118)
    ]
    assert store.deploys("spam") == [Deploy("spam", "1", 50.5, "bob", "")]
    store.close()


def test_names_and_notes_are_one_line(store_url: str) -> None:
    """Control characters, lines and texts without end are not kept."""
    store = Store.open(store_url)
    store.tell_deploy(Deploy("churn", "1", 1.0, "a\nb\x00c" * 100, "x\r\ny" * 1000))
    (found,) = store.deploys("churn")
    assert found.by.isprintable()
    assert len(found.by) <= 100
    assert found.note.startswith("x y")
    assert len(found.note) <= 500
    store.close()


def test_the_command_tells(tmp_path: Path) -> None:
    """`modelwatch deploy` keeps version, author and note, and the quality of the model has them."""
    path = tmp_path / "modelwatch.yaml"
    path.write_text(CONFIG)
    arguments = ["deploy", "--model", "churn", "--by", "ann", "--note", "retrained", "--config", str(path)]
    before = time.time()
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "churn 2: deployed by ann, retrained" in done.output
    source = QualitySource.from_config(load_config(path))
    assert source is not None
    state = source.read("churn")
    source.close()
    assert state is not None
    (told,) = state["deploys"]
    assert (told["version"], told["by"], told["note"]) == ("2", "ann", "retrained")
    assert before <= told["at"] <= time.time()
