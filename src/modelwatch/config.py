"""The configuration: the text of `modelwatch.yaml` to frozen, validated objects that hold every default.

All problems of a file are reported at once, a line each. The kinds of values are in `configfields`, reading YAML and
wording the problems in `configtext`, who is told in `configalerting`, the alerts with their default thresholds in
`catalogue`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from modelwatch.catalogue import ALERTS, KS, PSI
from modelwatch.configalerting import Alerting
from modelwatch.configfields import (
    AtLeastOne,
    BudgetPeriod,
    Count,
    Duration,
    Edges,
    FilePath,
    Flag,
    FrozenMap,
    NotNegative,
    Objective,
    Positive,
    Problem,
    Ratio,
    Section,
    Shown,
    StoreUrl,
    Text,
    Texts,
    Url,
    Version,
    as_ratio,
    did_you_mean,
    fixed,
    or_empty,
    over,
    refuse,
)
from modelwatch.configlogs import Logs
from modelwatch.configpages import Pages
from modelwatch.configtext import describe, read_file, read_yaml, resolve
from modelwatch.errors import ConfigError, fault
from modelwatch.names import INVALID, OTHER, UNMATCHED

DAY_S = 86400.0
MOST_LABEL_VALUES = 100_000
_DECADES = tuple(10.0**k for k in range(7))
#: Upper bounds of the values of a regression model: decades on both sides of 0, and tenths between 0 and 1.
VALUE_BUCKETS = (*(-edge for edge in reversed(_DECADES)), -0.1, 0.0, *(k / 10 for k in range(1, 10)), *_DECADES)


class Service(Section):
    """The service that is watched."""

    name: Text
    owner: Text | None = None
    health_url: Url | None = Field(default=None, repr=False)  # may hold a password
    replicas: Count = 1


class GroundTruth(Section):
    """How predictions are sampled for review, and how long they are kept."""

    sampling_rate: Ratio = 0.1
    strategy: Literal["uniform", "uncertainty", "stratified"] = "uniform"
    strata: Literal["confidence", "prediction", "segment"] = "confidence"  # of the strategy stratified
    window: Count = 1000
    retention_s: Duration = Field(default=90 * DAY_S, validation_alias="retention")
    weekly_budget: Count | None = None


def _levels_problem(levels: Mapping[str, float | None], order: tuple[str, ...], what: str) -> Problem | None:
    known = [(name, level) for name in order if (level := levels.get(name)) is not None]
    if all(one[1] < other[1] for one, other in itertools.pairwise(known)):
        return None
    given = Shown(", ".join(f"{name} {level:g}" for name, level in known))
    return Problem(
        " < ".join(name for name, _ in known), "Change one, or write null to switch it off.", (), what, given
    )


class Levels(Section):
    """The scores from which drift is slight, moderate and severe; None switches one off."""

    info: Positive | None = None
    warning: Positive | None = None
    critical: Positive | None = None

    @model_validator(mode="after")
    def _increase(self) -> Levels:
        problem = _levels_problem(self.__dict__, ("info", "warning", "critical"), "order of the levels")
        if problem:
            raise refuse(problem)
        return self


class Drift(Section):
    """When the inputs (`ks`, or total variation of categories) or the answers (`psi`) have drifted."""

    ks: Annotated[Levels, over(KS), or_empty] = Levels(**KS)
    psi: Annotated[Levels, over(PSI), or_empty] = Levels(**PSI)
    window_s: Duration = Field(default=DAY_S, validation_alias="window")
    severe_window_s: Duration = Field(default=3600.0, validation_alias="severe_window")
    design_effect: AtLeastOne = 1.0
    pages: Flag = False

    @model_validator(mode="after")
    def _ordered(self) -> Drift:
        if self.severe_window_s > self.window_s:
            given, expected = Shown(f"{self.severe_window_s:g}s"), f"a duration of at most window, {self.window_s:g}s"
            raise refuse(Problem(expected, "Shorten it, or lengthen window.", ("severe_window",), given=given))
        for level, score in self.ks:
            if (score or 0) > 1:
                raise refuse(Problem("a ratio between 0 and 1", as_ratio(score), ("ks", level)))
        return self


class LatencySlo(Section):
    """A share of the requests is answered within the threshold."""

    threshold_s: Duration = Field(default=0.5, validation_alias="threshold")
    objective: Objective = 0.95


class RatioSlo(Section):
    """A share of the time (availability), of the requests (error_rate) or of the labels (accuracy) is good."""

    objective: Objective


class ThroughputSlo(Section):
    """Requests per second that are held without breaking the latency objective."""

    objective: Positive = 1000.0


class CostSlo(Section):
    """Currency per 1000 requests, and the hourly price of one replica."""

    objective: Positive = 0.05
    hourly: NotNegative


class Slos(Section):
    """The objectives; None is no such objective.

    `period` is what their budgets are for: days that end now, or the calendar's `month` or `week`, of which alerts and
    Prometheus take the last 30 or 7 days.
    """

    period: BudgetPeriod = "30d"
    latency: LatencySlo | None = None
    availability: Annotated[RatioSlo, over({"objective": 0.995})] | None = None
    error_rate: Annotated[RatioSlo, over({"objective": 0.99})] | None = None
    accuracy: Annotated[RatioSlo, over({"objective": 0.85})] | None = None
    throughput: ThroughputSlo | None = None
    cost: CostSlo | None = None


class Thresholds(Section):
    """The thresholds of an alert; None is off, or an alert without a number.

    `catastrophic` is the lower accuracy at which `LowModelAccuracy` is critical sooner.
    """

    critical: Positive | None = None
    warning: Positive | None = None
    info: Positive | None = None
    catastrophic: Positive | None = None


def _alert_name(value: object) -> str:
    if isinstance(value, str) and value in ALERTS:
        return value
    raise refuse(Problem("the name of an alert", did_you_mean(value, ALERTS, "alert"), (), "alert"))


def _reserved(values: tuple[str, ...]) -> tuple[str, ...]:
    taken = [index for index, value in enumerate(values) if value in (OTHER, INVALID, UNMATCHED)]
    if not values:
        raise refuse(Problem("at least one class", "Write every class that the model answers: [negative, positive]."))
    if taken:
        raise refuse(
            *(Problem("a name that modelwatch does not use itself", "Rename it.", (index,)) for index in taken)
        )
    return values


class ModelConfig(Section):
    """A model: what it answers, what it is asked, and when somebody wants to know."""

    name: str = Field(validation_alias="__name__")  # the key of the model
    version: Version
    task: Literal["classification", "regression"]
    classes: Annotated[Texts, AfterValidator(_reserved)] = ()
    features: Annotated[dict[Text, Literal["numeric", "categorical"]], or_empty, fixed] = FrozenMap()
    segment: Text | None = None
    reference: FilePath | None = None
    low_confidence: Ratio = 0.7
    ground_truth: Annotated[GroundTruth, or_empty] = GroundTruth()
    drift: Annotated[Drift, or_empty] = Drift()
    slos: Annotated[Slos, or_empty] = Slos()
    alerts: Annotated[dict[Annotated[str, BeforeValidator(_alert_name)], Thresholds | None], or_empty, fixed] = (
        FrozenMap()
    )
    max_label_values: Count = 1000
    value_buckets: Edges = VALUE_BUCKETS
    logs: Annotated[Logs, or_empty] = Logs()

    @field_validator("alerts", mode="after")
    @classmethod
    def _levels_of_alerts(cls, alerts: dict[str, Thresholds | None]) -> dict[str, Thresholds | None]:
        problems = []
        for name, given in alerts.items():
            alert = ALERTS[name]
            for level in given.model_fields_set if given else ():
                value = getattr(given, level)
                if level not in alert.levels:
                    remedy = f"{name} has {', '.join(alert.levels) or 'none'}; write {name}: null to switch it off."
                    problems.append(Problem("a threshold of this alert", remedy, (name, level), "field", Shown(level)))
                elif alert.unit == "ratio" and value is not None and value > 1:
                    problems.append(Problem("a ratio between 0 and 1", as_ratio(value), (name, level)))
        if problems:
            raise refuse(*problems)
        return alerts

    @field_validator("max_label_values", mode="after")
    @classmethod
    def _few_label_values(cls, value: int) -> int:
        if value > MOST_LABEL_VALUES:
            raise refuse(Problem(f"at most {MOST_LABEL_VALUES}", "Every value of a label is a series."))
        return value

    @model_validator(mode="after")
    def _settle(self) -> ModelConfig:
        problems = []
        if self.task == "classification" and "classes" not in self.model_fields_set:
            remedy = "Write classes: [negative, positive]."
            problems.append(Problem("the classes of a classifier", remedy, ("classes",), given=Shown("missing")))
        elif self.task == "regression" and "classes" in self.model_fields_set:
            problems.append(
                Problem("no classes for a regression", "Remove it, or write task: classification.", ("classes",))
            )
        elif len(self.classes) > self.max_label_values:
            given = Shown(f"{len(self.classes)} long")
            expected = f"at most max_label_values classes ({self.max_label_values})"
            problems.append(Problem(expected, "Raise max_label_values.", ("classes",), given=given))
        merged = {name: self._merged(name, problems) for name in ALERTS}
        if problems:
            raise refuse(*problems)
        # the thresholds of drift may be written in either place and are the same in both
        update = {}
        for name, field in _DRIFT.items():
            thresholds = merged[name]
            if thresholds is not None:
                update[field] = Levels(**{level: getattr(thresholds, level) for level in Levels.model_fields})
        object.__setattr__(self, "drift", self.drift.model_copy(update=update))
        object.__setattr__(self, "alerts", FrozenMap(merged))
        return self

    def _merged(self, name: str, problems: list[Problem]) -> Thresholds | None:
        given = self.alerts.get(name, Thresholds())
        if given is None:
            return None
        alert, written = ALERTS[name], given.model_dump(exclude_unset=True)
        levels: dict[str, float | None] = {**alert.levels}
        if name in _DRIFT:
            levels = self._drift_levels(name, written, problems)
        elif alert.falling and self.slos.accuracy:
            levels["warning"] = self.slos.accuracy.objective
        levels |= written
        order = ("catastrophic", "critical", "warning") if alert.falling else ("info", "warning", "critical")
        problem = _levels_problem(levels, order, "order of the thresholds")
        if problem:
            problems.append(problem._replace(below=("alerts", name)))
        return Thresholds(**levels)

    def _drift_levels(self, name: str, written: Mapping[str, Any], problems: list[Problem]) -> dict[str, float | None]:
        field, default = _DRIFT[name], ALERTS[name].levels
        levels: dict[str, float | None] = getattr(self.drift, field).model_dump()
        for level, value in written.items():
            if levels[level] not in (default[level], value):
                remedy = f"Write it in one of the two places; drift.{field}.{level} is another number."
                expected = f"the same number as drift.{field}.{level}"
                problems.append(Problem(expected, remedy, ("alerts", name, level)))
        return levels


_DRIFT = {"DataDriftDetected": "ks", "ConceptDriftDetected": "psi"}


def _at_least_one(models: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
    if not models:
        raise refuse(Problem("at least one model", "Write its name, and its version and task below that."))
    return FrozenMap(models)


class Config(Section):
    """The whole configuration."""

    service: Service
    models: Annotated[dict[Text, ModelConfig], or_empty, AfterValidator(_at_least_one)]
    alerting: Annotated[Alerting, or_empty] = Alerting()
    pages: Annotated[Pages, or_empty] = Pages()
    store: StoreUrl | None = Field(default=None, repr=False)  # may hold a password
    live: FilePath = Field(default=Path("live.db"), validate_default=True)
    time_scale: Positive = 1.0

    def model(self, name: str | None = None) -> ModelConfig:
        """Return a model by its name; without a name, the only one there is.

        Raises
        ------
        ConfigError   there is no such model, or there are several and none is named.
        """
        known = ", ".join(map(repr, self.models))
        if name is None:
            if len(self.models) == 1:
                return next(iter(self.models.values()))
            given: object = Shown("not given")
        elif name in self.models:
            return self.models[name]
        else:
            given = name
        remedy = did_you_mean(name, self.models, "model") if name else "Name one."
        raise ConfigError(fault("models", "model", given, f"one of {known}", remedy))


def load_config(
    path: str | os.PathLike[str], environ: Mapping[str, str] | None = None, *, secrets: bool = True
) -> Config:
    """Read a configuration file.

    Parameters
    ----------
    path : the file; relative paths in it are relative to its folder.
    environ : variables for `${NAME}` and `MODELWATCH_LIVE`, which replaces `live`; those of the process by default.
    secrets : False leaves the `${NAME}` of receivers as they are, for those who do not send.

    Raises
    ------
    ConfigError   with a line for every problem.
    """
    file = Path(os.path.abspath(path))  # noqa: PTH100 - links are not followed: their folder is not the file's
    return parse_config(read_file(Path(path)), str(path), environ, file.parent, secrets=secrets)


def parse_config(
    text: str,
    where: str = "modelwatch.yaml",
    environ: Mapping[str, str] | None = None,
    root: Path | None = None,
    *,
    secrets: bool = True,
) -> Config:
    """Return the configuration that a text holds; as `load_config`, with `root` for the folder.

    Examples
    --------
    >>> config = parse_config('{service: {name: api}, models: {churn: {version: "1", task: regression}}}', environ={})
    >>> config.model().alerts["HighErrorRate"].critical
    0.05
    """
    environ = os.environ if environ is None else environ
    raw = read_yaml(text, where)
    tree, told = resolve(raw, environ, where, secrets=secrets)
    if environ.get("MODELWATCH_LIVE"):
        tree["live"] = raw["live"] = environ["MODELWATCH_LIVE"]
    if isinstance(tree.get("models"), dict):
        named = tree["models"].items()
        tree["models"] = {name: {**body, "__name__": name} if isinstance(body, dict) else body for name, body in named}
    try:
        config = Config.model_validate(tree, context={"root": root}, by_alias=True, by_name=False)
    except ValidationError as error:
        raise ConfigError(describe(error, raw, Config, told)) from None
    if told:
        raise ConfigError("\n".join(dict.fromkeys(told.values())))
    return config
