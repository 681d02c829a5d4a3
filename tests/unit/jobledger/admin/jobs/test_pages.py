"""The execution policy and usage of jobs."""

from argparse import SUPPRESS
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from jobledger.admin.jobs import pages
from jobledger.jobs.declaration import Alerts, Concurrency
from tests.unit.jobledger.alerts.builders import destination
from tests.unit.jobledger.jobs.builders import a_job
from tests.unit.jobledger.jobs.options.parsers import arg


def facts_of(**declared: Any) -> dict[str, str]:
    return pages.execution_policy(a_job(**declared))


def test_defaults_are_described() -> None:
    assert facts_of() == {
        "Overlap": "One run at a time. A run that is due while another is running is skipped.",
        "Time limit": "None.",
        "Memory limit": "None.",
        "Process": "Runs share their worker's processes.",
        "Queue": "Runs go where Celery routes them, unless their schedule names a queue.",
        "Retries": "None.",
        "If its process dies": "The run is recorded as lost and is not restarted.",
        "While the whole service is paused": "Its schedules start nothing.",
        "Alerts": "The job declares no rule of its own.",
    }


@pytest.mark.parametrize(
    ("declared", "name", "text"),
    [
        ({"concurrency": Concurrency.ALLOW}, "Overlap", "Runs may overlap."),
        ({"concurrency": Concurrency.QUEUE}, "Overlap", "One more waits"),
        ({"concurrency": Concurrency.QUEUE, "max_queued": 3}, "Overlap", "Up to 3 wait"),
        ({"concurrency": Concurrency.REPLACE}, "Overlap", "cancels the one that is running"),
        (
            {"time_limit": timedelta(minutes=30)},
            "Time limit",
            "after 30 min; killed if",
        ),
        ({"memory_limit": "1 GB"}, "Memory limit", "more than 1 GB; killed at twice"),
        ({"isolate": True}, "Process", "a process of its own"),
        ({"isolate": True}, "If its process dies", "The run fails and is not restarted."),
        ({"queue": "reports"}, "Queue", "Runs go to the queue reports, unless their schedule names another."),
        ({"queue": "reports", "priority": 3}, "Queue", "names another. Priority: 3."),
        ({"priority": 0}, "Queue", "names a queue. Priority: 0."),
        ({"max_retries": 1}, "Retries", "One, 30 s after the failure"),
        ({"max_retries": 3}, "Retries", "Up to 3, the first 30 s after the failure; the delay doubles"),
        ({"restart_when_lost": True}, "If its process dies", "The run is restarted."),
        ({"runs_while_paused": True}, "While the whole service is paused", "go on starting runs"),
    ],
)
def test_each_declaration_is_described(declared: dict[str, Any], name: str, text: str) -> None:
    assert text in facts_of(**declared)[name]


def test_a_concurrency_key_is_mentioned_if_it_has_an_effect() -> None:
    def concurrency_key(cls: type, options: Mapping[str, Any]) -> str:
        return "x"

    narrowed: dict[str, Any] = {"concurrency_key": classmethod(concurrency_key)}
    assert "the same concurrency key" in facts_of(**narrowed)["Overlap"]
    for allowed in Concurrency.ALLOW, "allow":
        assert "concurrency key" not in facts_of(**narrowed, concurrency=allowed)["Overlap"]


def test_the_usage_excludes_common_options() -> None:
    job = a_job(arg("name"), arg("--days", type=int), arg("--inner", help=SUPPRESS))
    assert pages.usage(job) == "manage.py job [--days DAYS] name"


@pytest.mark.django_db
def test_alert_destinations_that_cannot_be_used_are_named() -> None:
    destination("team")
    destination("pager", enabled=False)
    assert facts_of(alerts=Alerts(destinations=["team"]))["Alerts"] == "Sent to team."
    text = facts_of(alerts=Alerts(destinations=["team", "pager", "ops"]))["Alerts"]
    assert text == "Sent to team, pager, ops. Missing or unusable: ops, pager."


def test_a_job_without_destinations_of_its_own_alerts_those_of_the_general_rules() -> None:
    assert facts_of(alerts=Alerts())["Alerts"] == "Sent to the destinations of the general rules."
    assert facts_of(alerts=Alerts(kinds=()))["Alerts"] == "None."
