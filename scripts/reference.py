"""Write docs/reference/ from the code: commands, configuration, metrics, signals, Python API. `--check` compares."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import modelwatch
from modelwatch import configfields, names
from modelwatch.cli import app
from modelwatch.config import Config, ModelConfig
from modelwatch.signals import ALERTING, SIGNALS, Objectives, Signal

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
MADE = "<!-- made by scripts/reference.py from the code; do not edit -->"
CONFIGURATION = """\
`modelwatch.yaml` is one file from which everything derives. `modelwatch init` writes it, `modelwatch check` reads it.
Relative paths are relative to its folder; `${NAME}` is read from the environment. Required fields have no default."""
METRICS = """\
Counted series have `model_name` and `model_version` besides the labels below. Counters exist at 0 from the start where
their labels are known from the configuration."""
SIGNALS_ARE = """\
A signal is a number that an on-call reads, defined once as a value of counts and as PromQL; a test compares the two on
a real Prometheus. `S` stands for the selector of a model, such as `model_name="sentiment_classifier"`. The examples
have an objective of 95 % within 500 ms."""
LONGEST = 1500  # characters of an expression that is shown
EXAMPLE = Objectives(0.5, 0.95, 0.99, 0.85, 0.995, 100.0, 0.05, 1.2, job="sentiment-api")
KINDS = {
    "Text": "text", "Version": "text in quotes", "Texts": "list of texts", "Edges": "increasing numbers",
    "Url": "address", "FilePath": "path", "StoreUrl": "URL of a store", "Flag": "true or false",
    "Count": "whole number",
    "Ratio": "0 to 1", "Objective": "above 0, below 1", "Positive": "number above 0", "NotNegative": "number from 0",
    "Duration": "duration, such as 90s, 5m, 1h", "Wait": "duration; 0s too",
}  # fmt: skip


def cell(text: str) -> str:
    """Return a text as it stands in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return a Markdown table."""
    names_of_columns = list(head)
    return [f"| {' | '.join(names_of_columns)} |", f"|{'---|' * len(names_of_columns)}"] + [
        f"| {' | '.join(map(cell, row))} |" for row in rows
    ]


# -- commands ----------------------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield "# Commands"
    yield ""
    yield "Exit codes: 0 well; 1 a check that failed, or something that fires; 2 a wrong option or configuration."
    yield from _command(typer.main.get_command(app), "modelwatch")


def _command(command: Any, path: str) -> Iterator[str]:
    if path != "modelwatch":
        yield from ("", f"## {path}", "", inspect.cleandoc(command.help or ""), "")
        rows = []
        for parameter in command.params:
            if parameter.name == "help":
                continue
            is_argument = parameter.param_type_name == "argument"
            shown = (
                (parameter.metavar or parameter.name.upper())
                if is_argument
                else ", ".join(parameter.opts + parameter.secondary_opts)
            )
            default = (
                "" if parameter.default in (None, False, ()) or callable(parameter.default) else str(parameter.default)
            )
            rows.append((f"`{shown}`", getattr(parameter, "help", "") or "", f"`{default}`" if default else ""))
        if rows:
            yield from table(("argument or option", "", "default"), rows)
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield from _command(child, f"{path} {name}")


# -- configuration -----------------------------------------------------------------------------------------------------


def configuration() -> Iterator[str]:
    """Every field of modelwatch.yaml."""
    yield from ("# Configuration", "", CONFIGURATION)
    yield from _section(Config, "", set())


def _section(section: type[BaseModel], path: str, seen: set[type[BaseModel]]) -> Iterator[str]:
    if section in seen:
        return
    seen.add(section)
    yield from ("", f"## {path or 'The file'}", "", inspect.cleandoc(section.__doc__ or ""), "")
    hints = typing.get_type_hints(section, include_extras=True)
    fields = {n: f for n, f in section.model_fields.items() if f.validation_alias != "__name__"}
    yield from table(
        ("field", "value", "default"),
        (
            (f"`{_shown(name, field)}`", _kind(hints[name], field), _default(field, hints[name]))
            for name, field in fields.items()
        ),
    )
    for name, field in fields.items():
        for child in _sections(hints[name]):
            below = "NAME." if section is Config and child is ModelConfig else ""
            inside = "NAME" if _is_map(hints[name]) and not below else below.rstrip(".")
            yield from _section(child, ".".join(filter(None, (path, _shown(name, field), inside))), seen)


def _shown(name: str, field: FieldInfo) -> str:
    return field.validation_alias if isinstance(field.validation_alias, str) else name


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in get_args(hint):
        if get_origin(hint) is not Annotated or part is get_args(hint)[0]:
            yield from _parts(part)


def _sections(hint: Any) -> list[type[BaseModel]]:
    return [part for part in _parts(hint) if isinstance(part, type) and issubclass(part, BaseModel)]


def _is_map(hint: Any) -> bool:
    return any(get_origin(part) is dict for part in _parts(hint))


def _kind(hint: Any, field: FieldInfo) -> str:
    marks = [mark for part in _parts(hint) if get_origin(part) is Annotated for mark in part.__metadata__]
    for name, words in KINDS.items():
        if any(mark is getattr(configfields, name).__metadata__[0] for mark in marks) and not _is_map(hint):
            return words
    for part in _parts(hint):
        if get_origin(part) is typing.Literal:
            return " or ".join(f"`{value}`" for value in get_args(part))
        if get_origin(part) is dict:
            return "by name: " + ("see below" if _sections(part) else " ".join(_literals(part)) or "texts")
        if isinstance(part, type) and issubclass(part, BaseModel):
            return "see below"
    return "text" if "str" in str(hint) else str(field.annotation)


def _literals(hint: Any) -> list[str]:
    return [
        " or ".join(f"`{value}`" for value in get_args(part))
        for part in _parts(hint)
        if get_origin(part) is typing.Literal
    ]


def _default(field: FieldInfo, hint: Any) -> str:
    if field.is_required():
        return "required"
    value = field.get_default()
    if value is None or value in ((), {}) or isinstance(value, BaseModel):
        return ""
    if isinstance(value, float) and any(part in (configfields.Duration, configfields.Wait) for part in _parts(hint)):
        return f"`{_duration(value)}`"
    if isinstance(value, tuple):
        return f"{len(value)} values"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _duration(seconds: float) -> str:
    unit, size = next((u, s) for u, s in reversed(configfields.SECONDS.items()) if u != "w" and seconds >= s)
    return f"{seconds / size:g}{unit}"


# -- metrics and signals -----------------------------------------------------------------------------------------------


def metrics() -> Iterator[str]:
    """Every metric that is exported."""
    found = sorted((m for m in vars(names).values() if isinstance(m, names.Metric)), key=lambda metric: metric.name)
    yield from ("# Metrics", "", METRICS, "")
    yield from table(
        ("metric", "kind", "labels", ""),
        ((f"`{m.name}`", m.kind, ", ".join(f"`{label}`" for label in m.labels), m.help) for m in found),
    )


def signals() -> Iterator[str]:
    """Every signal with its PromQL."""
    yield from ("# Signals", "", SIGNALS_ARE)
    for name, signal in {**SIGNALS, **ALERTING}.items():
        yield from _signal(name, signal)


def _signal(name: str, signal: Signal) -> Iterator[str]:
    yield from ("", f"## {name}", "", f"{signal.words[:1].upper()}{signal.words[1:]}.", "")
    labels = ", ".join(f"`{label}`" for label in signal.labels) or "none"
    yield f"Unit: {signal.unit or 'none'}. Smallest sample: {signal.smallest} {signal.counted}. Labels: {labels}."
    expression = signal.promql("S", "5m", EXAMPLE)
    if expression is not None and len(expression) > LONGEST:
        yield from ("", "In Prometheus it is made of recording rules: `modelwatch generate DIR --only drift-rules`.")
    elif expression is not None:
        yield from ("", "```promql", expression, "```")


# -- the Python API ----------------------------------------------------------------------------------------------------

PUBLIC = ("integrations.fastapi", "integrations.flask", "integrations.sklearn", "statistics", "batch", "testing")


def api() -> Iterator[str]:
    """Every public name with its docstring."""
    yield from (
        "# Python API",
        "",
        "Names that begin with `_`, and modules that are not named here, may change at any time.",
    )
    yield from _module(modelwatch, [name for name in modelwatch.__all__ if not name.startswith("__")])
    for path in PUBLIC:
        module = __import__(f"modelwatch.{path}", fromlist=["__all__"])
        yield from _module(module, sorted(getattr(module, "__all__", ())) or _own(module))


def _own(module: types.ModuleType) -> list[str]:
    return [
        name for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__ and callable(value)
    ]  # fmt: skip


def _module(module: types.ModuleType, public: list[str]) -> Iterator[str]:
    yield from ("", f"## {module.__name__}", "", (module.__doc__ or "").strip().partition("\n")[0])
    for name in public:
        value = getattr(module, name)
        if not callable(value):
            continue
        yield from ("", f"### {name}", "", "```text", f"{name}{_signature(value)}", "```", "", *_docstring(value))
        if inspect.isclass(value) and not issubclass(value, Exception) and not dataclasses.is_dataclass(value):
            yield from _methods(value)


def _methods(of: type) -> Iterator[str]:
    for name, method in vars(of).items():
        plain = method.__func__ if isinstance(method, (classmethod, staticmethod)) else method
        if name.startswith("_") or not inspect.isfunction(plain) or not plain.__doc__:
            continue
        first = inspect.cleandoc(plain.__doc__).partition("\n\n")[0]
        yield from ("", f"- `{name}{_signature(plain)}`: {cell(first)}")


def _signature(value: Callable[..., Any]) -> str:
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(…)"
    kept = [p.replace(annotation=p.empty) for n, p in found.parameters.items() if n not in ("self", "cls")]
    text = str(found.replace(parameters=kept, return_annotation=inspect.Signature.empty))
    return re.sub(r"<(?:built-in )?function (\w+)(?: at 0x\w+)?>", r"\1", text)


def _docstring(value: Any) -> list[str]:
    return ["```text", *inspect.cleandoc(value.__doc__ or "").splitlines(), "```"]


PAGES = {"commands": commands, "configuration": configuration, "metrics": metrics, "signals": signals, "api": api}


def pages() -> dict[Path, str]:
    """Return {file: its text}."""
    return {FOLDER / f"{name}.md": "\n".join([MADE, "", *page()]).rstrip() + "\n" for name, page in PAGES.items()}


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check say which are not what the code says."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        sys.stdout.writelines(f"{path.name}: is not what the code says. Run `make docs`.\n" for path in stale)
        return bool(stale)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
