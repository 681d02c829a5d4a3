"""The list of alerts, the page of each, and what a run's page says of them."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from jobledger.admin.alerts.listing import MARKS
from jobledger.jobs.declaration import AlertKind
from jobledger.models import Alert, AlertDelivery, DeliveryState
from tests.unit.jobledger.alerts.builders import destination, fail, rule

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobledger_alert_changelist")


def page(of: Alert) -> str:
    return reverse("admin:jobledger_alert_change", args=[of.pk])


@pytest.fixture
def alert() -> Alert:
    """Delivered to one destination, and not to the other."""
    rule(destination("team"), destination("pager"))
    fail()
    AlertDelivery.objects.filter(destination_name="team").update(state=DeliveryState.DELIVERED)
    AlertDelivery.objects.filter(destination_name="pager").update(error="ConnectionRefusedError", attempts=4)
    return Alert.objects.get()


def test_the_list_says_what_happened_and_whether_it_was_delivered(admin_client: Client, alert: Alert) -> None:
    text = admin_client.get(LIST).text
    assert "probe failed" in text
    assert "waiting: pager; delivered to team" in text


def test_an_empty_list_says_why_it_is_empty(admin_client: Client, alert: Alert) -> None:
    assert "No alerts" not in admin_client.get(LIST).text
    assert "No alerts match." in admin_client.get(LIST, {"kind__exact": "slow"}).text
    Alert.objects.all().delete()
    assert "No alerts yet." in admin_client.get(LIST).text


def test_the_page_has_the_message_and_each_delivery(admin_client: Client, alert: Alert) -> None:
    text = admin_client.get(page(alert)).text
    assert "probe failed: RuntimeError: boom" in text
    assert "ConnectionRefusedError" in text
    assert "attempt 4" in text


def test_a_runs_page_lists_its_alerts(admin_client: Client, alert: Alert) -> None:
    text = admin_client.get(reverse("admin:jobledger_run_change", args=[alert.run_id])).text
    assert page(alert) in text
    assert "delivered to team" in text


def test_those_who_may_view_runs_may_view_alerts_and_nobody_may_change_them(
    client: Client, alert: Alert
) -> None:
    user = User.objects.create_user("viewer", is_staff=True)
    client.force_login(user)
    assert client.get(page(alert)).status_code == 403
    assert client.get(LIST).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    text = client.get(LIST).text
    assert "probe failed" in text
    assert reverse("admin:jobledger_alertdestination_changelist") not in text
    assert client.get(page(alert)).status_code == 200


def test_alerts_without_a_run_are_only_for_those_who_may_view_schedules(client: Client) -> None:
    silent = Alert.objects.create(
        kind=AlertKind.SILENT, job="probe", schedule_name="payroll", rule_name="all"
    )
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(user)
    assert "payroll" not in client.get(LIST).text
    assert "has not succeeded" not in client.get(LIST, {"q": "payroll"}).text
    assert client.get(page(silent)).status_code == 404
    user.user_permissions.add(Permission.objects.get(codename="view_periodictask"))
    assert "payroll has not succeeded" in client.get(LIST).text
    assert "payroll has not succeeded" in client.get(page(silent)).text


def test_the_list_leads_superusers_to_rules_and_destinations(admin_client: Client) -> None:
    text = admin_client.get(LIST).text
    assert reverse("admin:jobledger_alertdestination_changelist") in text
    assert reverse("admin:jobledger_alertrule_changelist") in text


def test_the_list_takes_as_many_queries_for_many_alerts_as_for_one(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    rule(destination(), every_failure=True)
    for _ in range(30):
        fail()
    with django_assert_max_num_queries(8):
        assert "probe failed 30 times in a row" in admin_client.get(LIST).text


def test_an_alert_that_does_not_exist_is_not_found(admin_client: Client, alert: Alert) -> None:
    url = page(alert)
    Alert.objects.all().delete()
    assert admin_client.get(url).status_code == 404


def test_every_kind_has_a_symbol() -> None:
    assert set(MARKS) == set(AlertKind)
