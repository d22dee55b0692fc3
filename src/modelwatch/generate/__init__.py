"""The generated stack: one configuration to the files of Prometheus, Alertmanager, Grafana, Compose and Kubernetes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from modelwatch.config import Config
from modelwatch.errors import ConfigError, fault
from modelwatch.generate import (
    alertmanager,
    compose,
    drift,
    drifttests,
    grafana,
    kubernetes,
    prometheus,
    rules,
    ruletests,
    vmalert,
)
from modelwatch.generate.context import Context, Places
from modelwatch.generate.writing import Written, differences, write
from modelwatch.reference import Reference

__all__ = ["PARTS", "Context", "Places", "Written", "differences", "generate", "write"]

Files = dict[str, str]


def _kubernetes(context: Context) -> Files:
    made = rules.files(context) | drift.files(context) | alertmanager.files(context) | _grafana(context)
    return kubernetes.files(context, made)


def _grafana(context: Context) -> Files:
    return grafana.files(context, rules.records_of(context))


def _vmalert(context: Context) -> Files:
    return vmalert.files(context, rules.files(context) | drift.files(context))


#: What can be made, by the name that `only` takes.
PARTS: dict[str, Callable[[Context], Files]] = {
    "prometheus": prometheus.files,
    "rules": lambda context: rules.files(context) | ruletests.files(context),
    "drift-rules": lambda context: drift.files(context) | drifttests.files(context),
    "alertmanager": alertmanager.files,
    "grafana": _grafana,
    "compose": compose.files,
    "kubernetes": _kubernetes,
    "vmalert": _vmalert,
}
#: Made only where they are named.
ON_REQUEST = ("vmalert",)


def generate(
    config: Config,
    only: Iterable[str] | None = None,
    *,
    version: str = "",
    references: Mapping[str, Reference] | None = None,
    environ: Mapping[str, str] | None = None,
    places: Places | None = None,
) -> Files:
    """Return the files of the stack, {path: text}. The same input gives the same text.

    Parameters
    ----------
    only : names of `PARTS`; by default all of them but those `ON_REQUEST`.
    version : of modelwatch, for the headers.
    references : profiles of the training data by model; without one there are no alerts of drift.
    environ : variables that options of receivers which are no secrets may name. Secrets are never read.
    places : where the parts of the stack answer; by default as the compose file says.

    Raises
    ------
    ConfigError   an unknown part, or a receiver that Alertmanager has not.
    """
    context = Context(config, version, references or {}, environ or {}, places or Places())
    chosen = [name for name in PARTS if name not in ON_REQUEST] if only is None else tuple(dict.fromkeys(only))
    made: Files = {}
    for name in chosen:
        if name not in PARTS:
            raise ConfigError(fault("generate", "part", name, f"one of {', '.join(PARTS)}", "Name one of them."))
        made |= PARTS[name](context)
    return dict(sorted(made.items()))
