"""A count that was broken off goes on from what is done, and counts nothing twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from batch.logged import DAY, NOW, REFERENCE, counted, model_of
from modelwatch.batch import analyze, local
from modelwatch.batch.progress import progress_bar
from modelwatch.errors import ConfigError


def log_of(folder: Path, files: int = 4, rows: int = 100) -> Path:
    """Write files of a log, and return their folder."""
    for i in range(files):
        n = [DAY + i * rows + k for k in range(rows)]
        table = pa.table(
            {
                "timestamp": n,
                "prediction": ["a"] * rows,
                "x": [k / 64 for k in range(rows)],
                "y": [1] * rows,
                "c": ["red"] * rows,
            }
        )
        parquet.write_table(table, folder / f"{i}.parquet")
    return folder


def analysis(folder: Path, checkpoint: Path | None, **how: Any) -> Any:
    """Count the log."""
    return analyze(folder, REFERENCE, model=model_of(), now=NOW, checkpoint=checkpoint, **how)


def test_a_count_goes_on_where_it_was_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that are done are not read again; the sum is that of a count in one go."""
    (tmp_path / "log").mkdir()
    folder, done = log_of(tmp_path / "log"), tmp_path / "done.db"
    expected = counted(analysis(folder, None))
    read: list[str] = []
    count_part = local.count_part

    def counting(part: Any, plan: Any) -> Any:
        read.append(part.key)
        if len(read) == 3:
            raise KeyboardInterrupt
        return count_part(part, plan)

    with monkeypatch.context() as patch:
        patch.setattr(local, "count_part", counting)
        with pytest.raises(KeyboardInterrupt):
            analysis(folder, done, threads=1)
        before = len(read)
        seen: list[int] = []
        found = analysis(folder, done, threads=1, progress=lambda rows, _: seen.append(rows))
    assert counted(found) == expected
    assert len(read) - before < 4  # at least one part was done
    assert seen == [100, 200, 300, 400]
    with monkeypatch.context() as patch:
        patch.setattr(local, "count_part", None)  # nothing is left to count
        assert counted(analysis(folder, done)) == expected


def test_what_has_changed_is_counted_again(tmp_path: Path) -> None:
    """A file with another content, another span, another configuration: what was kept of it is not used."""
    (tmp_path / "log").mkdir()
    folder, done = log_of(tmp_path / "log"), tmp_path / "done.db"
    analysis(folder, done)
    table = parquet.read_table(folder / "1.parquet")
    parquet.write_table(table.slice(0, 10), folder / "1.parquet")
    os.utime(folder / "2.parquet", (1, 1))
    assert analysis(folder, done).rows == 310
    assert counted(analysis(folder, done, span="hour")) == counted(analysis(folder, None, span="hour"))


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    """A file of another kind is left alone, and rows in memory have none."""
    (tmp_path / "log").mkdir()
    folder = log_of(tmp_path / "log", 1)
    (tmp_path / "other.db").write_text("not a database at all, but long enough to be looked at")
    with pytest.raises(ConfigError, match=r"checkpoint: '.*other\.db' cannot be used") as caught:
        analysis(folder, tmp_path / "other.db")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "other.db").read_text().startswith("not a database")
    with pytest.raises(ConfigError, match="a checkpoint is given; expected files, which can be read again"):
        analyze({"prediction": ["a"]}, checkpoint=tmp_path / "c.db")
    with pytest.raises(ConfigError, match="checkpoint"):
        analysis(folder, tmp_path / "no such folder" / "c.db")


def test_progress_is_shown_on_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows so far, on the standard error; nothing where nobody looks."""
    (tmp_path / "log").mkdir()
    folder = log_of(tmp_path / "log")
    with progress_bar("counting", shown=False) as progress:
        analysis(folder, None, progress=progress)
    quiet = capsys.readouterr()
    with progress_bar("counting", shown=True) as progress:
        analysis(folder, None, progress=progress)
    loud = capsys.readouterr()
    assert (quiet.out, quiet.err, loud.out) == ("", "", "")
    assert "counting" in loud.err
