"""The document of objectives, filled in from the configuration and from how they stand, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from modelwatch.config import Config, ModelConfig
from modelwatch.slo.burn import DAY_S
from modelwatch.slo.objectives import slos_of
from modelwatch.slo.period import Period
from modelwatch.slo.report import SloStatus

_HOW = {
    "latency": "the share of requests within the threshold, exact, from a bucket of the Prometheus histogram",
    "availability": "minutes in which at least one replica answered its health check",
    "error_rate": "requests that ended in an exception or a status of 500 and above, over all requests",
    "accuracy": "labelled predictions of a sample of the traffic, each weighted by its chance to be in it",
    "throughput": "minutes with requests in which latency and errors were held",
    "cost": "hours of replicas times their hourly price, over requests",
}


def slo_document(config: Config, model: ModelConfig, statuses: Sequence[SloStatus] = ()) -> str:
    """Return the document: service, version, owner, and for each objective what is promised, measured, and so.

    statuses : how the objectives stand; those that are missing are to be read on the page.
    """
    period = Period.of_model(model)
    known = {status.slo: status for status in statuses}
    lines = [
        f"# Service levels of {model.name}", "",
        f"Service: {config.service.name}  ", f"Version: {model.version}  ",
        f"Owner: {config.service.owner or 'not named in the configuration'}  ", f"Period: {period}", "",
    ]  # fmt: skip
    for number, slo in enumerate(slos_of(model), 1):
        title = slo.kind.replace("_", " ").capitalize()
        lines += [f"## {number}. {title}", "", f"- Objective: {slo.good}", f"- Measurement: {_HOW[slo.kind]}"]
        if slo.budget is not None:
            lines.append(f"- Budget: {_budget(slo.kind, slo.budget, model, period.days_s / DAY_S)}")
        status = known.get(slo.kind)
        lines += [f"- Current: {_current(status)}", ""]
    if len(lines) == 7:
        lines.append("No objectives are configured: add `slos:` to the model.")
    return "\n".join(lines).rstrip() + "\n"


def _budget(kind: str, budget: float, model: ModelConfig, days: float) -> str:
    if kind == "availability":
        return f"{budget:.2%} of minutes may be bad: {budget * days * 24:.1f} hours in {days:g} days"
    if kind == "throughput":
        return f"{budget:.0%} of minutes may break"
    if kind == "accuracy":
        return f"{budget:.2%} may be wrong; {model.ground_truth.sampling_rate:.0%} of the traffic is reviewed"
    return f"{budget:.2%} of requests may be bad"


def _current(status: SloStatus | None) -> str:
    if status is None:
        return "see `modelwatch slo`"
    if status.compliance is None or status.remaining is None:
        return f"cannot tell: {status.reason}"
    return f"{status.compliance:.4%}, {status.remaining:.0%} of the budget left"
