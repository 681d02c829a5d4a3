"""The reference pages say what the code says: names, defaults, choices, exit codes."""

import argparse
import ast
import dataclasses
import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import BaseCommand

from jobledger import Concurrency, JobCommand, Schedule, celery, conf
from jobledger.admin import rights
from jobledger.jobs.declaration import (
    DEFAULT_ALERTS,
    MAX_CATCH_UP,
    AlertKind,
    Alerts,
    Calendars,
    Frequency,
    JobDeclaration,
    Misfire,
    PausedSlots,
)
from jobledger.jobs.options import to_argv
from jobledger.management.commands import jobledger as operator
from jobledger.metrics.families import METRICS
from jobledger.metrics.histogram import DELAY_BOUNDS, DURATION_BOUNDS
from jobledger.models import SchedulePolicy, Status, Trigger
from jobledger.runs.lease.interrupts import JobCancelled, JobTimedOut
from jobledger.runs.lease.memory_limit import MemoryLimitExceeded
from jobledger.runs.outcome import BAD_OPTIONS_EXIT_CODE, INTERRUPTED_EXIT_CODE
from jobledger.schedules.documents.keys import KEYS, RULE_KEYS, Key
from jobledger.schedules.rules import cron_expression
from proj import state
from tests.manual import ROOT, codes, rows

REFERENCE = ROOT / "docs" / "reference"
CELERYS_SETTINGS = {
    "## Celery's settings": celery.SETTINGS,
    "### With Redis": celery.REDIS_SETTINGS,
    "### With RabbitMQ": celery.RABBITMQ_SETTINGS,
}
SETTINGS, COMMANDS = REFERENCE / "settings.md", REFERENCE / "commands.md"
ATTRIBUTES, SCHEDULES = REFERENCE / "job-attributes.md", REFERENCE / "schedules.md"
FILES = REFERENCE / "schedule-files.md"
ALERTS, VARIABLES_PAGE = REFERENCE / "alerts.md", REFERENCE / "variables.md"


def first_codes(page: Path, heading: str) -> list[str]:
    """What the first column of a heading's tables names."""
    return [code for row in rows(page, heading) for code in codes(row[0])]


# --- Settings

ENV_EXAMPLE = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
VARIABLES = rows(VARIABLES_PAGE, "# The sample project's variables")


def test_every_variable_is_described_once() -> None:
    assert sorted(first_codes(VARIABLES_PAGE, "# The sample project's variables")) == sorted(ENV_EXAMPLE)


@pytest.mark.parametrize(("name", "default", "meaning"), VARIABLES, ids=[row[0] for row in VARIABLES])
def test_a_variables_default_is_that_of_the_example(name: str, default: str, meaning: str) -> None:
    if shown := codes(default):
        assert shown == [ENV_EXAMPLE[name.strip("`")]]


def test_the_examples_defaults_are_those_of_the_settings() -> None:
    for name, default in _defaults_in_settings():
        assert ENV_EXAMPLE[name] == _as_text(default), name


def _defaults_in_settings() -> Iterator[tuple[str, Any]]:
    """Each variable that ``proj/settings.py`` reads and the default that is written there."""
    for node in ast.walk(ast.parse((ROOT / "proj" / "settings.py").read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="env")), args=[ast.Constant(value=str(name)), *rest]
            ):
                defaults = [*rest, *(word.value for word in node.keywords if word.arg == "default")]
                if defaults and not isinstance(defaults[0], ast.JoinedStr):
                    yield name, eval(ast.unparse(defaults[0]), vars(state))


def _as_text(default: Any) -> str:
    if isinstance(default, list):
        return ",".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_every_setting_that_the_service_reads_is_described() -> None:
    described = set(first_codes(SETTINGS, "## Django settings that `jobledger` reads"))
    assert described == {conf.NAME, *_read_from_django()}


def _read_from_django() -> Iterator[str]:
    for path in (ROOT / "jobledger").rglob("*.py"):
        text = path.read_text()
        if path.parent.name != "migrations" and "from django.conf import settings" in text:
            for pair in re.findall(r"\bsettings\.([A-Z_]+)|getattr\(settings, \"([A-Z_]+)\"", text):
                yield "".join(pair)


def test_every_key_is_described_with_its_default() -> None:
    described = {row[0].strip("`"): codes(row[1])[0] for row in rows(SETTINGS, "## `JOBLEDGER`")}
    assert {name: eval(default) for name, default in described.items()} == asdict(conf.Settings())


def test_the_projects_defaults_are_those_of_the_service() -> None:
    defaults = asdict(conf.Settings())
    for name, default in _defaults_in_settings():
        assert defaults.get(name, default) == default, name


def test_every_setting_of_celery_is_described_with_its_value() -> None:
    for heading, expected in CELERYS_SETTINGS.items():
        described = rows(SETTINGS, heading)
        assert {codes(name)[0]: eval(codes(value)[0]) for name, value in described} == dict(expected)


# --- Commands


def operators_rows() -> list[list[str]]:
    headings = ("## Runs", "## Schedules", "## Other schedulers", "## The service")
    return [row for heading in headings for row in rows(COMMANDS, heading)]


def own_actions(command: BaseCommand) -> list[argparse.Action]:
    """What a subcommand takes beyond what every Django command does."""
    parser = command.create_parser("manage.py jobledger", "name")
    usual = {action.dest for action in BaseCommand().create_parser("manage.py", "name")._actions}
    return [action for action in parser._actions if action.dest not in usual]


def test_every_subcommand_has_a_row() -> None:
    assert sorted(row[0].strip("`").split()[0] for row in operators_rows()) == operator.names()


@pytest.mark.parametrize(
    ("name", "does", "options"), operators_rows(), ids=[row[0] for row in operators_rows()]
)
def test_a_subcommands_row_has_its_arguments_and_no_others(name: str, does: str, options: str) -> None:
    words = name.strip("`").split()
    actions = own_actions(operator.load(words[0]))
    positionals = [action for action in actions if not action.option_strings]
    assert words[1:] == [
        f"[{action.dest.upper()}]" if action.nargs == "?" else action.dest.upper() for action in positionals
    ]
    named = [code for code in codes(f"{does} {options}") if code.startswith("--")]
    flags = {action.option_strings[-1]: action for action in actions if action.option_strings}
    assert sorted(code.split()[0] for code in named) == sorted(flags)
    for code in named:
        _check_value(flags[code.split()[0]], code.partition(" ")[2])


def _check_value(action: argparse.Action, shown: str) -> None:
    """Small letters and digits are the default, or the choices; capitals stand for any value."""
    if "|" in shown:
        assert action.choices
        assert shown.split("|") == [str(choice) for choice in action.choices]
    elif shown and not shown.replace("/", "").isupper():
        assert shown == str(action.default)
    else:
        assert bool(shown) == (action.nargs != 0)


def test_every_target_of_make_is_described() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    described = first_codes(COMMANDS, "## `make`")
    assert sorted(code.removeprefix("make ") for code in described) == sorted({*targets} - {"help"})


def test_the_exit_codes_of_a_job_are_the_codes() -> None:
    told = {code for code in first_column(COMMANDS, "## Exit codes of a job") if code.isdecimal()}
    known = {0, 1, BAD_OPTIONS_EXIT_CODE, os.EX_TEMPFAIL, JobTimedOut.exit_code, JobCancelled.exit_code}
    known |= {INTERRUPTED_EXIT_CODE, 128 + signal.SIGTERM, MemoryLimitExceeded.exit_code}
    assert told == {str(code) for code in known}


def first_column(page: Path, heading: str) -> list[str]:
    return [row[0] for row in rows(page, heading)]


def test_the_options_that_every_job_has_are_there() -> None:
    parser = JobCommand().create_parser("manage.py", "name")
    usual = BaseCommand().create_parser("manage.py", "name")
    own = set(parser._option_string_actions) - set(usual._option_string_actions)
    assert set(first_codes(COMMANDS, "## Options that every job has")) == own


# --- Jobs and schedules

NAMES: dict[str, Any] = {
    "timedelta": timedelta,
    "Concurrency": Concurrency,
    "Frequency": Frequency,
    "Misfire": Misfire,
    "Calendars": Calendars,
    "DEFAULT_ALERTS": DEFAULT_ALERTS,
}


def test_every_attribute_is_described_with_its_default() -> None:
    described = {row[0].strip("`"): codes(row[1])[0] for row in rows(ATTRIBUTES, "# Job attributes")}
    method = described.pop("concurrency_key(options)")
    assert {name: eval(default, NAMES) for name, default in described.items()} == {
        name: getattr(JobDeclaration, name) for name in JobDeclaration.__annotations__
    }
    assert eval(method) == JobDeclaration.concurrency_key({})


@pytest.mark.parametrize(("heading", "keys"), [("## A schedule", KEYS), ("## An alert rule", RULE_KEYS)])
def test_every_key_of_a_schedule_file_is_described_with_its_default(
    heading: str, keys: dict[str, Key]
) -> None:
    described = [
        (name, json.loads(codes(row[1])[0])) for row in rows(FILES, heading) for name in codes(row[0])
    ]
    assert dict(described) == {name: key.default for name, key in keys.items()}
    assert len(described) == len(keys)


def test_the_attributes_of_a_running_job_exist() -> None:
    named = {code for row in rows(ATTRIBUTES, "## What a job has while it runs") for code in codes(row[0])}
    assert set(re.findall(r"self\.(\w+)", " ".join(named))) <= set(dir(JobCommand()))


def test_every_argument_of_a_schedule_is_described_with_its_default() -> None:
    described = {row[0].strip("`"): codes(row[1])[0] for row in rows(ATTRIBUTES, "## `Schedule`")}
    assert {name: eval(default, NAMES) for name, default in described.items()} == {
        field.name: field.default_factory()
        if field.default_factory is not dataclasses.MISSING
        else field.default
        for field in dataclasses.fields(Schedule)
    }


def test_every_argument_of_alerts_is_described_with_its_default() -> None:
    described = {row[0].strip("`"): codes(row[1])[0] for row in rows(ALERTS, "## `Alerts`")}
    assert {name: eval(default, NAMES) for name, default in described.items()} == {
        field.name: field.default for field in dataclasses.fields(Alerts)
    }


def test_every_kind_of_alert_is_described_and_whether_it_is_told_by_default() -> None:
    described = {row[0].strip("`"): row[2] == "yes" for row in rows(ALERTS, "# Alerts")}
    told = {kind.value: kind in DEFAULT_ALERTS for kind in AlertKind if kind is not AlertKind.FLAPPING}
    assert {**told, AlertKind.FLAPPING.value: True} == described


@pytest.mark.parametrize("expression", first_codes(SCHEDULES, "## Cron"))
def test_an_example_of_cron_is_cron(expression: str) -> None:
    fields = expression if expression[0] == "@" or " " in expression else f"0 0 {expression} * *"
    cron_expression.parse(fields)


def test_every_macro_is_described() -> None:
    macros = [code for code in first_codes(SCHEDULES, "## Cron") if code.startswith("@")]
    assert sorted(macros) == sorted(cron_expression.MACROS)


def test_the_choices_of_a_policy_and_of_a_pause_are_described_with_the_default() -> None:
    late = {row[0]: row[1:] for row in rows(SCHEDULES, "## Late, overlapping and long runs")}
    values, default = late["Missed runs"]
    assert sorted(codes(values)) == sorted(Misfire)
    assert codes(default) == [SchedulePolicy().misfire]
    assert f"up to a limit of {SchedulePolicy().catch_up_limit} ({MAX_CATCH_UP:,} at most)" in values
    pauses = {row[0]: row[1] for row in rows(SCHEDULES, "## Pauses")}
    assert sorted(codes(pauses["paused runs"])) == sorted(PausedSlots)


def test_options_in_json_match_the_page_about_argparse() -> None:
    parser = JobCommand().create_parser("manage.py", "name")
    parser.add_argument("--days", type=int)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--tags", nargs="+")
    parser.add_argument("user_id", nargs="?", metavar="USER_ID")
    examples = rows(REFERENCE / "celery-tasks.md", "## Arguments")
    for argv, value in [(codes(row[0])[0], codes(row[1])[0]) for row in examples if "{" in row[1]]:
        words = ["3" if word == "USER_ID" else word for word in argv.split()]
        assert " ".join(to_argv(parser, ast.literal_eval(value.replace("true", "True")))) in (
            " ".join(words),
            argv.replace(" ", "=", 1),
        )


# --- Runs


def test_every_state_is_described_and_drawn() -> None:
    page = REFERENCE / "states.md"
    assert first_codes(page, "# A run's states") == list(Status)
    drawing = page.read_text().partition("```text")[2].partition("```")[0]
    assert [status for status in Status if status not in drawing] == [Status.SENT]


# --- Metrics

METRICS_PAGE = REFERENCE / "metrics.md"


def test_every_metric_is_described_with_its_type_its_labels_and_its_help() -> None:
    described = rows(METRICS_PAGE, "# Metrics")
    metrics = [row for row in described if len(row) == 4]
    assert [(codes(name), kind, tuple(codes(labels)), text) for name, kind, labels, text in metrics] == [
        ([each.exposed_name], each.kind, each.labels, each.help) for each in METRICS
    ]
    labels = {codes(row[0])[0]: row[1] for row in described if len(row) == 2}
    assert set(labels) == {label for each in METRICS for label in each.labels}
    assert codes(labels["trigger"]) == list(Trigger)


@pytest.mark.parametrize(
    ("metric", "bounds"),
    [("run_duration_seconds", DURATION_BOUNDS), ("run_start_delay_seconds", DELAY_BOUNDS)],
)
def test_the_buckets_of_a_histogram_are_described(metric: str, bounds: tuple[float, ...]) -> None:
    text = " ".join(METRICS_PAGE.read_text().split())
    (list_of_numbers,) = re.findall(rf"of `jobledger_{metric}` are ([^`]*?hours)\.", text)
    units = {"seconds": 1, "minutes": 60, "hours": 3600}
    found = list[float]()
    for numbers, unit in re.findall(r"([\d., and]+?) (seconds|minutes|hours)", list_of_numbers):
        found += [float(number) * units[unit] for number in re.findall(r"[\d.]+", numbers)]
    assert tuple(found) == bounds


# --- Checks and permissions

CHECKS = rows(REFERENCE / "checks.md", "# Checks")
SOURCES = [path.read_text() for path in (ROOT / "jobledger" / "checks").glob("*.py")]


def test_every_check_is_described() -> None:
    found = {name for source in SOURCES for name in re.findall(r"jobledger\.[EIW]\d+", source)}
    assert first_codes(REFERENCE / "checks.md", "# Checks") == sorted(found)


@pytest.mark.parametrize(("name", "warns", "advice"), CHECKS, ids=[row[0] for row in CHECKS])
def test_a_check_matches_its_description(name: str, warns: str, advice: str) -> None:
    trees = [ast.walk(ast.parse(source)) for source in SOURCES]
    functions = [node for tree in trees for node in tree if isinstance(node, ast.FunctionDef)]
    sources = [text for text in map(ast.unparse, functions) if name.strip("`") in text]
    assert sources
    assert all(word in source for source in sources for word in codes(warns))


def test_every_permission_is_described() -> None:
    named = set(first_codes(REFERENCE / "permissions.md", "# Permissions")) - {"jobledger.start_job_<name>"}
    assert named == {right for group in rights.GROUPS.values() for right in group}


def test_every_group_is_described_with_its_permissions() -> None:
    described: dict[str, set[str]] = {}
    for name, has in rows(REFERENCE / "permissions.md", "## Groups"):
        above = re.search(r"those of \*([^*]+)\*", has)
        described[name] = {*codes(has), *(described[above[1]] if above else ())}
    assert described == {name: set(permissions) for name, permissions in rights.GROUPS.items()}
