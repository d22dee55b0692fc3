"""Losing the data is no recovery: an alert that fires stays for an hour when nothing is heard of the service any more."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from generate.stacks import WHOLE, files_of, placed
from support import require

LABELS = 'model_name="sentiment",model_version="1.4.2",instance="a:1",endpoint="/predict"'
FIRING = 'count(ALERTS{alertname="HighErrorRate",severity="critical",alertstate="firing"}) or vector(0)'


def _course(values: dict[str, str]) -> dict[str, Any]:
    series = [{"series": f"{name}{{{LABELS}}}", "values": text} for name, text in values.items()]
    return {"interval": "1m", "input_series": series}


def _passes(folder: Path, values: dict[str, str], firing: dict[str, int]) -> str:
    """Run a course of one hour and more; return what promtool says against it."""
    placed({path: text for path, text in files_of(WHOLE).items() if path.startswith("rules/")}, folder)
    asked = [
        {"expr": FIRING, "eval_time": at, "exp_samples": [{"labels": "{}", "value": n}]} for at, n in firing.items()
    ]
    suite = {
        "rule_files": ["rules/sentiment_requests.yml"],
        "evaluation_interval": "1m",
        "tests": [_course(values) | {"promql_expr_test": asked}],
    }
    (folder / "test.yml").write_text(yaml.safe_dump(suite))
    done = subprocess.run(
        [require("promtool"), "test", "rules", str(folder / "test.yml")], capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_service_that_is_lost(tmp_path: Path) -> None:
    """It fires, the service is gone after 20 minutes, and it goes on firing until an hour later."""
    values = {
        "ml_model_info": "1+0x20 stale _x100",
        "ml_requests_total": "0+100x20 stale _x100",
        "ml_requests_cancelled_total": "0+0x20 stale _x100",
        "ml_requests_failed_total": "0+50x20 stale _x100",
    }
    assert _passes(tmp_path, values, {"3m": 0, "15m": 1, "40m": 1, "75m": 1, "95m": 0}) == ""


def test_service_that_recovers(tmp_path: Path) -> None:
    """Where it is heard of and fails no more, the alert ends after the five minutes that it is kept."""
    values = {
        "ml_model_info": "1+0x120",
        "ml_requests_total": "0+100x120",
        "ml_requests_cancelled_total": "0+0x120",
        "ml_requests_failed_total": "0+50x20 1000+0x100",
    }
    assert _passes(tmp_path, values, {"15m": 1, "40m": 0}) == ""


def test_words_of_an_alert(tmp_path: Path) -> None:
    """The annotations are sentences with the value, and say so when the value is not known any more."""
    rules = yaml.safe_load(files_of(WHOLE)["rules/sentiment_requests.yml"])["groups"][0]["rules"]
    annotations = next(rule for rule in rules if rule.get("alert") == "HighErrorRate")["annotations"]
    known = "{{ if eq $value -1.0 }}an unknown value, since nothing is heard of it,{{ else }}{{ $value | humanizePercentage }}{{ end }}"
    assert annotations["summary"] == f"sentiment: {known} of requests fail"
    assert (
        annotations["description"]
        == f"{known} of the requests to sentiment failed in the last 5 minutes; the limit is 5 %."
    )
    assert annotations["runbook_url"] == "http://localhost:8080/runbooks/HighErrorRate"
    assert (
        annotations["dashboard_url"] == 'http://localhost:3000/d/modelwatch-health?var-model={{ urlquery "sentiment" }}'
    )
