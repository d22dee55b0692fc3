"""The recording rules of drift: clean, harmless, one set for all models, and equal to our own statistics."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from modelwatch.config import Config, parse_config
from modelwatch.exposition import Page, Source
from modelwatch.generate import generate
from modelwatch.generate.drift import PATH
from modelwatch.generate.drifttests import TEST_PATH
from modelwatch.kernel import Kernel
from modelwatch.reference import Reference, profile_numeric
from modelwatch.referenceseries import reference_page
from modelwatch.schema import ModelSchema
from modelwatch.testing import running_prometheus, running_service
from support import require

HOSTILE = 'm"} or vector(1) #\\{{ $labels.x }}'
MODEL = "{{version: '1', task: classification, classes: [a, b], features: {{{features}}}{more}}}"
Files = Mapping[str, str]


def config(models: Mapping[str, tuple[int, str]], **more: Any) -> Config:
    """Return a configuration of models by {name: (number of features, more of their settings)}."""
    given = {
        "service": {"name": "shop"},
        "models": {
            name: yaml.safe_load(MODEL.format(features=", ".join(f"f{i}: numeric" for i in range(n)), more=extra))
            for name, (n, extra) in models.items()
        },
        **more,
    }
    return parse_config(yaml.safe_dump(given))


def made(models: Mapping[str, tuple[int, str]], **more: Any) -> Files:
    """Return the files of a configuration."""
    return generate(config(models, **more), ["drift-rules"])


def written(files: Files, folder: Path) -> Path:
    """Write files below a folder."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run([require("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=300)


def test_rules_are_clean_and_names_are_harmless(tmp_path: Path) -> None:
    """Two models, one with a hostile name and windows of its own: no lint; the name is a label, in no expression."""
    files = made({HOSTILE: (2, ", drift: {window: 12h, severe_window: 30m}"), "plain": (1, "")})
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", written(files, tmp_path) / PATH)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    rules = [rule for group in yaml.safe_load(files[PATH])["groups"] for rule in group["rules"]]
    assert {rule["labels"]["model_name"] for rule in rules if "labels" in rule} == {HOSTILE, "plain"}
    assert not [rule for rule in rules if "vector(1) #" in rule["expr"] or "$labels" in rule["expr"]]
    recorded = {rule["record"] for rule in rules}
    assert {f"model_feature:drift_ks:{window}" for window in ("1d", "12h", "1h", "30m")} <= recorded


def test_one_set_of_rules_for_any_number_of_models_and_features() -> None:
    """More models add constants only; more features nothing; the same configuration gives the same text."""

    def fixed(files: Files) -> list[Any]:
        groups = yaml.safe_load(files[PATH])["groups"]
        return [group for group in groups if group["name"] != "drift constants"]

    one, many = made({"a": (1, "")}), made({f"m{i}": (60, "") for i in range(20)})
    assert fixed(one) == fixed(many)
    assert one == made({"a": (1, "")})
    assert len(yaml.safe_load(many[PATH])["groups"][0]["rules"]) == 20 * len(
        yaml.safe_load(one[PATH])["groups"][0]["rules"]
    )


def test_command_writes_rules_and_tests_that_pass(tmp_path: Path) -> None:
    """`modelwatch generate --only drift-rules` of a hostile name: promtool runs the tests beside the rules."""
    file = tmp_path / "modelwatch.yaml"
    file.write_text(yaml.safe_dump({
        "service": {"name": "shop"},
        "models": {HOSTILE: {
            "version": "1", "task": "classification", "classes": ["a", "b"], "features": {"x": "numeric"},
            "drift": {"window": "12h", "severe_window": "30m"},
        }},
    }))  # fmt: skip
    command = [sys.executable, "-m", "modelwatch", "generate", str(tmp_path), "--config", str(file), "--only"]
    done = subprocess.run([*command, "drift-rules"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    tested = promtool("test", "rules", tmp_path / TEST_PATH)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_short_windows_have_rules_and_no_histories(tmp_path: Path) -> None:
    """For a demonstration, where an hour is a minute, the rules are clean and read the counters themselves."""
    files = made({"a": (1, "")}, time_scale=60)
    assert list(files) == [PATH]
    assert "model_feature:drift_ks:24m" in files[PATH]
    assert "sum_over_time" not in files[PATH]
    assert promtool("check", "rules", "--lint=all", "--lint-fatal", written(files, tmp_path) / PATH).returncode == 0


# -- mutants -----------------------------------------------------------------------------------------------------------

KEY = "model_name, model_version, of, feature_name"
MUTANTS = {
    "the least gap instead of the largest": (f"max by ({KEY}) (abs(", f"min by ({KEY}) (abs("),
    "one replica instead of their sum": ("sum by (model_name, model_version, feature_name, le) (incr", "max by (model_name, model_version, feature_name, le) (incr"),
    "resets of counters are falls": ("increase(ml_feature_value_bucket[1h])", "delta(ml_feature_value_bucket[1h])"),
    "another floor of PSI": ("0.0001) / clamp_min", "0.01) / clamp_min"),
    "another logarithm": ("* ln(", "* log10("),
    "noise of one cell more": ("- 1) * on", "- 0) * on"),
    "total variation twice": (")) / 2\n", "))\n"),
    "the reference as if it had no error": ("+ on (model_name, model_version, of, feature_name) 1 / ", "+ 0 / "),
    "chance does not matter": (":1d >= 1)", ":1d >= 0)"),
    "severe by the day": ("(model_feature:drift_score:1h >= ", "(model_feature:drift_score:1d >= "),
    "no least number of samples": (">= on (model_name, model_version, of, feature_name) 25 *", ">= on (model_name, model_version, of, feature_name) 1 *"),
    "what is new is left out": (')) > 0, "cell", "__unseen__"', ')) > 1e12, "cell", "__unseen__"'),
    "other bins are compared": ("unless on (model_name, model_version, of, feature_name) (model_feature_bin:drift_reference:cdf", "unless on (model_name) (model_feature_bin:drift_nothing:cdf"),
    "half of the day": ("[86250s]", "[43050s]"),
    "profiles of all replicas added": ("max by (model_name, model_version, feature_name, upper, lower)", "sum by (model_name, model_version, feature_name, upper, lower)"),
    "versions mixed": (f"sum by ({KEY}, cell) (label_replace((", "sum by (model_name, of, feature_name, cell) (label_replace(("),
}  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> Files:
    """Return the rules of a plain configuration, and the tests beside them."""
    return made({"m": (6, "")})


@pytest.mark.slow
@pytest.mark.timeout(600)  # promtool alone has 20 seconds to do, and more where others work
@pytest.mark.parametrize("mutant", MUTANTS)
def test_generated_tests_kill_mutants(plain: Files, tmp_path: Path, mutant: str) -> None:
    """Each planted fault of the rules makes the tests that are generated beside them fail."""
    old, new = MUTANTS[mutant]
    assert old in plain[PATH]
    whole = yaml.safe_load(plain[TEST_PATH])
    short = {**whole, "tests": [test for test in whole["tests"] if "day" not in test["name"]]}
    changed = {
        PATH: plain[PATH].replace(old, new),
        TEST_PATH: plain[TEST_PATH],
        "tests/short.yml": yaml.safe_dump(short),
    }
    folder = written(changed, tmp_path)
    assert promtool("check", "rules", folder / PATH).returncode == 0
    quick = promtool("test", "rules", folder / "tests" / "short.yml")  # a part of them, which takes less time
    slow = quick if quick.returncode else promtool("test", "rules", folder / TEST_PATH)
    assert "FAILED" in slow.stdout + slow.stderr
    assert slow.returncode == 1


def test_generated_tests_know_the_design_effect(tmp_path: Path) -> None:
    """With a design effect of 3 the rules are what our statistics say with it, and fail without it."""
    files = made({"a": (1, ", drift: {design_effect: 3}")})
    division = " / on (model_name) group_left () model:drift_chance:deff"
    assert division in files[PATH]
    whole = yaml.safe_load(files[TEST_PATH])
    short = yaml.safe_dump({**whole, "tests": [test for test in whole["tests"] if "day" not in test["name"]]})
    results = []
    for name, rules in (("as it is", files[PATH]), ("without", files[PATH].replace(division, ""))):
        folder = written({PATH: rules, TEST_PATH: short}, tmp_path / name)
        results.append(promtool("test", "rules", folder / TEST_PATH))
    assert results[0].returncode == 0, results[0].stdout + results[0].stderr
    assert "FAILED" in results[1].stdout + results[1].stderr


# -- real servers ------------------------------------------------------------------------------------------------------

SHIFTS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "none": lambda chance, n: chance.normal(0, 1, n),
    "a quarter": lambda chance, n: chance.normal(0.25, 1, n),
    "half": lambda chance, n: chance.normal(0.5, 1, n),
    "one": lambda chance, n: chance.normal(1, 1, n),
    "ten": lambda chance, n: chance.normal(10, 1, n),
    "down": lambda chance, n: chance.normal(-0.7, 1, n),
    "spread": lambda chance, n: chance.normal(0, 2, n),
    "narrow": lambda chance, n: chance.normal(0, 0.3, n),
    "stuck": lambda chance, n: np.where(chance.random(n) < 0.3, 0.0, chance.normal(0, 1, n)),
    "skewed": lambda chance, n: chance.exponential(1, n) - 1,
}
STEP_S, BEFORE_S, AHEAD_S = 60, 7200, 600


class Fleet:
    """Two replicas that see unlike inputs; their pages at any time, and what numpy says of both together."""

    def __init__(self) -> None:
        chance = np.random.default_rng(20)
        self.reference = Reference({name: profile_numeric(chance.normal(0, 1, 4000)) for name in SHIFTS})
        numeric = {name: (profile.edges, profile.exported) for name, profile in self.reference.numeric.items()}
        schema = ModelSchema(classes=("no", "yes"), numeric=numeric)
        self.values: dict[str, list[Any]] = {name: [] for name in SHIFTS}
        self.pages = []
        for n in (3000, 700):
            kernel = Kernel(schema)
            columns = {name: shift(chance, n) for name, shift in SHIFTS.items()}
            for name, column in columns.items():
                self.values[name].append(column)
            rows = zip(*(column.tolist() for column in columns.values()), strict=True)
            kernel.fold([("/p", 0.1, None, None, "no", 0.9, dict(zip(columns, row, strict=True))) for row in rows])
            page = Page().render([Source("fleet", "1", schema, kernel.tally)])
            self.pages.append((page.decode(), reference_page([(("fleet", "1"), self.reference)]).decode()))

    def samples(self, begin: int, end: int) -> Iterator[tuple[str, str, int, float]]:
        """Yield (name, labels, time, value): counters that rise steadily, an hour's worth an hour, and the profiles."""
        for replica, parts in enumerate(self.pages):
            for counted, page in zip((True, False), parts, strict=True):
                for line in page.splitlines():
                    if line.startswith("#") or line.startswith("ml_request_duration"):
                        continue
                    series, value = line.rsplit(" ", 1)
                    name, _, labels = series.rstrip("}").partition("{")
                    for at in range(begin, end, STEP_S):
                        worth = float(value) * ((at - begin) / 3600 if counted else 1)
                        yield name, f'{labels},instance="r{replica}",job="shop"', at, worth

    def expected(self, name: str) -> tuple[float, float]:
        """Return KS and PSI of a feature from numpy alone."""
        profile, values = self.reference.numeric[name], np.concatenate(self.values[name])
        edges = np.array([-np.inf, *profile.exported, np.inf])
        now = np.array([((values > low) & (values <= high)).sum() for low, high in zip(edges, edges[1:], strict=False)])
        before = np.array(profile.shown_counts)
        s, q = now / now.sum(), before / before.sum()
        floored = np.maximum(s, 1e-4), np.maximum(q, 1e-4)
        psi = ((floored[0] - floored[1]) * np.log(floored[0] / floored[1])).sum()
        return float(np.abs(np.cumsum(s) - np.cumsum(q)).max()), float(psi)


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    """Return two replicas."""
    return Fleet()


def quick_rules(folder: Path) -> Path:
    """Write the rules for a model of ten features, evaluated every second so that nobody waits."""
    text = made({"fleet": (len(SHIFTS), "")})[PATH].replace("interval: 1m", "interval: 1s")
    (folder / "drift.yml").write_text(text)
    return folder / "drift.yml"


def compare(fleet: Fleet, query: Callable[[str], Mapping[tuple[tuple[str, str], ...], float]], wait_s: float) -> None:
    """Wait until everything is recorded, and compare."""
    deadline = time.monotonic() + wait_s
    while not query("model_feature:drift_certainty:1h") and time.monotonic() < deadline:
        time.sleep(0.3)
    found = {
        what: {dict(labels)["feature_name"]: value for labels, value in query(f"model_feature:drift_{what}:1h").items()
               if ("of", "numbers") in labels}
        for what in ("ks", "psi", "samples", "score")
    }  # fmt: skip
    assert set(found["ks"]) == set(found["psi"]) == set(SHIFTS)
    for name in SHIFTS:
        ks, psi = fleet.expected(name)
        assert found["ks"][name] == pytest.approx(ks, abs=1e-3)
        assert found["psi"][name] == pytest.approx(psi, abs=1e-3)
        assert found["samples"][name] == pytest.approx(3700, rel=0.03)
    assert found["score"] == pytest.approx(found["ks"])
    assert max(found["ks"].values()) > 0.9


def test_two_replicas_and_a_real_prometheus_equal_numpy(fleet: Fleet, tmp_path: Path) -> None:
    """KS and PSI that Prometheus records of two replicas are those of numpy on the same bins, on ten shifts."""
    require("prometheus")
    now = int(time.time()) // STEP_S * STEP_S
    lines, last = [], ""
    for name, labels, at, value in sorted(fleet.samples(now - BEFORE_S, now)):
        if name != last:
            lines.append(f"# TYPE {name} unknown\n")
        last = name
        lines.append(f"{name}{{{labels}}} {value!r} {at}\n")
    (tmp_path / "fleet.om").write_text("".join([*lines, "# EOF\n"]))
    imported = promtool("tsdb", "create-blocks-from", "openmetrics", "-q", tmp_path / "fleet.om", tmp_path / "data")
    assert imported.returncode == 0, imported.stderr
    with running_prometheus(tmp_path, config={"rule_files": [str(quick_rules(tmp_path))]}) as server:
        compare(fleet, server.query, 30)


@pytest.mark.slow
def test_victoria_metrics_records_the_same(fleet: Fleet, tmp_path: Path) -> None:
    """The same rules under vmalert and VictoriaMetrics, on the same two replicas."""
    import json
    import urllib.parse
    import urllib.request

    victoria, vmalert = require("victoria-metrics"), require("vmalert")
    now = int(time.time()) // STEP_S * STEP_S
    command = [
        victoria, f"-storageDataPath={tmp_path / 'vm'}", "-httpListenAddr=127.0.0.1:{port}", "-search.latencyOffset=0s",
        "-search.disableCache", "-retentionPeriod=1y", "-loggerLevel=ERROR",
    ]  # fmt: skip
    with running_service(command, ready="/health") as server:
        body = "".join(
            f"{name}{{{labels}}} {value!r} {at * 1000}\n"
            for name, labels, at, value in fleet.samples(now - BEFORE_S, now + AHEAD_S)
        )
        urllib.request.urlopen(f"{server.url}/api/v1/import/prometheus", body.encode(), timeout=30).close()
        urllib.request.urlopen(f"{server.url}/internal/force_flush", timeout=30).close()
        alerting = [
            vmalert, f"-rule={quick_rules(tmp_path)}", f"-datasource.url={server.url}",
            f"-remoteWrite.url={server.url}", "-httpListenAddr=127.0.0.1:{port}", "-remoteWrite.flushInterval=200ms",
            "-loggerLevel=ERROR",
        ]  # fmt: skip

        def query(expression: str) -> dict[tuple[tuple[str, str], ...], float]:
            text = urllib.parse.urlencode({"query": expression})
            found = json.loads(server.read(f"/api/v1/query?{text}"))["data"]["result"]
            return {tuple(sorted(each["metric"].items())): float(each["value"][1]) for each in found}

        with running_service(alerting, ready="/health"):
            compare(fleet, query, 60)
