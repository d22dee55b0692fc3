"""The text of the configuration: YAML to plain data, `${VARIABLES}` filled in, problems put into words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from modelwatch.configfields import QUOTE, Problem, Shown, did_you_mean
from modelwatch.errors import ConfigError, fault

Loc = tuple[str | int, ...]

LARGEST_TEXT: Final = 1 << 18
MOST_NODES: Final = 100_000
LARGEST_INTEGER_BITS: Final = 10_000
INIT = "Run `modelwatch init` to write one."
CONFIGURATION = "a configuration of service and models"
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRETS: tuple[Loc, ...] = (("alerting", "receivers"), ("pages", "tokens"))
# what a field that must be there looks like
_MISSING = {
    "service": ("a mapping", "Write service: {name: my-service}."),
    "models": ("at least one model", "Write a model below it: its name, and its version and task below that."),
    "name": ("the name of the service", "Write name: my-service."),
    "version": ("the version of the model", 'Write version: "1.0.0".'),
    "task": ("'classification' or 'regression'", "Write task: classification."),
    "hourly": ("the hourly price of one replica", "Write hourly: 1.20."),
    "to": ("the name of a receiver", "Write to: and a receiver."),
}


class _Loader(yaml.SafeLoader):
    """The safe loader that also refuses a key that is there twice and keeps 2026-01-01 and 1:30 as they are written."""

    merged = 0  # keys so far: merges of merges are a file of some lines and of billions of keys

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)  # comes here for each mapping that is merged, before it takes its keys
        self.merged += len(node.value)
        if self.merged > MOST_NODES:
            problem = f"merges of more than {MOST_NODES} values"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in first:
                    raise _Twice(key.value, first[key.tag, key.value], key.start_mark)
                first[key.tag, key.value] = key.start_mark.line
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError):
            # the safe loader fails in its own ways on !!int "", !!timestamp x, and integers of 5000 digits
            raise yaml.constructor.ConstructorError(
                None, None, "a value that cannot be read", node.start_mark
            ) from None


def _number(kind: str) -> Callable[[_Loader, yaml.ScalarNode], Any]:
    read = yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{kind}"]

    def construct(loader: _Loader, node: yaml.ScalarNode) -> Any:
        value = str(node.value) if ":" in node.value else read(loader, node)
        if isinstance(value, int) and value.bit_length() > LARGEST_INTEGER_BITS:
            raise ValueError(kind)  # hexadecimal digits have no limit, and such a number has no decimal text
        return value

    return construct


_Loader.add_constructor("tag:yaml.org,2002:int", _number("int"))
_Loader.add_constructor("tag:yaml.org,2002:float", _number("float"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Twice(yaml.MarkedYAMLError):
    """A key is there twice."""

    def __init__(self, key: str, first_line: int, mark: Any) -> None:
        super().__init__(problem="a key that is there twice", problem_mark=mark)
        self.key, self.first_line, self.line = key, first_line, mark.line + 1


def read_file(path: Path) -> str:
    """Return the text of a configuration file."""
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_TEXT + 1)
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        given, remedy = "missing", INIT
    except IsADirectoryError:
        given, remedy = "a folder", "Name the file in it, or run `modelwatch init` in it."
    except UnicodeDecodeError as error:
        given, remedy = (
            "not UTF-8 text",
            f"Save byte {error.start} and what follows as UTF-8, or {INIT[0].lower()}{INIT[1:]}",
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "a path that cannot be opened"
        given, remedy = f"unreadable ({reason})", f"Allow this user to read it. {INIT}"
    raise ConfigError(fault(_one_line(str(path)), "file", Shown(given), CONFIGURATION, remedy)) from None


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds; a problem names the file and line."""
    if len(text) > LARGEST_TEXT:
        given = Shown(f"longer than {LARGEST_TEXT} characters")
        raise ConfigError(fault(where, "file", given, CONFIGURATION, "Name the configuration, not a data file."))
    try:
        tree = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except _Twice as error:
        remedy = f"Remove one of the two; the first is in line {error.first_line + 1}."
        line = f"{where}:{error.line}"
        raise ConfigError(fault(line, "key", _cut(error.key), "each key once", remedy)) from None
    except RecursionError:
        raise ConfigError(_too_deep(where)) from None
    except yaml.YAMLError as error:
        raise ConfigError(_syntax(error, text, where)) from None
    if tree is None:
        raise ConfigError(fault(where, "file", Shown("empty"), CONFIGURATION, INIT))
    if not isinstance(tree, dict):
        remedy = f"Write service: and models: at the beginning of lines. {INIT}"
        raise ConfigError(fault(where, "file", shown(tree), CONFIGURATION, remedy))
    return tree


def _too_deep(where: str) -> str:
    return fault(where, "file", Shown("nested too deeply"), CONFIGURATION, INIT)


def _syntax(error: yaml.YAMLError, text: str, where: str) -> str:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else None
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        problem: str | None = f"the character U+{int(error.character):04X}"
    else:
        problem = getattr(error, "problem", None)
        if problem and problem.startswith("but "):  # half a sentence
            problem = f"{getattr(error, 'context', '')}, {problem}"
    given = Shown(f"not YAML: {_one_line(problem or 'it cannot be parsed')[:200]}")
    remedy = "Check the colons, quotes and indentation here and in the line before."
    return fault(f"{where}:{line}" if line else where, "text", given, "YAML", remedy)


def resolve(
    tree: dict[str, Any], environ: Mapping[str, str], where: str, *, secrets: bool
) -> tuple[dict[str, Any], dict[Loc, str]]:
    """Return the data with `${VARIABLES}` filled in, and the problems found, by path.

    Keys must be text. With `secrets` false the text below `alerting.receivers` and `pages.tokens` stays as it is
    written.
    """
    problems: dict[Loc, str] = {}
    nodes = 0

    def walk(value: Any, loc: Loc) -> Any:
        nonlocal nodes
        nodes += 1
        if nodes > MOST_NODES:
            given = Shown(f"more than {MOST_NODES} values")
            raise ConfigError(fault(where, "file", given, CONFIGURATION, "Write it without aliases of aliases."))
        if isinstance(value, str) and "${" in value and (secrets or loc[:2] not in _SECRETS):
            return _fill(value, loc, environ, problems)
        if isinstance(value, list):
            return [walk(item, (*loc, index)) for index, item in enumerate(value)]
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    problem = Problem("text", QUOTE, what="key", given=key if key is not None else Shown("empty"))
                    at = (*loc, str(key))
                    problems[at] = word(loc, problem, None)
            return {str(key): walk(item, (*loc, str(key))) for key, item in value.items()}
        return value

    try:
        return walk(tree, ()), problems
    except RecursionError:
        raise ConfigError(_too_deep(where)) from None


def _fill(value: str, loc: Loc, environ: Mapping[str, str], problems: dict[Loc, str]) -> str:
    def found(match: re.Match[str]) -> str:
        name = match[1]
        if not _NAME.fullmatch(name):
            problem = Problem(
                "${NAME} with the name of an environment variable", "Write only the name.", what="variable"
            )
            problems.setdefault(loc, word(loc, problem._replace(given=_cut(name)), None))
        elif not environ.get(name):
            given = Shown("empty" if name in environ else "not set")
            problem = Problem("a value", f"Set {name}.", what=f"environment variable {name}", given=given)
            problems.setdefault(loc, word(loc, problem, None))
        return environ.get(name, "")

    return _VARIABLE.sub(found, value)


def describe(error: ValidationError, raw: dict[str, Any], model: type[BaseModel], told: dict[Loc, str]) -> str:
    """Return every problem, a line each. What was given is shown as it is in the file, never with a secret in it."""
    lines = list(dict.fromkeys(told.values()))
    for item in error.errors(include_url=False):
        loc: Loc = item["loc"]
        at_key = bool(loc) and loc[-1] == "[key]"
        loc = loc[:-1] if at_key else loc
        for problem in _problems(item, loc, model):
            path = (*loc, *problem.below)
            if any(path[: len(known)] == known for known in told):
                continue
            if at_key:
                problem = problem._replace(what=problem.what or "name", given=_cut(str(loc[-1])))
            lines.append(word(path, problem, raw))
    return "\n".join(dict.fromkeys(lines))


def _problems(item: Any, loc: Loc, model: type[BaseModel]) -> Sequence[Problem]:
    kind, context = item["type"], item.get("ctx") or {}
    if kind == "refused":
        problems: Sequence[Problem] = context["problems"]
        return problems
    last = str(loc[-1]) if loc else ""
    if kind == "missing":
        expected, remedy = _MISSING.get(last, ("a value", f"Write {last}: and its value."))
        return [Problem(expected, remedy, given=Shown("missing"))]
    if kind == "extra_forbidden":
        known = _known(loc[:-1], model)
        return [Problem("a known field", did_you_mean(last, known), what="field", given=_cut(last))]
    if kind == "literal_error":
        expected = context["expected"]
        return [Problem(expected, did_you_mean(item["input"], re.findall("'([^']*)'", expected), "value"))]
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return [Problem("a mapping", "Write its fields below it, each as field: value.")]
    message = _one_line(str(item["msg"]))  # pragma: no cover - whatever pydantic may add: no field has it today
    return [Problem(f"something else ({message})", "Correct it.")]  # pragma: no cover - as above


def _known(loc: Loc, model: type[BaseModel]) -> list[str]:
    """Return the fields that may stand at a path."""
    at_entry = False
    for part in loc:
        if at_entry:
            at_entry = False
            continue
        field = next((f for name, f in model.model_fields.items() if (f.validation_alias or name) == part), None)
        found = list(_models(field.annotation)) if field else []
        if field is None or not found:
            return []  # pragma: no cover - only fields of models lead to an unknown field
        model, at_entry = found[0], get_origin(field.annotation) is dict
    names = (str(field.validation_alias or name) for name, field in model.model_fields.items())
    return [name for name in names if not name.startswith("_")]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def word(loc: Loc, problem: Problem, raw: Any) -> str:
    """Return the line that tells a problem of the field at `loc`."""
    given = problem.given
    if given is None:
        given = Shown("hidden") if loc[:2] in _SECRETS and len(loc) > 2 else shown(_at(raw, loc))
    return fault(_path(loc) or "top level", problem.what or _last(loc), given, problem.expected, problem.remedy)


def _at(raw: Any, loc: Loc) -> Any:
    for part in loc:
        try:
            raw = raw[part]
        except (LookupError, TypeError):  # pragma: no cover - a default that is refused; those say what they are
            return Shown("missing")
    return raw


def shown(value: Any) -> Any:
    """Return what an error message shows of a value: short, on one line, without passwords."""
    if isinstance(value, (Shown, bool, float)):
        return value
    if value is None:
        return Shown("empty")
    if isinstance(value, dict):
        return Shown(f"a mapping of {len(value)}" if value else "an empty mapping")
    if isinstance(value, (list, tuple, set)):
        return Shown(f"a list of {len(value)}" if value else "an empty list")
    if isinstance(value, int):
        return value if abs(value) < 10**20 else Shown("a number of more than 20 digits")
    return _cut(re.sub(r"://[^/@\s]*@", "://***@", value)) if isinstance(value, str) else Shown(type(value).__name__)


def _cut(value: str) -> str:
    return value if len(value) <= 80 else f"{value[:77]}..."


def _one_line(value: str) -> str:
    return "".join(character if character.isprintable() else " " for character in value)


def _path(loc: Loc) -> str:
    path = ""
    for part in loc:
        if isinstance(part, str) and re.fullmatch(r"[\w-]+", part):
            path += f".{part}" if path else part
        else:
            path += (
                f"[{_cut(part) if isinstance(part, str) else part!r}]" if isinstance(part, int) else f"[{_cut(part)!r}]"
            )
    return path


def _last(loc: Loc) -> str:
    start = len(loc) - 1
    while start > 0 and isinstance(loc[start], int):
        start -= 1
    return _path(loc[max(start, 0) :])
