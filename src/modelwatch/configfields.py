"""The kinds of values in the configuration: ratios, durations, names, paths, addresses; words for wrong ones."""

from __future__ import annotations

import difflib
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, NoReturn, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo
from pydantic_core import PydanticCustomError

Key = TypeVar("Key")
Value = TypeVar("Value")

LONGEST_TEXT: Final = 128
LONGEST_DURATION_S: Final = 3650 * 86400.0
CALENDAR = ("month", "week")
SHORTEST_PERIOD, LONGEST_PERIOD = 7, 400  # days of a budget; counts are kept for as long
SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
QUOTE = "Write it in quotes."
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")


class FrozenMap(dict[Key, Value]):
    """A dict that is hashable because it cannot be changed."""

    def _fixed(self, *_: object, **__: object) -> NoReturn:
        message = "the configuration cannot be changed"
        raise TypeError(message)

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _fixed

    def __hash__(self) -> int:  # type: ignore[override]  # dict declares that it has none
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type, tuple[dict[Key, Value]]]:
        return type(self), (dict(self),)


class Shown(str):
    """Text that an error message shows as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Problem(NamedTuple):
    """What is wrong: `below` is the path under the field looked at; `what`, `given` default to that field's."""

    expected: str
    remedy: str
    below: tuple[str | int, ...] = ()
    what: str | None = None
    given: object = None


class Section(BaseModel):
    """A part of the configuration: cannot be changed, takes no unknown field."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)


def refuse(*problems: Problem) -> PydanticCustomError:
    """Return the exception by which a validator tells its problems."""
    return PydanticCustomError("refused", "refused", {"problems": problems})


def did_you_mean(given: object, known: Iterable[str], kind: str = "field") -> str:
    """Return the remedy for a name that is not one of the known ones.

    Examples
    --------
    >>> did_you_mean("verison", ["version", "task"])
    "Did you mean 'version'?"
    >>> did_you_mean("colour", ["version", "task"])
    'Known fields: task, version.'
    """
    names = sorted(known)
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(given).lower()[:LONGEST_TEXT], lower, 1)
    if near:
        return f"Did you mean {lower[near[0]]!r}?"
    listed = ", ".join(name if name.isprintable() else repr(name) for name in names[:30])
    return f"Known {kind}s: {listed or 'none'}."


def as_ratio(value: object) -> str:
    """Return the remedy for a share that was written as a percentage, or an example.

    Examples
    --------
    >>> as_ratio(99.9), as_ratio("5 %")
    ('Write 0.999.', 'Write 0.05.')
    """
    percent = value
    if isinstance(value, str) and re.fullmatch(r"\d{1,3}(\.\d{1,12})? ?%", value):
        percent = float(value.rstrip(" %"))
    if isinstance(percent, (int, float)) and not isinstance(percent, bool) and 0 < percent < 100:
        return f"Write {percent / 100:.10g}."
    return "Write a share such as 0.95."


def _number(expected: str, fits: Callable[[float], bool], remedy: Callable[[object], str]) -> BeforeValidator:
    def check(value: object) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number) and fits(number):
                return number
        raise refuse(Problem(expected, remedy(value)))

    return BeforeValidator(check)


def _plain(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d*)?", value.strip()):
        return "Write it without quotes."
    return "Write a larger number." if isinstance(value, (int, float)) and value <= 0 else "Write a number."


def _objective(value: object) -> str:
    if value in (1, 100) and not isinstance(value, bool):
        return "An objective of 1 leaves no error budget: write 0.999."
    return as_ratio(value)


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10**9:
        return value
    remedy = "Write a whole number." if isinstance(value, float) else _plain(value)
    raise refuse(Problem("a whole number from 1 to 1000000000", remedy))


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise refuse(Problem("true or false", "Write true or false without quotes."))


def seconds(value: object) -> float | None:
    """Return the seconds of a duration, or None if it is none.

    Examples
    --------
    >>> seconds("500ms"), seconds("1h30m"), seconds(5), seconds("5"), seconds("soon")
    (0.5, 5400.0, 5.0, None, None)
    """
    if isinstance(value, str):
        compact = value.replace(" ", "")
        if len(compact) > LONGEST_TEXT or not compact.isascii() or not _DURATION.fullmatch(compact):
            return None
        return round(sum(float(number) * SECONDS[unit] for number, unit in _PART.findall(compact)), 9)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= LONGEST_DURATION_S:
        return float(value)
    return None


def period_days(value: object) -> int | None:
    """Return the days of a period such as 28d; None if it is none of 1 to 400 days.

    Examples
    --------
    >>> period_days("28d"), period_days("month"), period_days("900d")
    (28, None, None)
    """
    days = int(value[:-1]) if isinstance(value, str) and re.fullmatch("[0-9]{1,3}d", value) else 0
    return days if 1 <= days <= LONGEST_PERIOD else None


def period(value: object) -> str:
    """Return the period of objectives: the calendar's month or week, or days that end now."""
    days = period_days(value)
    if value in CALENDAR or (days is not None and days >= SHORTEST_PERIOD):
        return str(value)
    expected = f"{', '.join(CALENDAR)}, or {SHORTEST_PERIOD}d to {LONGEST_PERIOD}d"
    remedy = "No budget of fewer days burns slowly enough to be told of." if days else "Write 30d."
    raise refuse(Problem(expected, remedy))


def _duration(*, zero: bool) -> BeforeValidator:
    def check(value: object) -> float:
        found = seconds(value)
        if found is not None and found <= LONGEST_DURATION_S and (found > 0 or zero):
            return found
        bare = isinstance(value, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value.strip())
        remedy = f"Write {str(value).strip()}s." if bare else "Write a number and ms, s, m, h or d."
        expected = (
            f"a duration {'of' if zero else 'above'} 0 {'or more ' if zero else ''}such as 500ms, 30s, 5m, 1h30m or 90d"
        )
        raise refuse(Problem(f"{expected}, at most 3650d", remedy))

    return BeforeValidator(check)


def _text_problem(value: object) -> Problem | None:
    expected = f"text of 1 to {LONGEST_TEXT} characters"
    if isinstance(value, str):
        if not value.strip():
            return Problem(expected, "Write at least one character.")
        if len(value) > LONGEST_TEXT:
            return Problem(expected, f"Shorten it by {len(value) - LONGEST_TEXT} characters.")
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
            return Problem(f"{expected} without control characters", "Remove them.")
        return None
    if isinstance(value, bool):
        return Problem(expected, f"YAML reads yes, no, on, off, true and false as booleans. {QUOTE}")
    return Problem(expected, QUOTE if isinstance(value, (int, float)) else "Write text.")


def text(value: object) -> str:
    """Return a name as it is: any text of 1 to 128 characters without control characters."""
    problem = _text_problem(value)
    if problem:
        raise refuse(problem)
    return str(value)


def version(value: object) -> str:
    """Return a version. A number is refused: YAML has already made 1.1 of 1.10."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise refuse(Problem("text", f"{QUOTE} Without them YAML reads a number, and 1.10 becomes 1.1."))
    return text(value)


def texts(value: object) -> tuple[str, ...]:
    """Return a list of different names; a whole number stands for its text, as a class label of 0 or 1 does."""
    if not isinstance(value, (list, tuple)):
        raise refuse(Problem("a list", "Write it in brackets: [first, second]."))
    problems, seen = [], dict[str, int]()
    for index, item in enumerate(value):
        item = str(item) if isinstance(item, int) and not isinstance(item, bool) and abs(item) < 10**18 else item
        problem = _text_problem(item)
        if problem is None and item in seen:
            problem = Problem("each value once", f"Remove it; it is the same as number {seen[item] + 1} of the list.")
        if problem:
            problems.append(problem._replace(below=(index,)))
        else:
            seen[item] = index
    if problems:
        raise refuse(*problems)
    return tuple(seen)


def increasing(value: object) -> tuple[float, ...]:
    """Return a list of finite numbers, each above the one before."""
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= 100:
        raise refuse(Problem("a list of 1 to 100 numbers", "Write it in brackets: [0, 1, 10]."))
    edges: list[float] = []
    for index, item in enumerate(value):
        try:
            number = float(item) if isinstance(item, (int, float)) and not isinstance(item, bool) else math.nan
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise refuse(Problem("a finite number", _plain(item), (index,)))
        if edges and number <= edges[-1]:
            raise refuse(Problem(f"a number above the one before, {edges[-1]!r}", "Sort the list.", (index,)))
        edges.append(number)
    return tuple(edges)


def url(value: object) -> str:
    """Return an address of a web server."""
    if isinstance(value, str) and re.fullmatch(r"https?://[^\s/?#]+[^\s]*", value) and value.isprintable():
        return value
    raise refuse(Problem("an address that begins with http:// or https://", "Write the whole address."))


def _root(info: ValidationInfo) -> Path | None:
    context: Mapping[str, Any] = info.context or {}
    root: Path | None = context.get("root")
    return root


def file_path(value: object, info: ValidationInfo) -> Path:
    """Return a path; a relative one is relative to the folder of the configuration file."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise refuse(Problem("a path", "Write the path of a file."))
    root = _root(info)
    return root / value if root else Path(value)


def store_url(value: object, info: ValidationInfo) -> str:
    """Return the address of a store; the path of a SQLite file is relative to the folder of the configuration file."""
    expected = "sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
    if not isinstance(value, str) or not value.isprintable():
        raise refuse(Problem(expected, "Write the address of the store."))
    scheme, _, rest = value.partition("://")
    if scheme in ("postgres", "postgresql", "postgresql+psycopg2"):
        raise refuse(Problem(expected, "Begin it with postgresql+psycopg://."))
    if scheme == "postgresql+psycopg" and rest:
        return value
    if scheme != "sqlite" or len(rest) < 2 or not rest.startswith("/"):
        remedy = (
            f"Write sqlite:///{value}."
            if re.fullmatch(r"[\w./-]+\.(db|sqlite3?)", value)
            else "Write the whole address."
        )
        raise refuse(Problem(expected, remedy))
    root = _root(info)
    return value if rest == "/:memory:" or not root else f"sqlite:///{root / rest[1:]}"


Text = Annotated[str, BeforeValidator(text)]
Version = Annotated[str, BeforeValidator(version)]
Texts = Annotated[tuple[str, ...], BeforeValidator(texts)]
Edges = Annotated[tuple[float, ...], BeforeValidator(increasing)]
Url = Annotated[str, BeforeValidator(url)]
FilePath = Annotated[Path, BeforeValidator(file_path)]
StoreUrl = Annotated[str, BeforeValidator(store_url)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Count = Annotated[int, BeforeValidator(_whole)]
Ratio = Annotated[float, _number("a ratio between 0 and 1", lambda number: 0 <= number <= 1, as_ratio)]
Objective = Annotated[float, _number("a ratio between 0 and 1", lambda number: 0 < number < 1, _objective)]
Positive = Annotated[float, _number("a number above 0", lambda number: number > 0, _plain)]
NotNegative = Annotated[float, _number("a number of 0 or more", lambda number: number >= 0, _plain)]
AtLeastOne = Annotated[float, _number("a number of at least 1", lambda number: number >= 1, _plain)]
BudgetPeriod = Annotated[str, BeforeValidator(period)]
Duration = Annotated[float, _duration(zero=False)]
Wait = Annotated[float, _duration(zero=True)]


def over(defaults: Mapping[Any, float | None]) -> BeforeValidator:
    """Fill what a block leaves out from the defaults of its place."""
    return BeforeValidator(lambda given: {**defaults, **given} if isinstance(given, dict) else given)


#: A dict that cannot be changed any more.
fixed = AfterValidator(FrozenMap)
#: A block whose lines are all comments has its defaults.
or_empty = BeforeValidator(lambda given: {} if given is None else given)
