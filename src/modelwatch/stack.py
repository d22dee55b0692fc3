"""The generated stack of a configuration file: what is needed to make its files, and to run them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from modelwatch import __version__
from modelwatch.config import Config, load_config
from modelwatch.generate import Places, differences, generate, write
from modelwatch.reference import Reference

__all__ = ["differences", "generated", "write"]


def generated(path: Path, only: Iterable[str] | None = None, **places: str) -> dict[str, str]:
    """Return the files that a configuration file makes, {path: text}; no secret is read.

    places : fields of `Places`.
    """
    config = load_config(path, secrets=False)
    return generate(
        config, only, version=__version__, references=references_of(config), environ=os.environ,
        places=Places(**places),
    )  # fmt: skip


def references_of(config: Config) -> dict[str, Reference]:
    """Return the profiles of the models that have one."""
    return {name: Reference.load(model.reference) for name, model in config.models.items() if model.reference}
