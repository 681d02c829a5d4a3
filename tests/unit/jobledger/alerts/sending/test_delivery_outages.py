"""The database fails while an alert is being delivered: if it was not sent yet, it is sent once."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import time_machine
from django.db import OperationalError
from django.utils import timezone

from jobledger.alerts import subscriptions
from jobledger.alerts.sending import delivery, destinations, message
from jobledger.alerts.sending.background import Background
from jobledger.alerts.sending.destinations import NotDeliveredError
from jobledger.alerts.sending.message import Message
from jobledger.models import AlertDelivery, AlertDestination, DestinationKind
from tests.unit.jobledger.alerts.builders import destination, fail, rule

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The subjects of the messages."""
    subjects = list[str]()

    def send(to: AlertDestination, text: Message, message_id: UUID) -> None:
        subjects.append(text.subject)

    monkeypatch.setattr(destinations, "send", send)
    return subjects


@pytest.fixture
def due(clock: time_machine.Traveller) -> AlertDestination:
    to = destination()
    rule(to)
    fail()
    clock.shift(30)
    return to


def unanswered(function: Callable[..., object]) -> Callable[..., object]:
    """The same, but the database's last answer is lost."""

    def call(*args: Any, **kwargs: Any) -> object:
        function(*args, **kwargs)
        raise OperationalError("server closed the connection unexpectedly")

    return call


def states() -> list[tuple[str, int]]:
    return list(AlertDelivery.objects.values_list("state", "attempts"))


@pytest.mark.parametrize("is_committed", [True, False])
def test_an_alert_is_sent_although_nobody_knows_whether_it_was_claimed(
    due: AlertDestination, sent: list[str], monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "claim", unanswered(delivery.claim if is_committed else lambda *args: None))
        with pytest.raises(OperationalError):
            delivery.deliver(due.pk)
    delivery.take_back()
    assert delivery.ready_destinations(timezone.now()) == [due.pk]
    assert delivery.deliver(due.pk)
    assert (sent, states()) == (["probe failed: RuntimeError: boom"], [("delivered", 1)])


def test_one_is_sent_that_the_database_failed_to_say_is_still_wanted(
    due: AlertDestination, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    AlertDestination.objects.update(kind=DestinationKind.USER)
    with monkeypatch.context() as patch:
        patch.setattr(subscriptions, "wanted", unanswered(lambda *args: None))
        with pytest.raises(OperationalError):
            delivery.deliver(due.pk)
    assert states() == [("sending", 1)]
    delivery.take_back()
    assert states() == [("waiting", 0)]


def fails(error: Exception) -> Callable[..., object]:
    def call(*args: Any, **kwargs: Any) -> object:
        raise error

    return call


DOWN = OperationalError("the database is down")


def deliver_in_outage(
    due: AlertDestination, monkeypatch: pytest.MonkeyPatch, failing: Mapping[tuple[object, str], Exception]
) -> None:
    with monkeypatch.context() as patch:
        for (module, name), error in failing.items():
            patch.setattr(module, name, fails(error))
        with pytest.raises(OperationalError):
            delivery.deliver(due.pk)


def test_an_alert_whose_run_cannot_be_read_for_the_message_is_sent_later(
    due: AlertDestination, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_in_outage(due, monkeypatch, {(message, "compose"): DOWN})
    due.refresh_from_db()
    assert (due.error, due.failures) == ("", 0)
    delivery.take_back()
    assert delivery.deliver(due.pk)
    assert (sent, states()) == (["probe failed: RuntimeError: boom"], [("delivered", 1)])


def test_an_alert_that_is_not_accepted_while_the_database_is_down_is_sent_later(
    due: AlertDestination, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = NotDeliveredError("no network")
    deliver_in_outage(
        due, monkeypatch, {(destinations, "send"): refused, (delivery, "_record_failure"): DOWN}
    )
    delivery.take_back()
    assert delivery.deliver(due.pk)
    assert (sent, states()) == (["probe failed: RuntimeError: boom"], [("delivered", 1)])


def test_an_alert_that_was_accepted_while_the_database_is_down_is_not_sent_again(
    due: AlertDestination, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_in_outage(due, monkeypatch, {(delivery, "_record_success"): DOWN})
    delivery.take_back()
    assert not delivery.deliver(due.pk)
    assert (len(sent), states()) == (1, [("sending", 1)])


def test_a_mistake_of_whoever_knows_what_a_user_may_see_loses_no_alert(
    due: AlertDestination, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    AlertDestination.objects.update(kind=DestinationKind.USER)
    monkeypatch.setattr(subscriptions, "wanted", fails(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        delivery.deliver(due.pk)
    due.refresh_from_db()
    assert (due.busy_until, due.failures, states()) == (None, 1, [("waiting", 1)])


def test_what_another_process_has_marked_since_is_left_alone(
    due: AlertDestination, sent: list[str], monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(delivery, "claim", unanswered(delivery.claim))
        with pytest.raises(OperationalError):
            delivery.deliver(due.pk)
    clock.shift(delivery.CLAIM + timedelta(seconds=1))
    delivery.tidy(timezone.now())
    delivery.take_back()
    assert states() == [("unknown", 1)]


def test_beat_takes_back_what_it_could_not_begin_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = list[bool]()
    monkeypatch.setattr(delivery, "take_back", lambda: taken.append(True))
    # Not all steps, some of which begin threads that would still be there in the next test.
    Background()._deliver(timezone.now())
    assert taken == [True]
