"""The Grafana dashboard and the rules for Prometheus are valid, and ask for metrics that there are."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from jobledger.metrics.families import METRICS, Kind
from jobledger.models import Status
from tests.manual import ROOT
from tests.requirements import promtool_or_skip

DEPLOY = ROOT / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "jobledger.json").read_text())
PROMETHEUS = DEPLOY / "prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
SUFFIXES = {Kind.COUNTER: ("_total",), Kind.GAUGE: ("",), Kind.HISTOGRAM: ("_bucket", "_count", "_sum")}
LABELS = {
    f"{metric.name}{suffix}": {*metric.labels, *(("le",) if suffix == "_bucket" else ())}
    for metric in METRICS
    for suffix in SUFFIXES[metric.kind]
}
"""Of each name that can be queried."""
DURATION = re.compile(r"\d+[smhd]")


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (rule["expr"] for rule in RULES)


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_query_uses_metrics_and_labels_that_exist(expression: str) -> None:
    assert expression.count("(") == expression.count(")")
    queried = re.findall(r"\b(jobledger_\w+|up)\b(?:\{([^}]*)\})?", expression)
    assert queried
    for name, matchers in queried:
        labels = {"job"} if name == "up" else LABELS[name]
        assert set(re.findall(r"(\w+)=", matchers)) <= labels
        for statuses in re.findall(r'status=~"([^"]*)"', matchers):
            assert set(statuses.split("|")) <= set(Status)
    known = set.union(*(LABELS[name] for name, _ in queried if name != "up"), set())
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(grouped.split(", ")) <= known


def test_every_counter_is_queried_as_one_and_every_metric_is_shown() -> None:
    text = " ".join(expressions())
    assert [metric.name for metric in METRICS if metric.name not in text] == ["jobledger_build_info"]
    for expression in expressions():
        if "_total" in expression:
            assert re.search(r"\b(increase|rate)\(jobledger_\w+_total", expression)


def test_the_dashboards_panels_do_not_overlap_and_use_the_chosen_data_source() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    covered: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["type"] in ("stat", "timeseries", "table")
        assert panel["title"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not cells & covered
        assert place["x"] + place["w"] <= 24
        covered |= cells


def test_what_the_legends_name_is_a_label() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert named <= set(re.findall(r"\w+", target["expr"])) | set.union(*LABELS.values())


def test_the_dashboards_variables_are_the_data_source_and_the_jobs() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "job"}
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["job"]["query"]["query"]).groups()  # type: ignore[union-attr]
    assert label in LABELS[name]


def test_every_rule_has_what_prometheus_and_its_reader_need() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["alert"].startswith("Jobledger")
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert DURATION.fullmatch(rule.get("for", "0s"))


def test_the_scrape_configuration_loads_the_rules_and_sends_the_token() -> None:
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    (scrape,) = configuration["scrape_configs"]
    assert all((PROMETHEUS / file).exists() for file in configuration["rule_files"])
    assert scrape["authorization"]["type"] == "Bearer"
    # As in the rule about the service that cannot be reached.
    assert f'job="{scrape["job_name"]}"' in RULES[0]["expr"]


@pytest.mark.parametrize("what", [("rules", "alerts.yml"), ("config", "--syntax-only", "prometheus.yml")])
def test_promtool_finds_nothing_wrong(what: tuple[str, ...]) -> None:
    promtool_or_skip()
    checked = subprocess.run(
        ["promtool", "check", *what], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
