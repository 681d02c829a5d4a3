"""The run of a message keeps the message's deadline and queue."""

from datetime import timedelta
from typing import Any, cast

import pytest
from celery import current_app
from celery.app.task import Context
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.jobs import registry
from jobledger.models import Run
from jobledger.runs.received import request_of
from tests.unit.broker import Broker
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db


def routing_of(priority: Any = 0, headers: dict[str, Any] | None = None, **delivery: Any) -> dict[str, Any]:
    message = Context(delivery_info={**delivery, "priority": priority}, headers=headers)
    return request_of(message, registry.find("probe"), {}).routing


def delivery_of(broker: Broker, **options: Any) -> dict[str, Any]:
    """How a message that is sent with these options says that it was routed."""
    current_app.send_task("probes.probe", **options, ignore_result=True, producer=cast("Any", broker))
    properties = broker.messages[-1].properties
    return {name: properties.get(name, 0) for name in ("exchange", "routing_key", "priority")}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({}, {}),
        ({"queue": "celery"}, {}),
        ({"exchange": "celery", "routing_key": "celery"}, {}),
        ({"queue": "gpu"}, {"queue": "gpu"}),
        ({"exchange": "x", "routing_key": "y"}, {"exchange": "x", "routing_key": "y"}),
        ({"queue": "gpu", "priority": 5}, {"queue": "gpu", "priority": 5}),
    ],
    ids=str,
)
def test_a_run_is_routed_like_its_message(broker: Broker, sent: dict[str, Any], kept: dict[str, Any]) -> None:
    assert routing_of(**delivery_of(broker, **sent)) == kept


@pytest.mark.parametrize(
    "odd",
    [
        {"exchange": "", "routing_key": "unacked"},
        {"exchange": "", "routing_key": "a b"},
        {"exchange": None, "routing_key": None},
        {"exchange": ["x"], "routing_key": 5},
        {"priority": "high"},
        {"priority": -1},
        {"priority": 256},
        {"exchange": "", "routing_key": "q" * 201},
        {},
    ],
    ids=str,
)
def test_a_routing_that_cannot_be_used_again_is_not_kept(odd: dict[str, Any]) -> None:
    assert routing_of(**odd) == {}


def test_a_schedules_own_routing_is_kept_rather_than_its_messages() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(name="daily", task="probes.probe", interval=every, queue="slow")
    headers = {"periodic_task_name": "daily"}
    assert routing_of(headers=headers, exchange="", routing_key="gpu") == {"queue": "slow"}
    gone = {"periodic_task_name": "deleted since"}
    assert routing_of(headers=gone, exchange="", routing_key="gpu") == {"queue": "gpu"}


@pytest.mark.parametrize(
    ("expires", "deadline"),
    [
        (NOON.isoformat(), NOON),
        (NOON.replace(tzinfo=None).isoformat(), NOON),
        ("2026-03-01T13:00:00+01:00", NOON),
        (None, None),
        ("soon", None),
        (5, None),
        (["x"], None),
    ],
)
def test_a_run_has_the_deadline_of_its_message(expires: Any, deadline: Any) -> None:
    request = request_of(Context(expires=expires), registry.find("probe"), {})
    assert request.start_before == deadline
    row = Run(**request.as_row(), queued_at=NOON)
    row.save()
    assert Run.objects.startable(NOON - timedelta(seconds=1)).count() == 1
    assert Run.objects.startable(NOON).count() == (0 if deadline else 1)
