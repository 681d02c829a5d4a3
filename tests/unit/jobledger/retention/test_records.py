"""Alerts, dead letters and the audit log grow old, too, but nothing is told twice because of that."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from jobledger.alerts import watching
from jobledger.models import (
    Alert,
    AlertDelivery,
    AlertState,
    ApiToken,
    AuditEntry,
    Backfill,
    BackfillSlot,
    DeadLetter,
    DeliveryState,
    Pause,
    SchedulePolicy,
    Status,
)
from tests.unit.builders import make_user, override
from tests.unit.jobledger.alerts.builders import destination, rule
from tests.unit.jobledger.retention.builders import ended, is_there, prune, schedule

pytestmark = pytest.mark.django_db


def ago(days: float) -> Any:
    return timezone.now() - timedelta(days=days)


def alert(days_ago: float = 40, *states: DeliveryState, **values: Any) -> Alert:
    made = Alert.objects.create(
        **{"kind": "failed", "job": "probe", "rule_name": "all", "time": ago(days_ago), **values}
    )
    for state in states:
        AlertDelivery.objects.create(alert=made, destination_name="team", state=state, due_at=made.time)
    return made


def test_old_alerts_are_deleted_with_their_deliveries() -> None:
    old = alert(40, DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.UNKNOWN)
    young = alert(20, DeliveryState.DELIVERED)
    assert prune() == {"alerts": 1}
    assert [is_there(old), is_there(young)] == [False, True]
    assert AlertDelivery.objects.count() == 1


@pytest.mark.parametrize("state", [DeliveryState.WAITING, DeliveryState.SENDING])
def test_an_alert_that_is_still_to_be_delivered_is_kept(state: DeliveryState) -> None:
    alert(40, state, DeliveryState.DELIVERED)
    assert prune() == {}


def test_an_alert_about_a_run_that_has_not_ended_is_kept() -> None:
    waiting = ended(40, status=Status.QUEUED, finished_at=None)
    alert(40, kind="late", run=waiting)
    assert prune() == {}
    waiting.delete()
    assert prune() == {"alerts": 1}


def test_a_schedule_without_success_is_told_once_however_long_it_lasts() -> None:
    made = schedule(date_changed=ago(100))
    type(made).objects.filter(pk=made.pk).update(date_changed=ago(100))
    SchedulePolicy.objects.filter(pk=made.pk).update(anchor=ago(100))
    rule(destination(), success_within=timedelta(days=2))
    ended(90, schedule=made)
    ended(1, schedule=made, status=Status.FAILED)
    watching.scan_schedules(ago(40))
    AlertDelivery.objects.update(state=DeliveryState.DELIVERED)
    (told,) = Alert.objects.all()
    Alert.objects.update(time=ago(40))
    assert prune() == {}
    watching.scan_schedules(timezone.now())
    assert list(Alert.objects.all()) == [told]
    ended(0.5, schedule=made)
    prune()
    assert not is_there(told)


def test_dead_letters_are_deleted_after_the_same_time() -> None:
    for days in (40, 20):
        DeadLetter.objects.create(received_at=ago(days), reason="unknown task", size=1)
    assert prune() == {"dead letters": 1}


def test_api_tokens_are_deleted_long_after_they_could_be_used() -> None:
    def token(name: str, **values: Any) -> ApiToken:
        given = {"expires_at": ago(-10), **values}
        return ApiToken.objects.create(name=name, key=name, owner=owner, **given)

    owner = make_user()
    expired, revoked = token("expired", expires_at=ago(40)), token("revoked", revoked_at=ago(40))
    kept = [
        token("usable"),
        token("just expired", expires_at=ago(1)),
        token("just revoked", revoked_at=ago(1)),
    ]
    assert prune() == {"unusable API tokens": 2}
    assert [is_there(each) for each in (expired, revoked, *kept)] == [False, False, True, True, True]


def test_backfills_are_deleted_with_their_slots_once_they_are_long_over() -> None:
    for days in (40, 20, None):
        over = {} if days is None else {"ended_at": ago(days)}
        backfill = Backfill.objects.create(job="probe", since=ago(90), until=ago(80), **over)
        BackfillSlot.objects.create(backfill=backfill, scheduled_for=ago(85))
    assert prune() == {"backfills": 1}
    assert BackfillSlot.objects.count() == 2


def test_the_audit_log_is_kept_for_a_time_of_its_own(settings: Settings) -> None:
    for days in (400, 300):
        AuditEntry.objects.create(
            time=ago(days), username="ann", object_type="x", object_id="1", object_name="x", text="Changed."
        )
    assert prune() == {"entries of the audit log": 1}
    override(settings, KEEP_AUDIT_DAYS=100)
    assert prune() == {"entries of the audit log": 1}


def test_nothing_is_deleted_without_limits(settings: Settings) -> None:
    override(settings, KEEP_DAYS=None, KEEP_AUDIT_DAYS=None)
    alert(4000)
    DeadLetter.objects.create(received_at=ago(4000), reason="unknown task", size=1)
    AuditEntry.objects.create(
        time=ago(4000), username="ann", object_type="x", object_id="1", object_name="x", text="Changed."
    )
    assert prune() == {}


def test_what_is_known_of_failing_jobs_is_forgotten_with_the_rule_or_the_schedule() -> None:
    made, general = schedule(), rule(destination())
    kept = [
        AlertState.objects.create(rule=str(general.pk), job="probe", schedule_key=made.pk),
        AlertState.objects.create(rule="job:probe", job="probe"),
    ]
    AlertState.objects.create(rule=str(general.pk + 1), job="probe")
    AlertState.objects.create(rule="job:probe", job="probe", schedule_key=made.pk + 1)
    assert prune() == {"streaks of deleted rules and schedules": 2}
    assert list(AlertState.objects.order_by("pk")) == kept


def test_old_pauses_are_deleted_except_the_last_one_of_a_schedule() -> None:
    """Failures before it do not count towards the next pause after failures."""
    mine, other = schedule("mine"), schedule("other")

    def pause(days_ago: float, of: Any) -> Pause:
        return Pause.objects.create(schedule=of, since=ago(days_ago + 1), until=ago(days_ago))

    service, first, last = pause(60, None), pause(60, mine), pause(50, mine)
    recent, open_ended = pause(20, None), Pause.objects.create(schedule=other, since=ago(90))
    assert prune() == {"pauses": 2}
    assert not any(map(is_there, (service, first)))
    assert all(map(is_there, (last, recent, open_ended)))
