"""Users who subscribe to a job or a schedule are told by mail, once, for as long as they may see it."""

import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core import mail, signing
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.admin import rights
from jobledger.alerts import subscriptions
from jobledger.alerts.sending import delivery
from jobledger.alerts.sending.mail import with_long_lines
from jobledger.alerts.subscriptions import NoAddressError
from jobledger.models import (
    Alert,
    AlertDelivery,
    AlertDestination,
    AlertState,
    Run,
    Status,
    Subscription,
)
from jobledger.retention import records
from tests.unit.builders import override
from tests.unit.jobledger.admin.schedules.edit_forms import create_hourly
from tests.unit.jobledger.alerts.builders import LOST, TIMED_OUT, destination, end, fail, rule, succeed, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]


@pytest.fixture
def based(settings: Settings) -> None:
    override(settings, BASE_URL="https://jobs.example.com")


def user(name: str = "ann", *, group: str = "Job viewers", **values: Any) -> Any:
    rights.create_groups()
    defaults = {"email": f"{name}@example.com", "is_staff": True}
    made = get_user_model()._default_manager.create(username=name, **{**defaults, **values})
    if group:
        made.groups.set([Group.objects.get(name=group)])
    return made


def sent(clock: time_machine.Traveller) -> list[Any]:
    """The mails that have arrived since the last call."""
    clock.shift(timedelta(minutes=6))
    for pk in delivery.ready_destinations(timezone.now()):
        delivery.deliver(pk)
    found, mail.outbox = mail.outbox, []
    return found


def states() -> list[str]:
    return sorted(AlertDelivery.objects.values_list("state", flat=True))


def test_a_subscriber_is_told_of_failures_and_recoveries_at_the_accounts_address(
    clock: time_machine.Traveller,
) -> None:
    assert subscriptions.subscribe(user(), job="probe")
    fail()
    (message,) = sent(clock)
    assert message.to == ["ann@example.com"]
    assert "probe failed" in message.subject
    fail()
    assert sent(clock) == []
    succeed()
    (message,) = sent(clock)
    assert "probe works again" in message.subject


@pytest.mark.parametrize("outcome", [LOST, TIMED_OUT])
def test_whatever_ends_badly_is_a_failure(clock: time_machine.Traveller, outcome: Any) -> None:
    subscriptions.subscribe(user(), job="probe")
    end(outcome)
    assert len(sent(clock)) == 1


def test_a_subscriber_of_a_job_is_not_told_of_others(clock: time_machine.Traveller) -> None:
    subscriptions.subscribe(user(), job="probe")
    fail(job="lasting")
    assert sent(clock) == []


def test_a_subscriber_of_a_schedule_is_told_of_it_alone_whichever_job_it_starts(
    clock: time_machine.Traveller,
) -> None:
    schedule = create_hourly()
    subscriptions.subscribe(user(), schedule=schedule)
    fail(schedule=None)
    assert sent(clock) == []
    fail(schedule=schedule, job="lasting")
    assert len(sent(clock)) == 1


def test_who_subscribes_to_a_job_and_its_schedule_is_told_once(clock: time_machine.Traveller) -> None:
    ann, schedule = user(), create_hourly()
    subscriptions.subscribe(ann, job="probe")
    subscriptions.subscribe(ann, schedule=schedule)
    fail(schedule=schedule)
    assert told() == ["failed"]
    (message,) = sent(clock)
    assert f"failures of: job probe, schedule {schedule.name}." in message.body


def test_subscribing_twice_changes_nothing() -> None:
    ann = user()
    assert subscriptions.subscribe(ann, job="probe")
    assert not subscriptions.subscribe(ann, job="probe")
    assert Subscription.objects.count() == AlertDestination.objects.filter(user=ann).count() == 1


@pytest.mark.parametrize("values", [{"email": ""}, {"is_active": False}])
def test_nobody_subscribes_without_an_address(values: dict[str, Any]) -> None:
    with pytest.raises(NoAddressError):
        subscriptions.subscribe(user(**values), job="probe")
    assert not Subscription.objects.exists()


# --- Never twice


def test_an_address_that_a_rule_mails_anyway_gets_one_mail(clock: time_machine.Traveller) -> None:
    rule(destination(addresses="Bob@example.com, ANN@example.com"))
    subscriptions.subscribe(user(), job="probe")
    fail()
    (message,) = sent(clock)
    assert message.to == ["Bob@example.com", "ANN@example.com"]
    succeed()
    assert len(sent(clock)) == 1


def test_what_a_rule_does_not_tell_is_told_to_the_subscriber(clock: time_machine.Traveller) -> None:
    rule(destination(addresses="ann@example.com"), after_failures=2)
    subscriptions.subscribe(user(), job="probe")
    fail()
    assert [each.to for each in sent(clock)] == [["ann@example.com"]]
    fail()
    assert len(sent(clock)) == 1


def test_a_digest_does_not_replace_what_is_told_at_once(clock: time_machine.Traveller) -> None:
    rule(destination(addresses="ann@example.com"), frequency="daily")
    subscriptions.subscribe(user(), job="probe")
    fail()
    (message,) = sent(clock)
    assert "You have subscribed" in message.body


def test_a_silenced_job_is_still_told_to_subscribers(clock: time_machine.Traveller) -> None:
    rule(job="probe", kinds=[])
    subscriptions.subscribe(user(), job="probe")
    fail()
    assert len(sent(clock)) == 1


def test_two_accounts_with_the_same_address_get_one_mail(clock: time_machine.Traveller) -> None:
    for name in "ann", "ann2":
        subscriptions.subscribe(user(name, email="team@example.com"), job="probe")
    fail()
    assert [each.to for each in sent(clock)] == [["team@example.com"]]


def test_of_two_accounts_with_the_same_address_one_without_rights_does_not_keep_the_other_from_it(
    clock: time_machine.Traveller,
) -> None:
    subscriptions.subscribe(ann := user("ann", email="team@example.com"), job="probe")
    subscriptions.subscribe(user("ann2", email="team@example.com"), job="probe")
    ann.groups.clear()
    fail()
    assert len(sent(clock)) == 1


def test_alerts_are_grouped_in_one_mail(clock: time_machine.Traveller) -> None:
    ann = user()
    subscriptions.subscribe(ann, job="probe")
    subscriptions.subscribe(ann, job="lasting")
    fail()
    fail(job="lasting")
    (message,) = sent(clock)
    assert "2 alerts" in message.subject
    assert "failures of: job probe, job lasting." in message.body


def test_attended_runs_are_not_told(clock: time_machine.Traveller) -> None:
    subscriptions.subscribe(user(), job="probe")
    fail(trigger="cli")
    assert sent(clock) == []


def test_a_success_reads_subscriptions_only_if_there_are_any(django_assert_num_queries: Any) -> None:
    subscriptions.subscribe(user(), job="probe")
    run = Run.objects.create(job="probe", trigger="schedule", status=Status.SUCCEEDED)
    from jobledger.alerts import recording

    with django_assert_num_queries(6):  # a savepoint, the rules, subscriptions, streaks, and those of others
        recording.run_ended(run, Status.SUCCEEDED, timezone.now())


def test_the_destination_of_a_user_with_a_long_name_and_a_long_key_has_a_name_that_fits() -> None:
    user = SimpleNamespace(pk=uuid4(), get_username=lambda: "x" * 150)
    name = subscriptions.destination_name(user)
    assert len(name) == AlertDestination._meta.get_field("name").max_length
    assert name.endswith(f"xx (user {user.pk})")


# --- Rights, accounts and addresses that change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda ann: ann.groups.clear(), "The user may no longer view runs."),
        (lambda ann: _set(ann, is_active=False), "The user can no longer sign in."),
        (lambda ann: _set(ann, is_staff=False), "The user can no longer sign in."),
        (lambda ann: _set(ann, email=""), "The user's account has no mail address."),
    ],
)
def test_who_may_not_be_told_any_more_between_the_failure_and_the_mail_gets_none(
    clock: time_machine.Traveller, change: Any, why: str
) -> None:
    subscriptions.subscribe(ann := user(), job="probe")
    fail()
    change(ann)
    assert sent(clock) == []
    assert list(AlertDelivery.objects.values_list("state", "error")) == [("withdrawn", why)]
    destination = AlertDestination.objects.get(user=ann)
    assert (destination.failures, destination.busy_until) == (0, None)


def _set(ann: Any, **values: Any) -> None:
    type(ann)._default_manager.filter(pk=ann.pk).update(**values)


def test_who_loses_the_right_and_regains_it_is_told_again(clock: time_machine.Traveller) -> None:
    subscriptions.subscribe(ann := user(), job="probe")
    groups = list(ann.groups.all())
    ann.groups.clear()
    fail()
    assert sent(clock) == []
    ann.groups.set(groups)
    succeed()
    fail()
    assert len(sent(clock)) == 1


def test_the_address_is_the_one_that_the_account_has_when_the_mail_is_sent(
    clock: time_machine.Traveller,
) -> None:
    subscriptions.subscribe(ann := user(), job="probe")
    fail()
    _set(ann, email="new@example.com")
    assert [each.to for each in sent(clock)] == [["new@example.com"]]


def test_a_deleted_user_leaves_nothing_behind(clock: time_machine.Traveller) -> None:
    subscriptions.subscribe(ann := user(), job="probe")
    fail()
    ann.delete()
    assert not AlertDestination.objects.filter(kind="user").exists()
    assert sent(clock) == []
    fail()
    useless = next(each for each in records.old_records(timezone.now()) if each.name.startswith("streaks"))
    assert useless.rows.count() == AlertState.objects.count() == 1


def test_streaks_of_subscribers_are_kept() -> None:
    subscriptions.subscribe(user(), job="probe")
    fail()
    useless = next(each for each in records.old_records(timezone.now()) if each.name.startswith("streaks"))
    assert (useless.rows.count(), AlertState.objects.count()) == (0, 1)


# --- Unsubscribing


def test_what_waits_is_not_sent_after_unsubscribing(clock: time_machine.Traveller) -> None:
    subscriptions.subscribe(ann := user(), job="probe")
    subscriptions.subscribe(ann, job="lasting")
    fail()
    fail(job="lasting")
    subscriptions.unsubscribe([each for each in subscriptions.of_user(ann) if each.job == "probe"])
    (message,) = sent(clock)
    assert "lasting failed" in message.subject
    assert states() == ["delivered", "withdrawn"]


def test_who_subscribes_again_begins_anew(clock: time_machine.Traveller) -> None:
    subscriptions.subscribe(ann := user(), job="probe")
    fail()
    sent(clock)
    subscriptions.unsubscribe(subscriptions.of_user(ann))
    assert not AlertState.objects.exists()
    subscriptions.subscribe(ann, job="probe")
    succeed()
    assert sent(clock) == []


def test_a_streak_that_another_subscription_covers_goes_on(clock: time_machine.Traveller) -> None:
    ann, schedule = user(), create_hourly()
    subscriptions.subscribe(ann, job="probe")
    subscriptions.subscribe(ann, schedule=schedule)
    fail(schedule=schedule)
    fail()
    sent(clock)
    subscriptions.unsubscribe(Subscription.objects.filter(schedule=None))
    assert list(AlertState.objects.values_list("schedule_key", flat=True)) == [schedule.pk]
    succeed(schedule=schedule)
    assert len(sent(clock)) == 1


def test_a_deleted_schedule_ends_its_subscriptions() -> None:
    schedule = create_hourly()
    subscriptions.subscribe(user(), schedule=schedule)
    PeriodicTask.objects.all().delete()
    assert not Subscription.objects.exists()


@pytest.mark.usefixtures("based")
def test_a_mail_can_be_unsubscribed_from_with_one_click_and_without_login(
    clock: time_machine.Traveller, client: Client
) -> None:
    subscriptions.subscribe(user(), job="probe")
    fail()
    (message,) = sent(clock)
    header = message.message()["List-Unsubscribe"]
    link = re.fullmatch(r"\s*<https://jobs\.example\.com(/\S+)>", header)
    assert link
    assert f"Unsubscribe: https://jobs.example.com{link[1]}\n" in message.body
    assert "Your subscriptions: https://jobs.example.com/admin/jobledger/following/" in message.body
    assert message.message()["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    strict = Client(enforce_csrf_checks=True)
    response = strict.post(link[1], {"List-Unsubscribe": "One-Click"})
    assert response.status_code == 200
    assert "Nothing more is sent" in response.text
    assert not Subscription.objects.exists()
    assert strict.post(link[1], {"List-Unsubscribe": "One-Click"}).status_code == 200


@pytest.mark.usefixtures("based")
def test_opening_the_link_asks_first(client: Client) -> None:
    subscriptions.subscribe(ann := user(), job="probe")
    path = subscriptions.unsubscribe_link(subscriptions.of_user(ann)).removeprefix("https://jobs.example.com")
    response = client.get(path)
    assert "job probe" in response.text
    assert "<button" in response.text
    assert (response["Referrer-Policy"], response["X-Robots-Tag"]) == ("no-referrer", "noindex")
    assert "no-store" in response["Cache-Control"]
    assert Subscription.objects.exists()


@pytest.mark.parametrize("token", ["1:x", "x", "1", "a/b", signing.Signer(salt="other").sign("1")])
def test_a_forged_link_ends_nothing_and_is_not_logged(
    client: Client, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    subscriptions.subscribe(user(), job="probe")
    assert client.post(f"/unsubscribe/{token}").status_code == 404
    assert Subscription.objects.exists()
    assert caplog.messages == ["Not Found: /unsubscribe/********"]


def test_without_base_url_a_mail_has_no_link(clock: time_machine.Traveller) -> None:
    subscriptions.subscribe(user(), job="probe")
    fail()
    (message,) = sent(clock)
    assert "List-Unsubscribe" not in message.message()
    assert "Unsubscribe:" not in message.body


def test_a_long_address_in_a_header_is_not_encoded() -> None:
    from email.message import EmailMessage
    from email.policy import SMTP

    written = EmailMessage(policy=with_long_lines({"policy": SMTP})["policy"])
    written["List-Unsubscribe"] = f"<https://jobs.example.com/{'x' * 200}>"
    assert f"<https://jobs.example.com/{'x' * 200}>" in written.as_bytes().decode()
    assert with_long_lines({}) == {}


def test_alerts_name_the_subscriber() -> None:
    subscriptions.subscribe(ann := user("a" * 150), job="probe")
    fail()
    assert Alert.objects.get().rule_name == f"subscription of {'a' * 60} (user {ann.pk})"
