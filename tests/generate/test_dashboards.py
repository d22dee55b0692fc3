"""The dashboards obey the published rules of Grafana's dashboard linter, one test a rule, and a few of our own."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from generate.stacks import HOSTILE, WHOLE, files_of
from support import require

pytest.importorskip("grafana_foundation_sdk")

BOARDS = {
    p.rpartition("/")[2]: json.loads(t) for p, t in files_of(WHOLE).items() if p.startswith("grafana/dashboards/")
}
PANELS = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"]]
TARGETS = [(name, panel, target) for name, panel in PANELS for target in panel["targets"]]
#: What is recorded is summed over jobs and instances already: these labels are gone.
RECORDED = re.compile(r"^(model\w*:|ml_slo_|ml_accuracy_by_segment)")


def _variable(board: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in board["templating"]["list"] if each["name"] == name)


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
class TestTemplates:
    """The variables of every dashboard."""

    def test_template_datasource_rule(self, board: dict[str, Any]) -> None:
        """There is a variable for the data source, named and labelled as the linter wants it."""
        found = _variable(board, "datasource")
        assert (found["type"], found["query"], found["label"]) == ("datasource", "prometheus", "Data source")

    def test_template_job_rule(self, board: dict[str, Any]) -> None:
        """There is a variable for the job, queried from that source, several at once, all of them as .+."""
        self._is_of_many(board, "job")

    def test_template_instance_rule(self, board: dict[str, Any]) -> None:
        """The same for the instance."""
        self._is_of_many(board, "instance")

    @pytest.mark.parametrize("name", ["model", "version"])
    def test_variables_of_our_own(self, board: dict[str, Any], name: str) -> None:
        """Model and version likewise."""
        self._is_of_many(board, name)

    @staticmethod
    def _is_of_many(board: dict[str, Any], name: str) -> None:
        found = _variable(board, name)
        assert found["type"] == "query" and found["datasource"]["uid"] == "${datasource}"
        assert found["multi"] and found["includeAll"] and found["allValue"] == ".+"
        assert found["label"] == name.capitalize()

    def test_template_label_promql_rule(self, board: dict[str, Any]) -> None:
        """Queries of variables are label_values of a series that is there."""
        for found in board["templating"]["list"][1:]:
            assert re.fullmatch(r"label_values\(ml_model_info(\{.*\})?, \w+\)", found["query"])

    def test_template_on_time_change_reload_rule(self, board: dict[str, Any]) -> None:
        """They are read again when the time range changes."""
        assert all(found["refresh"] == 2 for found in board["templating"]["list"][1:])

    def test_uneditable_dashboard_rule(self, board: dict[str, Any]) -> None:
        """Changes belong into the configuration."""
        assert board["editable"] is False

    def test_uids_links_and_annotations(self, board: dict[str, Any]) -> None:
        """Stable uids; links keep time and variables; firing alerts and new versions are marked."""
        assert board["uid"].startswith("modelwatch-")
        assert all(link["keepTime"] and link["includeVars"] for link in board["links"])
        assert [each["name"] for each in board["annotations"]["list"]] == ["Firing alerts", "New versions"]


def ids(cases: list[tuple[Any, ...]]) -> list[str]:
    """Name the cases."""
    return [f"{case[0]} {case[1]['title']}" for case in cases]


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=ids(PANELS))
class TestPanels:
    """Every panel."""

    def test_panel_datasource_rule(self, name: str, panel: dict[str, Any]) -> None:
        """It asks the source that is chosen."""
        assert panel["datasource"]["uid"] == "${datasource}"

    def test_panel_title_description_rule(self, name: str, panel: dict[str, Any]) -> None:
        """It has a title and says what it shows."""
        assert panel["title"].strip() and panel["description"].strip()

    def test_panel_units_rule(self, name: str, panel: dict[str, Any]) -> None:
        """It has a unit that Grafana knows."""
        known = {"percentunit", "percent", "reqps", "s", "bytes", "Bps", "none"}
        assert panel["fieldConfig"]["defaults"]["unit"] in known

    def test_panel_no_targets_rule(self, name: str, panel: dict[str, Any]) -> None:
        """It asks something."""
        assert panel["targets"]

    def test_thresholds(self, name: str, panel: dict[str, Any]) -> None:
        """Its colours rise from a base; green is always among them."""
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        values = [step["value"] for step in steps]
        assert values[0] is None and values[1:] == sorted(values[1:])
        assert "green" in {step["color"] for step in steps}


@pytest.mark.parametrize(("name", "panel", "target"), TARGETS, ids=ids(TARGETS))
class TestTargets:
    """Every query."""

    def test_target_rate_interval_rule(self, name: str, panel: dict[str, Any], target: dict[str, Any]) -> None:
        """A rate is over $__rate_interval, or over an hour or a day where its words say so."""
        assert set(re.findall(r"\[([^\]]+)\]", target["expr"])) <= {"$__rate_interval", "1h", "1d"}

    def test_target_job_rule(self, name: str, panel: dict[str, Any], target: dict[str, Any]) -> None:
        """Every scraped series is of the chosen jobs."""
        assert all('job=~"$job"' in matchers for matchers in _scraped(target))

    def test_target_instance_rule(self, name: str, panel: dict[str, Any], target: dict[str, Any]) -> None:
        """Every scraped series is of the chosen instances."""
        assert all('instance=~"$instance"' in matchers for matchers in _scraped(target))

    def test_target_logql_rules(self, name: str, panel: dict[str, Any], target: dict[str, Any]) -> None:
        """There is no LogQL that could break the rules on it: each target asks the Prometheus that is chosen."""
        assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}

    def test_target_counter_agg_rule(self, name: str, panel: dict[str, Any], target: dict[str, Any]) -> None:
        """A counter is shown as what was added, never as it is."""
        for match in re.finditer(r"[\w:]+_total\{[^}]*\}", target["expr"]):
            rest = target["expr"][match.end() :]
            assert rest.startswith("[") or re.match(r" offset ", rest)


def _scraped(target: dict[str, Any]) -> list[str]:
    """Return the matchers of the series that are neither recorded nor of the node exporter."""
    return [
        matchers
        for series, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", target["expr"])
        if not RECORDED.match(series) and not series.startswith("node_")
    ]


def test_target_promql_rule(tmp_path: Path) -> None:
    """Every query is PromQL."""
    promtool = require("promtool")
    rules = [{"record": f"test:q{n}", "expr": _filled(target["expr"])} for n, (_, _, target) in enumerate(TARGETS)]
    (tmp_path / "r.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(tmp_path / "r.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _filled(expression: str) -> str:
    return re.sub(r"\$(job|instance|model|version)", ".+", expression.replace("$__rate_interval", "5m"))


@pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
@pytest.mark.parametrize("name", BOARDS)
def test_types(name: str) -> None:
    """Read with the types of Grafana's own SDK and written again, no panel, query, option or variable is lost."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    read: Any = Dashboard.from_json(BOARDS[name])
    for each in (*read.links, *read.annotations.list_val):
        each.placement = None  # the SDK knows no other than a menu; ours are in sight
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == BOARDS[name]


def test_grafana_is_of_the_schema() -> None:
    """The image is of a major version that has the schema of the dashboards: 42 is of Grafana 12 and 13."""
    image = yaml.safe_load(files_of(WHOLE)["docker-compose.yml"])["services"]["grafana"]["image"]
    assert {board["schemaVersion"] for board in BOARDS.values()} == {42}
    assert int(image.rpartition(":")[2].partition(".")[0]) == 13


def test_health_answers_in_five_seconds() -> None:
    """Four large panels come first, coloured by the alerts' own thresholds."""
    first = BOARDS["health.json"]["panels"][:4]
    assert [panel["title"] for panel in first] == ["Request rate", "Error rate", "Latency P95", "Accuracy"]
    assert all(panel["type"] == "stat" and panel["gridPos"]["w"] == 12 for panel in first)
    colours = [[(s["value"], s["color"]) for s in p["fieldConfig"]["defaults"]["thresholds"]["steps"]] for p in first]
    assert colours[1] == [(None, "green"), (0.02, "yellow"), (0.05, "red")]
    assert colours[2] == [(None, "green"), (0.3, "yellow"), (0.4, "red")]
    assert colours[3] == [(None, "red"), (0.7, "yellow"), (0.85, "green")]


def test_a_model_with_limits_of_its_own() -> None:
    """The second model's limits are its own, by its name."""
    override = BOARDS["health.json"]["panels"][1]["fieldConfig"]["overrides"]
    assert override[0]["matcher"] == {"id": "byName", "options": "price"}
    assert [s["value"] for s in override[0]["properties"][0]["value"]["steps"]] == [None, 0.02, 0.2]


def test_hostile_names_are_in_no_query() -> None:
    """Queries name no model: they are chosen by variables, which Grafana escapes."""
    boards = [json.loads(t) for p, t in files_of(HOSTILE).items() if p.startswith("grafana/dashboards/")]
    assert len(boards) == 5
    texts = [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]
    assert not [text for text in texts if "{{" in text or ".." in text]
