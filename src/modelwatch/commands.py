"""What the commands share: their configuration, their exit codes, and how they end with one line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from modelwatch.errors import ModelwatchError

CONFIG = Path("modelwatch.yaml")
OK, FAILED, USAGE = 0, 1, 2
FromPrometheus = Annotated[
    str | None, typer.Option("--prometheus", metavar="URL", help="Read the counts from this Prometheus instead.")
]


def fail(error: Exception, code: int = FAILED, words: str = "") -> NoReturn:
    """End with one line: the words, those of an error of ours, or how to find out more of another."""
    if os.environ.get("MODELWATCH_DEBUG"):
        raise error
    if not words and not isinstance(error, ModelwatchError):
        told = " ".join(str(error).split())
        words = f"modelwatch: {type(error).__name__}: {told}. Run `modelwatch --debug …` to see where, and report it."
    sys.stderr.write(f"{words or error}\n")
    if "--json" in sys.argv:  # whoever reads the output as JSON can read this, too
        sys.stdout.write(json.dumps({"error": words or str(error)}) + "\n")
    sys.exit(code)
