"""The configuration: every default, every refusal with its exact line, and no error but ConfigError from any text."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from modelwatch.catalogue import ALERTS
from modelwatch.config import Config, Drift, ModelConfig, Service, Thresholds, load_config, parse_config
from modelwatch.configalerting import Alerting, Receiver
from modelwatch.errors import ConfigError

DEMO = Path(sys.modules["modelwatch.config"].__file__ or "").parent / "demo" / "modelwatch.yaml"

EXAMPLE = """
service: {name: sentiment-api, owner: ml-platform, health_url: "http://127.0.0.1:8000/healthz", replicas: 2}
models:
  sentiment_classifier:
    version: "1.4.2"
    task: classification            # or regression
    classes: [negative, neutral, positive]
    features: {text_length: numeric, sentiment_score: numeric, language: categorical}
    segment: category               # the field whose values are the segments
    reference: reference/sentiment_classifier.json
    low_confidence: 0.7
    ground_truth: {sampling_rate: 0.1, strategy: uniform, window: 1000, retention: 90d}
    drift: {ks: {info: 0.10, warning: 0.15, critical: 0.25},
            psi: {info: 0.10, warning: 0.20, critical: 0.25}, window: 24h, severe_window: 1h, design_effect: 1, pages: false}
    slos:
      latency:      {threshold: 500ms, objective: 0.95}
      availability: {objective: 0.995}
      error_rate:   {objective: 0.99}
      accuracy:     {objective: 0.85}
      throughput:   {objective: 1000}                 # requests per second held without breaking latency
      cost:         {objective: 0.05, hourly: 1.20}   # currency per 1000 requests; hourly price of one replica
    alerts: {HighErrorRate: {critical: 0.05, warning: 0.02, info: 0.01}}
alerting:
  receivers:
    oncall: {pagerduty: "${PAGERDUTY_ROUTING_KEY}"}
    oncall_backup: {pagerduty: {routing_key: "${PAGERDUTY_ROUTING_KEY}", url: "http://127.0.0.1:1/"}}
    team:   {slack: "${SLACK_WEBHOOK_URL}"}
  routes: {critical: [oncall, team], warning: [team], info: [team]}
  escalate: {after: 15m, to: oncall_backup}           # a receiver, too
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 4h
store: sqlite:///modelwatch.db        # or postgresql+psycopg://...; needed once several hosts take feedback
live: live.db                         # the host's own counts; a path on a local disk
time_scale: 1
"""
SECRETS = {"PAGERDUTY_ROUTING_KEY": "planted-key", "SLACK_WEBHOOK_URL": "https://hooks.example/planted-hook"}


def small(model: str = "", rest: str = "", kind: str = "task: regression") -> str:
    """The smallest configuration, with lines added to its model and after it."""
    body = indent('version: "1"\n' + f"{kind}\n{model}", "    ")
    return f"service: {{name: api}}\nmodels:\n  churn:\n{body}\n{rest}\n"


def parse(text: str, environ: dict[str, str] | None = None) -> Config:
    """Parse without the variables of this process."""
    return parse_config(text, environ=environ or {})


def lines(text: str, environ: dict[str, str] | None = None) -> list[str]:
    """The lines of the error that a text gives."""
    with pytest.raises(ConfigError) as caught:
        parse(text, environ)
    assert caught.value.__context__ is None or caught.value.__suppress_context__, "no secret in a traceback"
    return str(caught.value).splitlines()


def test_every_default() -> None:
    """The smallest configuration has the defaults of the brief everywhere."""
    config = parse(small())
    model = config.model()
    assert (config.store, config.live, config.time_scale) == (None, Path("live.db"), 1.0)
    assert (config.service.name, config.service.owner, config.service.health_url) == ("api", None, None)
    assert config.service.replicas == 1
    alerting = config.alerting
    assert (alerting.receivers, alerting.escalate, alerting.alertmanager) == ({}, None, None)
    assert (alerting.routes.critical, alerting.routes.warning, alerting.routes.info) == ((), (), ())
    assert (alerting.group_wait_s, alerting.group_interval_s, alerting.repeat_interval_s) == (30.0, 300.0, 14400.0)
    assert (model.name, model.version, model.task, model.classes) == ("churn", "1", "regression", ())
    assert (model.features, model.segment, model.reference, model.low_confidence) == ({}, None, None, 0.7)
    truth = model.ground_truth
    assert (truth.sampling_rate, truth.strategy, truth.window) == (0.1, "uniform", 1000)
    assert (truth.retention_s, truth.weekly_budget) == (90 * 86400.0, None)
    ks, psi = model.drift.ks, model.drift.psi
    assert (ks.info, ks.warning, ks.critical) == (0.10, 0.15, 0.25)
    assert (psi.info, psi.warning, psi.critical) == (0.10, 0.20, 0.25)
    assert (model.drift.window_s, model.drift.severe_window_s, model.drift.pages) == (86400.0, 3600.0, False)
    assert all(objective is None for name, objective in model.slos if name != "period")
    assert model.slos.period == "30d"
    assert model.max_label_values == 1000
    assert model.value_buckets == tuple(sorted(set(model.value_buckets)))
    assert {-1e6, -1.0, 0.0, 0.1, 0.5, 1.0, 1e6} <= set(model.value_buckets)


def test_default_alerts() -> None:
    """Every alert of the table is on, with the thresholds of the table."""
    alerts = parse(small()).model("churn").alerts
    assert list(alerts) == list(ALERTS)
    numbers = {name: (a.critical, a.warning, a.info) for name, a in alerts.items() if a and any(a.__dict__.values())}
    assert numbers == {
        "HighErrorRate": (0.05, 0.02, 0.01),
        "HighLatencyP95": (2.0, 1.5, None),
        "LowModelAccuracy": (0.70, None, None),
        "DataDriftDetected": (0.25, 0.15, 0.10),
        "ConceptDriftDetected": (0.25, 0.20, 0.10),
        "HighLowConfidencePredictions": (None, 0.20, None),
        "MissingValues": (None, 0.05, None),
    }
    accuracy = alerts["LowModelAccuracy"]
    assert accuracy is not None and accuracy.catastrophic == 0.60
    plain = "LatencyTrend ServiceDown ReplicaDown TrafficStopped MetricsAbsent LabelStarvation SLOBurnRate CannotTell"
    assert all(alerts[name] == Thresholds() for name in f"{plain} SLOBudgetExhausted MonitorUnhealthy Watchdog".split())


def test_objectives_take_the_defaults_of_the_brief() -> None:
    """An objective that is there but empty has the numbers of the brief."""
    empty = "slos: {latency: {}, availability: {}, error_rate: {}, accuracy: {}, throughput: {}, cost: {hourly: 2}}"
    slos = parse(small(empty)).model().slos
    assert slos.latency and (slos.latency.threshold_s, slos.latency.objective) == (0.5, 0.95)
    assert slos.availability and slos.availability.objective == 0.995
    assert slos.error_rate and slos.error_rate.objective == 0.99
    assert slos.accuracy and slos.accuracy.objective == 0.85
    assert slos.throughput and slos.throughput.objective == 1000
    assert slos.cost and (slos.cost.objective, slos.cost.hourly) == (0.05, 2.0)
    part = parse(small("slos: {latency: {threshold: 200ms}}")).model().slos
    assert part.latency and (part.latency.threshold_s, part.latency.objective) == (0.2, 0.95)


def test_example_of_the_design() -> None:
    """The documented example is read whole, and its numbers are those of the defaults."""
    config = parse_config(EXAMPLE, environ=SECRETS, root=Path("/etc/watch"))
    model = config.model("sentiment_classifier")
    assert model.reference == Path("/etc/watch/reference/sentiment_classifier.json")
    assert (config.live, config.store) == (Path("/etc/watch/live.db"), "sqlite:////etc/watch/modelwatch.db")
    assert model.slos.cost and model.slos.cost.hourly == 1.2
    assert model.slos.latency and model.slos.latency.threshold_s == 0.5
    assert config.alerting.routes.critical == ("oncall", "team")
    assert config.alerting.escalate and (config.alerting.escalate.after_s, config.alerting.escalate.to) == (
        900.0,
        "oncall_backup",
    )
    assert config.alerting.receivers["team"].target.get_secret_value() == SECRETS["SLACK_WEBHOOK_URL"]
    backup = config.alerting.receivers["oncall_backup"]
    assert (backup.kind, backup.options["url"].get_secret_value()) == ("pagerduty", "http://127.0.0.1:1/")
    accuracy = model.alerts["LowModelAccuracy"]
    assert accuracy and accuracy.warning == 0.85
    defaults = parse(small()).model()
    assert (model.drift, model.ground_truth) == (defaults.drift, defaults.ground_truth)
    assert model.alerts["HighErrorRate"] == defaults.alerts["HighErrorRate"]


def test_configuration_of_the_demo() -> None:
    """The demo's file loads without any variable."""
    config = load_config(DEMO, {})
    model = config.model()
    assert (config.service.name, model.name, model.version) == ("sentiment-api", "sentiment_classifier", "1.0.0")
    assert model.classes == ("negative", "neutral", "positive")
    assert list(model.features) == ["text_length", "exclamations", "sentiment_score", "language"]
    assert (model.segment, model.reference) == ("category", DEMO.parent / "reference.json")
    assert config.alerting.receivers == {}
    assert config.live == DEMO.parent / "live.db"


def test_frozen_hashable_and_portable() -> None:
    """A configuration cannot be changed, has a hash, and survives a pickle and a copy."""
    config = parse_config(EXAMPLE, environ=SECRETS)
    with pytest.raises(ValueError, match="frozen"):
        config.time_scale = 2
    with pytest.raises(TypeError, match="cannot be changed"):
        config.models.clear()
    with pytest.raises(TypeError, match="cannot be changed"):
        config.model().alerts["Watchdog"] = None
    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.deepcopy(config) == config
    assert hash(parse_config(EXAMPLE, environ=SECRETS)) == hash(config)


def test_secrets_are_never_shown() -> None:
    """Neither the text of a configuration nor an error holds a secret; its value is there for the sender."""
    environ = {**SECRETS, "PASSWORD": "planted-password"}
    text = EXAMPLE.replace("sqlite:///modelwatch.db", "postgresql+psycopg://u:${PASSWORD}@h/d")
    config = parse(text, environ)
    assert config.store == "postgresql+psycopg://u:planted-password@h/d"
    wrong = text.replace("psycopg", "mysql").replace("${SLACK", "planted ${SLACK") + "nonsense: 1\n"
    message = "\n".join(lines(wrong, environ))
    assert "planted" not in f"{config!r} {config} {message}"


def test_receivers_of_every_kind() -> None:
    """Each kind takes a plain text or its options."""
    kinds = """alerting:
  receivers:
    a: {pagerduty: key}
    b: {slack: {url: "https://hooks.example/x", channel: "#ml"}}
    c: {email: {to: team@example.org, from: watch@example.org, smarthost: "mail:25", tls: true}}
    d: {webhook: "http://127.0.0.1:1/hook"}
    e: {apprise: "json://127.0.0.1/"}
"""
    receivers = parse(small(rest=kinds)).alerting.receivers
    assert [receiver.kind for receiver in receivers.values()] == ["pagerduty", "slack", "email", "webhook", "apprise"]
    assert receivers["c"].target.get_secret_value() == "team@example.org"
    assert receivers["c"].options["tls"].get_secret_value() == "true"


def test_built_in_python() -> None:
    """The parts take their Python names where no file is involved."""
    receiver = Receiver.model_validate({"kind": "apprise", "target": SecretStr("json://h")})
    drift = Drift(window_s=7200)
    model = ModelConfig(name="m", version="1", task="regression", drift=drift, reference=Path("r.json"))
    config = Config(service=Service(name="s"), models={"m": model}, alerting=Alerting(receivers={"r": receiver}))
    assert (config.model().drift.window_s, config.model().reference) == (7200, Path("r.json"))
    assert (config.alerting.routes.warning, config.live) == (("r",), Path("live.db"))


def test_without_routes_every_receiver_is_told() -> None:
    """Receivers without routes get critical alerts and warnings; the one to escalate to waits."""
    rest = "alerting: {receivers: {a: {pagerduty: k}, b: {pagerduty: k}, c: {pagerduty: k}}, escalate: {to: c}}"
    alerting = parse(small(rest=rest)).alerting
    assert (alerting.routes.critical, alerting.routes.warning, alerting.routes.info) == (("a", "b"), ("a", "b"), ())
    silent = rest.replace("{receivers", "{routes: {critical: a, warning: []}, receivers")
    routes = parse(small(rest=silent)).alerting.routes
    assert (routes.critical, routes.warning, routes.info) == (("a",), (), ())


def test_secrets_may_stay_unread() -> None:
    """Who does not send can read a configuration without the secrets of its receivers, but not without others."""
    config = parse_config(EXAMPLE, environ={}, secrets=False)
    assert config.alerting.receivers["team"].target.get_secret_value() == "${SLACK_WEBHOOK_URL}"
    with pytest.raises(ConfigError, match="service.owner: environment variable OWNER is not set"):
        parse_config(small().replace("{name: api}", '{name: api, owner: "${OWNER}"}'), environ={}, secrets=False)


def test_thresholds_merge_into_the_defaults() -> None:
    """An alert keeps the defaults of the levels that are not written; null switches a level or the alert off."""
    text = "alerts: {HighErrorRate: {critical: 0.1, info: null}, Watchdog: null, HighLatencyP95: {}}"
    alerts = parse(small(text)).model().alerts
    assert alerts["HighErrorRate"] == Thresholds(critical=0.1, warning=0.02)
    assert alerts["Watchdog"] is None
    assert alerts["HighLatencyP95"] == Thresholds(critical=2, warning=1.5)


@pytest.mark.parametrize(
    "text",
    ["alerts: {DataDriftDetected: {warning: 0.2, info: null}}", "drift: {ks: {warning: 0.2, info: null}}"],
)
def test_drift_thresholds_are_one_number(text: str) -> None:
    """The thresholds of drift may be written in either place, and are the same in both."""
    model = parse(small(text)).model()
    assert (model.drift.ks.info, model.drift.ks.warning, model.drift.ks.critical) == (None, 0.2, 0.25)
    assert model.alerts["DataDriftDetected"] == Thresholds(warning=0.2, critical=0.25)


def test_drift_alert_that_is_off() -> None:
    """Without its alert, drift is still measured against its levels."""
    model = parse(small("alerts: {ConceptDriftDetected: null}")).model()
    assert model.alerts["ConceptDriftDetected"] is None
    assert model.drift == parse(small()).model().drift


def test_blocks_of_comments_have_their_defaults() -> None:
    """A block whose lines are all comments is as good as none."""
    blocks = "features:\nground_truth:\ndrift:\nslos:\nalerts:"
    assert parse(small(blocks, "alerting:")) == parse(small())
    assert parse(small("drift: {ks: , psi: }")).model().drift == parse(small()).model().drift


@pytest.mark.parametrize(
    ("written", "expected_s"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("4h", 14400), ("24h", 86400), ("90d", 7776000), ("1w", 604800)]
    + [("1h30m", 5400), ("'1h 30m'", 5400), ("1.5h", 5400), ("2", 2), ("0.25", 0.25)],
)
def test_durations(written: str, expected_s: float) -> None:
    """A duration is a number of seconds, or numbers with units."""
    slo = parse(small(f"slos: {{latency: {{threshold: {written}}}}}")).model().slos.latency
    assert slo is not None and slo.threshold_s == expected_s


def test_a_group_may_go_out_at_once() -> None:
    """Only the wait for a group may be 0."""
    assert parse(small(rest="alerting: {group_wait: 0s}")).alerting.group_wait_s == 0


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths belong to the folder of the file; MODELWATCH_LIVE replaces live."""
    file = tmp_path / "modelwatch.yaml"
    file.write_text(small("reference: a/b.json", "store: sqlite:///s.db\nlive: /var/live.db"), encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path)
    for path in (file, str(file), "modelwatch.yaml"):
        config = load_config(path, {})
        assert config.model().reference == tmp_path / "a" / "b.json"
        assert (config.live, config.store) == (Path("/var/live.db"), f"sqlite:///{tmp_path}/s.db")
    assert load_config(file, {"MODELWATCH_LIVE": "other.db"}).live == tmp_path / "other.db"
    assert load_config(file, {"MODELWATCH_LIVE": ""}).live == Path("/var/live.db")
    wrong = lines(small(), {"MODELWATCH_LIVE": "a\nb"})
    assert wrong == ["live: live is 'a\\nb'; expected a path. Write the path of a file."]
    monkeypatch.setenv("MODELWATCH_LIVE", "/elsewhere.db")
    assert load_config(file).live == Path("/elsewhere.db")
    assert parse(small(rest="store: 'sqlite:///:memory:'")).store == "sqlite:///:memory:"


def test_value_buckets() -> None:
    """A regression model may bring its own buckets."""
    assert parse(small("value_buckets: [-1, 0, 2.5]")).model().value_buckets == (-1.0, 0.0, 2.5)


def test_class_labels_that_are_numbers() -> None:
    """The labels 0 and 1 of a classifier are counted as their text."""
    assert parse(small(kind="task: classification\nclasses: [0, 1]")).model().classes == ("0", "1")


def test_any_name_without_control_characters() -> None:
    """Models and features may have any name of up to 128 characters."""
    name = "Kündigung: v2 / \u00e9t\u00e9 🙂"
    text = yaml.safe_dump({"service": {"name": "x" * 128}, "models": {name: {"version": "1", "task": "regression"}}})
    assert parse(text).model(name).name == name


def test_a_model_by_name() -> None:
    """A model is found by its name, or without one when it is the only one."""
    config = parse(small(rest='  other: {version: "2", task: regression}'))
    assert config.model("other").version == "2"
    with pytest.raises(ConfigError) as unnamed:
        config.model()
    assert str(unnamed.value) == "models: model is not given; expected one of 'churn', 'other'. Name one."
    with pytest.raises(ConfigError) as wrong:
        config.model("chrun")
    assert str(wrong.value) == "models: model is 'chrun'; expected one of 'churn', 'other'. Did you mean 'churn'?"


REFUSED = yaml.safe_load((Path(__file__).parent / "golden" / "config" / "refused.yaml").read_text(encoding="utf-8"))


def refused(part: str) -> pytest.MarkDecorator:
    """The cases of a part of the golden file."""
    cases = [tuple(case.values()) for case in REFUSED[part]]
    return pytest.mark.parametrize(("given_text", "expected"), cases, ids=[case[0][:60] for case in cases])


INIT = "Run `modelwatch init` to write one."
A_CONFIGURATION = "expected a configuration of service and models."
CHECK = "expected YAML. Check the colons, quotes and indentation here and in the line before."
YAML = [
    ("", f"w.yaml: file is empty; {A_CONFIGURATION} {INIT}"),
    ("# nothing\n", f"w.yaml: file is empty; {A_CONFIGURATION} {INIT}"),
    (
        "- a",
        f"w.yaml: file is a list of 1; {A_CONFIGURATION} Write service: and models: at the beginning of lines. {INIT}",
    ),
    (
        "a: 1\n\nb: 2\na: 3",
        "w.yaml:4: key is 'a'; expected each key once. Remove one of the two; the first is in line 1.",
    ),
    (
        "a:\n  b: 1\n  'b': 1",
        "w.yaml:3: key is 'b'; expected each key once. Remove one of the two; the first is in line 2.",
    ),
    ("a: 1\nb: c: d", f"w.yaml:2: text is not YAML: mapping values are not allowed here; {CHECK}"),
    ("a: 1\n\0", f"w.yaml:2: text is not YAML: the character U+0000; {CHECK}"),
    ("a: \ud800", f"w.yaml:1: text is not YAML: the character U+D800; {CHECK}"),
    (
        "a: 1\nb: !!python/name:os x",
        f"w.yaml:2: text is not YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os'; {CHECK}",
    ),
    (
        "--- 1\n--- 2",
        f"w.yaml:2: text is not YAML: expected a single document in the stream, but found another document; {CHECK}",
    ),
    ("a: 0x" + "f" * 5000, f"w.yaml:1: text is not YAML: a value that cannot be read; {CHECK}"),
    ("a: !!int x", f"w.yaml:1: text is not YAML: a value that cannot be read; {CHECK}"),
    ("a: !!int ''", f"w.yaml:1: text is not YAML: a value that cannot be read; {CHECK}"),
    ("a: !!timestamp x", f"w.yaml:1: text is not YAML: a value that cannot be read; {CHECK}"),
    ("{[a]: 1}", f"w.yaml:1: text is not YAML: found unhashable key; {CHECK}"),
    ("a: &a [*a]", f"w.yaml: file is nested too deeply; {A_CONFIGURATION} {INIT}"),
    ("[" * 9999, f"w.yaml: file is nested too deeply; {A_CONFIGURATION} {INIT}"),
    (
        "a" * (1 << 18) + ": 1",
        f"w.yaml: file is longer than 262144 characters; {A_CONFIGURATION} Name the configuration, not a data file.",
    ),
    (
        "a: &a [x]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        f"w.yaml: file is more than 100000 values; {A_CONFIGURATION} Write it without aliases of aliases.",
    ),
]


@refused("in_model")
def test_refused_in_a_model(given_text: str, expected: str) -> None:
    """A wrong field of a model gives exactly this line."""
    assert lines(small(given_text)) == [f"models.churn.{expected}"]


@refused("instead_of_task")
def test_refused_task_or_classes(given_text: str, expected: str) -> None:
    """A wrong task or wrong classes give exactly this line."""
    assert lines(small(kind=given_text)) == [f"models.churn.{expected}"]


@refused("after_models")
def test_refused_after_the_models(given_text: str, expected: str) -> None:
    """A wrong field of the alerting or the top level gives exactly this line."""
    assert lines(small(rest=given_text)) == [expected]


@refused("whole")
def test_all_problems_at_once(given_text: str, expected: list[str]) -> None:
    """Every problem of a file has its line."""
    assert lines(given_text) == expected


@pytest.mark.parametrize(("text", "line"), YAML, ids=range(len(YAML)))
def test_refused_text(text: str, line: str) -> None:
    """What is not a YAML mapping is refused with its file and line."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "w.yaml", {})
    assert str(caught.value) == line


def test_merge_keys_are_no_duplicates() -> None:
    """A field may replace one that a YAML merge brings."""
    text = """service: {name: api}
models:
  a: &a {version: "1", task: regression, segment: x}
  b: &b {<<: *a, version: "2"}
  c: {<<: *b, version: "3"}
"""
    config = parse(text)
    assert [(model.version, model.segment) for model in config.models.values()] == [("1", "x"), ("2", "x"), ("3", "x")]


def test_a_date_is_text() -> None:
    """A version that looks like a date stays as it is written."""
    assert parse(small().replace('"1"', "2026-11-24")).model().version == "2026-11-24"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder, another encoding and a locked file say what to do."""
    binary, locked = tmp_path / "binary", tmp_path / "locked"
    binary.write_bytes(b"a: \xff")
    expected = {
        tmp_path / "none.yaml": f"file is missing; {A_CONFIGURATION} {INIT}",
        tmp_path: f"file is a folder; {A_CONFIGURATION} Name the file in it, or run `modelwatch init` in it.",
        binary: f"file is not UTF-8 text; {A_CONFIGURATION} Save byte 3 and what follows as UTF-8, or r{INIT[1:]}",
    }
    if os.geteuid():
        locked.touch(0o000)
        given = "file is unreadable (Permission denied)"
        expected[locked] = f"{given}; {A_CONFIGURATION} Allow this user to read it. {INIT}"
    for path, message in expected.items():
        with pytest.raises(ConfigError) as caught:
            load_config(path, {})
        assert str(caught.value) == f"{path}: {message}"
    with pytest.raises(ConfigError, match="a path that cannot be opened"):
        load_config("a\0b", {})


def test_cheap_to_build() -> None:
    """Import and parse of the example take at most 0.3 CPU seconds over an empty start, and load nothing of I/O."""
    script = (
        "import sys, time; from pathlib import Path; start = time.process_time()\n"
        "from modelwatch.config import load_config; load_config(sys.argv[1], {})\n"
        "print(time.process_time() - start, *(m for m in ('sqlite3', 'pandas', 'fastapi', 'numpy') if m in sys.modules))"
    )
    path = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", script, str(DEMO)]
    runs = [
        subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=True, text=True)
        for _ in range(2)
    ]
    spent = [run.stdout.split() for run in runs]
    assert min(float(one[0]) for one in spent) < 0.3
    assert [len(one) for one in spent] == [1, 1]


def only_config_errors(text: str) -> None:
    """Parse, and allow only a configuration or a one-line-a-problem ConfigError."""
    try:
        config = parse(text)
    except ConfigError as error:
        assert all(line.isprintable() and "; expected " in line for line in str(error).split("\n"))
    else:
        assert hash(config) is not None
        assert config.models


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=200))
@example("{" + "9" * 5000 + ": 1}")
@example("? a\n:")
@example("%YAML 9.9\n---\na: 1")
def test_any_text(text: str) -> None:
    """No text raises anything but ConfigError."""
    only_config_errors(text)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([*":-?[]{},#&*!|>'\"%@`\n\t ~=<0.", "a", "${A}", "&a ", "*a ", "!!", "<<: ", "- "]), max_size=40
    )
)
def test_any_marks_of_yaml(marks: list[str]) -> None:
    """No mixture of the marks of YAML raises anything but ConfigError."""
    only_config_errors("".join(marks))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["30s", "sqlite:///a", "numeric", "regression", "${A}", "http://a", 10**400]),
)
FIELDS = st.sampled_from(
    [
        "service",
        "models",
        "alerting",
        "store",
        "live",
        "time_scale",
        "name",
        "version",
        "task",
        "classes",
        "features",
        "drift",
        "ks",
        "psi",
        "info",
        "warning",
        "critical",
        "slos",
        "latency",
        "threshold",
        "objective",
        "cost",
        "alerts",
        "HighErrorRate",
        "LowModelAccuracy",
        "receivers",
        "slack",
        "url",
        "routes",
        "escalate",
        "to",
        "ground_truth",
        "window",
        "value_buckets",
        "reference",
        "[key]",
        "__name__",
    ]
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | SCALARS, inner, max_size=4),
    max_leaves=20,
)


@given(TREES, st.sampled_from(["", "features", "classes", "slos", "alerts", "drift", "ground_truth", "value_buckets"]))
@settings(max_examples=200, deadline=None)
def test_any_tree(tree: object, field: str) -> None:
    """No data in the place of a field, or of the whole, raises anything but ConfigError."""
    model = {"version": "1", "task": "regression", field: tree}
    whole = {"service": {"name": "a"}, "models": {"m": model}, "alerting": tree} if field else {"models": tree}
    only_config_errors(yaml.safe_dump(whole, allow_unicode=True))
