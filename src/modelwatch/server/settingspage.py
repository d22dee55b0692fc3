"""The page "what was understood?": the configuration, what is kept and how long, versions, series. No secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modelwatch.server import words
from modelwatch.server.frame import MONITOR, PATHS, SETTINGS, choose, document, frame, page_title, query, render
from modelwatch.server.health import VERDICTS
from modelwatch.server.itself import itself
from modelwatch.server.words import MISSING, clean, finite

NO_SETTINGS = (
    "These pages were given no configuration. modelwatch serve has it; in an application of your own, pass it: "
    'pages_app(status, settings=lambda: settings(load_config("modelwatch.yaml"))).'
)


class Group(NamedTuple):
    """Facts that belong together."""

    title: str
    about: str
    facts: Sequence[tuple[str, str]]


def settings_page(status: Mapping[str, Any], *, base: str = "", model: str | None = None, role: str = "") -> str:
    """Return the page as a full HTML document.

    Parameters and errors are those of `pages.health_page`; `role` is that of whoever has signed in, empty for nobody.
    """
    parts = settings_fragments(status, base=base, model=model, role=role)
    title = page_title(SETTINGS, model=choose(status, model))
    return document("settings", parts, base, f"{base}/fragments/settings{query(model)}", title, "none")


def settings_fragments(
    status: Mapping[str, Any], *, base: str = "", model: str | None = None, role: str = ""
) -> dict[str, str]:
    """Return the changing parts of the page, by the name that the page gives their boxes."""
    chosen, held = choose(status, model), status.get("settings")
    groups = [_monitor(status)]
    if isinstance(held, Mapping):
        groups += [
            *_of_models(held), _alerting(held), _access(held), _kept(held), _versions(held)
        ]  # fmt: skip
    missing = "" if isinstance(held, Mapping) else NO_SETTINGS
    monitor = f"{base}{PATHS[MONITOR]}{query(model)}"
    cards = render("settingscards", groups=groups, missing=missing, base=base, role=role, monitor=monitor)
    return frame(status, chosen, base, model, SETTINGS) | {"cards": cards}


def _monitor(status: Mapping[str, Any]) -> Group:
    said, workers = itself(status).verdict, status.get("workers") or {}
    age = finite(status.get("data_age_s"))
    evaluation: Mapping[str, Any] = status.get("evaluation") or {}
    evaluated = finite(evaluation.get("evaluated_s_ago"))
    file = (status.get("monitor") or {}).get("file") or {}
    facts = [
        ("State", f"{VERDICTS.get(said.state, said.word)}: {said.clause}"),
        ("Workers reporting", words.number(finite(workers.get("alive")))),
        ("Newest data", f"{words.age(age)} old" if age is not None else "none yet"),
        ("Last evaluation", f"{words.age(evaluated)} ago" if evaluated is not None else "none here"),
        ("live.db", words.size(finite(file.get("bytes")))),
        ("Free on its disk", words.size(finite(file.get("free_bytes")))),
    ]
    return Group("The monitor itself", "is what you read here to be trusted?", facts)


def _of_models(held: Mapping[str, Any]) -> list[Group]:
    series: Mapping[str, Any] = held.get("series") or {}
    found = []
    for model in held["models"]:
        features: Mapping[str, Any] = model["features"]
        kinds = words.listed(
            [f"{sum(kind == k for k in features.values())} {kind}" for kind in dict.fromkeys(features.values())]
        )
        truth = model["ground_truth"]
        shown = finite(series.get(f"{model['name']} {model['version']}"))
        facts = [
            ("Task", model["task"]),
            ("Classes", clean(", ".join(model["classes"]), 200) or MISSING),
            ("Features", kinds or "none: drift of inputs cannot be told"),
            ("Segments by", clean(model["segment"] or "nothing", 80)),
            ("Reference", clean(model["reference"] or "none: drift cannot be told", 200)),
            ("Low confidence", f"below {model['low_confidence']:g}"),
            ("Kept for review", f"{words.percent(truth['sampling_rate'])} of the predictions, {truth['strategy']}"),
            ("Objectives", _objectives(model["slos"])),
            (
                "Drift window",
                f"{words.span(model['drift']['window_s'])}, severe {words.span(model['drift']['severe_window_s'])}",
            ),
            ("Alerts switched off", _off(model["alerts"])),
            ("Series in Prometheus", words.number(shown)),
        ]
        found.append(Group(f"{clean(model['name'], 60)} {clean(model['version'], 40)}", "as it was understood", facts))
    return found


def _objectives(slos: Mapping[str, Any]) -> str:
    held = {name: one for name, one in slos.items() if isinstance(one, Mapping) and "objective" in one}
    found = [f"{name.replace('_', ' ')} {one['objective']:g}" for name, one in held.items()]
    return ", ".join(found) or "none"


def _off(alerts: Mapping[str, Any]) -> str:
    return ", ".join(clean(name, 60) for name, one in alerts.items() if one is None) or "none"


def _alerting(held: Mapping[str, Any]) -> Group:
    alerting = held["alerting"]
    receivers = [(f"Receiver {clean(name, 60)}", f"{one['kind']}, target {one['target']}")
                 for name, one in alerting["receivers"].items()]  # fmt: skip
    routes = [(f"Told of {severity}", clean(", ".join(names), 200) or "nobody")
              for severity, names in alerting["routes"].items()]  # fmt: skip
    facts = [*receivers, *routes, ("Alertmanager", alerting["alertmanager"]),
             ("Repeated every", words.span(alerting["repeat_interval_s"]))]  # fmt: skip
    return Group("Who is told", "of a secret only whether it is set", facts)


def _access(held: Mapping[str, Any]) -> Group:
    pages, service = held["pages"], held["service"]
    tokens = [(f"Token to {role}", state) for role, state in pages["tokens"].items()]
    facts = [
        *tokens, ("Known as", clean(", ".join(pages["hosts"]), 200) or "localhost and its addresses"),
        ("Path prefix", clean(pages["prefix"] or "none", 80)),
        ("Proxies believed", clean(", ".join(pages["proxies"]), 200) or "none"),
        ("Signed in for", words.span(pages["session_s"])),
        ("Health check", service["health_url"]),
    ]  # fmt: skip
    return Group("Who may see it", "of a secret only whether it is set", facts)


def _kept(held: Mapping[str, Any]) -> Group:
    kept = held["retention"]
    facts = [
        ("Counts by the minute", words.span(kept["minutes_s"])),
        ("Counts by the hour", words.span(kept["hours_s"])),
        ("Counts by the day", f"{words.span(kept['days_s'])}, then one sum: counters never fall"),
        *((f"Samples of {clean(name, 40)}", words.span(span)) for name, span in kept["samples_s"].items()),
        ("Notices and silences", words.span(kept["notices_s"])),
        ("Store", f"{clean(held['store'], 200)}, at most {words.size(kept['store_bytes'])}"),
        ("Counts", clean(held["live"], 200)),
    ]
    return Group("What is kept", "until it is summed or removed", facts)


def _versions(held: Mapping[str, Any]) -> Group:
    return Group("Versions", "of what runs here", [(name, clean(text, 40)) for name, text in held["versions"].items()])
