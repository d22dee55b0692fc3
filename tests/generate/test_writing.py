"""Generated files on the disk: what somebody changed is kept until they say otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelwatch.errors import ConfigError
from modelwatch.generate import differences, write
from modelwatch.generate.writing import MANIFEST

FILES = {"a.yml": "a: 1\n", "rules/b.yml": "b: 1\n", "targets/c.yml": "c: 1\n"}


def test_written_and_written_again(tmp_path: Path) -> None:
    """The second time nothing changes; a new text replaces the old one."""
    assert set(write(FILES, tmp_path / "new").written) == set(FILES)
    assert write(FILES, tmp_path / "new").written == ()
    assert write({**FILES, "a.yml": "a: 2\n"}, tmp_path / "new").written == ("a.yml",)
    assert (tmp_path / "new" / "a.yml").read_text() == "a: 2\n"


def test_changed_by_hand(tmp_path: Path) -> None:
    """Nothing is written while one file is not as modelwatch left it, unless it is forced."""
    write(FILES, tmp_path)
    (tmp_path / "a.yml").write_text("mine\n")
    with pytest.raises(ConfigError, match=r"file is 'a.yml'; expected one that modelwatch wrote and nobody changed"):
        write({name: text.replace("1", "2") for name, text in FILES.items()}, tmp_path)
    assert (tmp_path / "rules/b.yml").read_text() == "b: 1\n"
    write({**FILES, "a.yml": "a: 2\n"}, tmp_path, force=True)
    assert (tmp_path / "a.yml").read_text() == "a: 2\n"


def test_a_file_that_was_there_before(tmp_path: Path) -> None:
    """A file that modelwatch never wrote is somebody's own."""
    (tmp_path / "a.yml").write_text("mine\n")
    with pytest.raises(ConfigError, match="nobody changed"):
        write(FILES, tmp_path)
    assert not (tmp_path / MANIFEST).exists()


def test_targets_are_yours(tmp_path: Path) -> None:
    """The list of replicas is written once and then left alone."""
    write(FILES, tmp_path)
    (tmp_path / "targets/c.yml").write_text("mine\n")
    write({**FILES, "targets/c.yml": "c: 2\n"}, tmp_path)
    assert (tmp_path / "targets/c.yml").read_text() == "mine\n"


def test_diff(tmp_path: Path) -> None:
    """A diff shows what would change, and new files as a whole; none where nothing would."""
    write(FILES, tmp_path)
    assert list(differences(FILES, tmp_path)) == []
    lines = list(differences({**FILES, "a.yml": "a: 2\n", "d.yml": "d\n"}, tmp_path))
    assert ["-a: 1", "+a: 2"] == [line for line in lines if line[1:3] == "a:" and line[0] in "+-"]
    assert "--- /dev/null" in lines and "+d" in lines


def test_no_place_to_write(tmp_path: Path) -> None:
    """A directory that is a file is named in one line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="expected .* Name another directory|Move it away") as caught:
        write(FILES, tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_a_damaged_manifest(tmp_path: Path) -> None:
    """Without a manifest that can be read, whatever differs counts as changed by hand."""
    write(FILES, tmp_path)
    for damaged in ("{", "[" * 100_000):
        (tmp_path / MANIFEST).write_text(damaged)
        assert write(FILES, tmp_path).written == ()
    (tmp_path / MANIFEST).write_text("[]")
    with pytest.raises(ConfigError, match="nobody changed"):
        write({**FILES, "a.yml": "a: 2\n"}, tmp_path)
