"""Home says whether anybody is told, and whether alerts arrive."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobledger.health import alerts
from jobledger.jobs.declaration import Alerts
from jobledger.models import AlertDelivery, AlertDestination, DeliveryState, DestinationKind
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.jobledger.alerts.builders import destination, fail, rule

pytestmark = pytest.mark.django_db


def texts() -> list[str]:
    return [problem.text for problem in alerts.problems(timezone.now())]


def test_it_says_who_is_notified() -> None:
    assert alerts.recipients() == "nobody is notified"
    rule(destination("team"), destination("pager"))
    rule(destination("one job"), name="of a job", job="probe")
    assert alerts.recipients() == "to pager, team"


def test_a_destination_that_accepts_nothing_is_a_problem() -> None:
    destination("team", failures=3, error="ConnectionRefusedError: refused")
    destination("off", failures=3, enabled=False)
    destination("works")
    assert texts() == ["team does not accept alerts: ConnectionRefusedError: refused"]


@pytest.mark.parametrize("state", [DeliveryState.FAILED, DeliveryState.UNKNOWN])
def test_an_alert_that_has_not_arrived_is_a_problem_for_a_day(state: DeliveryState) -> None:
    rule(destination())
    fail()
    AlertDelivery.objects.update(state=state, changed_at=timezone.now() - timedelta(hours=23))
    assert texts() == ["1 alert may not have arrived in the last 24 hours."]
    AlertDelivery.objects.update(changed_at=timezone.now() - timedelta(hours=25))
    assert texts() == []


@pytest.mark.parametrize("exists", [False, True])
def test_a_job_that_names_no_usable_destination_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    monkeypatch.setattr(Probe, "alerts", Alerts(destinations=["pager", "team"]))
    destination("team")
    if exists:
        destination("pager", enabled=False)
    problem = "Jobs name alert destinations that do not exist or cannot be used"
    assert texts() == [f"{problem}: pager (by inherited), pager (by probe)."]
    AlertDestination.objects.update_or_create(
        name="pager", defaults={"enabled": True, "kind": DestinationKind.MAIL, "addresses": "a@example.com"}
    )
    assert texts() == []


def test_what_is_waiting_or_delivered_is_no_problem() -> None:
    rule(destination())
    fail()
    assert texts() == []


def test_home_shows_it_with_a_link_to_the_alerts(admin_client: Client) -> None:
    destination("team", failures=3, error="refused")
    text = admin_client.get(reverse("admin:home_now")).text
    assert "team does not accept alerts" in text
    assert reverse("admin:jobledger_alert_changelist") in text
