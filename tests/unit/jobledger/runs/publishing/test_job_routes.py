"""A job's runs go to the queue that it declares, with its priority, however they are started."""

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery import current_app
from django.core.management import call_command
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from jobledger.celery import ROUTER
from jobledger.jobs import registry
from jobledger.models import Run, Status, Trigger
from jobledger.runs import dispatch
from jobledger.runs.dispatch import RunRequest
from jobledger.runs.publishing import job_routes
from jobledger.runs.publishing.job_routes import completed, message_priority, route_for_task
from jobledger.runs.service import queues
from jobledger.schedules.due import ledger
from tests.probes import tasks
from tests.unit.broker import Broker
from tests.unit.builders import NOON, override
from tests.unit.jobledger.schedules.builders import hourly

Declare = Callable[..., None]
OWN = {"queue": "reports", "priority": 3}


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Have a job declare these attributes."""

    def declare_it(job: str = "probe", **attributes: Any) -> None:
        for name, value in attributes.items():
            monkeypatch.setattr(registry.find(job).declaration, name, value)

    return declare_it


def send(name: str = "probes.probe", **options: Any) -> dict[str, Any]:
    """How a message without a run is routed, which names no queue unless the options do."""
    broker = Broker()
    current_app.send_task(name, ignore_result=True, producer=cast("Any", broker), **options)
    (message,) = broker.messages
    return {name: message.properties.get(name) for name in ("routing_key", "priority")}


@pytest.mark.django_db
def test_a_run_is_sent_to_the_queue_of_its_job_and_keeps_it(
    declare: Declare, broker: Broker, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    declare(**OWN)
    with django_capture_on_commit_callbacks(execute=True):
        run = dispatch.enqueue(RunRequest(job="probe", trigger=Trigger.ADMIN))
    (message,) = broker.messages
    assert (message.properties["routing_key"], message.properties["priority"]) == ("reports", 3)
    assert Run.objects.get(pk=run.pk).routing == OWN


@pytest.mark.django_db
def test_a_run_of_a_schedule_goes_to_the_schedules_queue_or_else_to_the_jobs(declare: Declare) -> None:
    declare(**OWN)
    hourly("own", handled_until=NOON - timedelta(minutes=1), queue="slow", priority=0)
    hourly("half", handled_until=NOON - timedelta(minutes=1), queue="slow")
    hourly("none", handled_until=NOON - timedelta(minutes=1))
    ledger.record_due(NOON)
    assert dict(Run.objects.values_list("schedule_name", "routing")) == {
        "own": {"queue": "slow", "priority": 0},
        "half": {"queue": "slow", "priority": 3},
        "none": OWN,
    }


@pytest.mark.django_db
def test_a_run_that_is_repeated_goes_where_it_went_or_else_to_the_queue_of_its_job(declare: Declare) -> None:
    ended = {"job": "probe", "trigger": Trigger.CLI, "status": Status.FAILED}
    routed, plain = Run.objects.create(**ended, routing={"queue": "slow"}), Run.objects.create(**ended)
    declare(queue="reports")
    again = [dispatch.run_again(run, trigger=Trigger.API, username="ann") for run in (routed, plain)]
    assert [run.routing for run in again] == [{"queue": "slow"}, {"queue": "reports"}]


@pytest.mark.django_db
def test_the_command_call_sends_to_the_queue_of_the_job_unless_it_names_another(declare: Declare) -> None:
    declare(queue="reports")
    call_command("jobledger", "call", "probe")
    call_command("jobledger", "call", "--queue", "slow", "probe")
    found = Run.objects.order_by("queued_at").values_list("routing", flat=True)
    assert list(found) == [{"queue": "reports"}, {"queue": "slow"}]


def test_an_exposed_command_can_declare_its_queue(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS={"clearsessions": OWN})
    assert completed("clearsessions", {}) == OWN
    assert send("sessions.clearsessions") == {"routing_key": "reports", "priority": 3}


def test_a_message_without_a_run_goes_to_the_queue_of_its_job_unless_it_names_another(
    declare: Declare,
) -> None:
    declare(**OWN)
    assert send() == {"routing_key": "reports", "priority": 3}
    assert send(queue="slow", priority=7) == {"routing_key": "slow", "priority": 7}
    assert send(exchange="x", routing_key="y") == {"routing_key": "y", "priority": 3}


def test_delay_sends_to_the_queue_of_the_job(declare: Declare, broker: Broker) -> None:
    declare(queue="reports")
    current_app.tasks["probes.probe"].apply_async(ignore_result=True)
    (message,) = broker.messages
    assert message.properties["routing_key"] == "reports"


def test_other_tasks_and_jobs_that_declare_nothing_are_left_to_the_projects_routes() -> None:
    assert route_for_task("probes.probe", (), {}, {}) is None
    assert route_for_task("tests.probes.tasks.add", (), {}, {}) is None
    assert route_for_task("elsewhere.task", (), {}) is None


@pytest.mark.parametrize(
    ("routes", "queue"),
    [([], "celery"), ([{"probes.*": {"queue": "slow"}}], "slow"), ([{"other.*": "slow"}], "celery")],
    ids=str,
)
def test_a_priority_alone_leaves_the_queue_to_the_projects_routes(
    monkeypatch: pytest.MonkeyPatch, declare: Declare, routes: list[Any], queue: str
) -> None:
    app = current_app
    monkeypatch.setitem(app.conf, "task_routes", [ROUTER, *routes])
    monkeypatch.setattr(app.amqp, "router", app.amqp.Router())
    declare(priority=3)
    assert send() == {"routing_key": queue, "priority": 3}
    assert queues.queue_of("probe", None) == queue
    assert send(queue="mail") == {"routing_key": "mail", "priority": 3}


def test_what_waits_in_the_queue_of_a_job_is_known_to_be_there(declare: Declare) -> None:
    declare(queue="reports")
    assert (queues.queue_of("probe", None), queues.queue_of("probe", "slow")) == ("reports", "slow")
    # A function always has a priority.
    assert (queues.queue_of("probes:multiply", None), queues.queue_of("probes:retried", None)) == (
        "celery",
        "mail",
    )


def test_a_route_does_not_need_the_apps_to_be_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(job_routes, "apps", SimpleNamespace(models_ready=False, loading=False))
    monkeypatch.setattr("django.setup", lambda: done.append("set up"))
    assert route_for_task("elsewhere.task", (), {}) is None
    assert done == ["set up"]


def test_nothing_is_looked_up_while_the_apps_are_being_set_up(
    monkeypatch: pytest.MonkeyPatch, declare: Declare
) -> None:
    declare(queue="reports")
    monkeypatch.setattr(job_routes, "apps", SimpleNamespace(models_ready=False, loading=True))
    assert route_for_task("probes.probe", (), {}) is None


@pytest.mark.parametrize("value", [5, ["reports"], None])
def test_a_queue_that_is_no_text_is_left_to_the_check(declare: Declare, value: object) -> None:
    declare(queue=value, priority="high")
    assert completed("probe", {}) == {}


def test_a_function_has_the_queue_and_the_priority_of_its_task_unless_it_declares_others(
    declare: Declare,
) -> None:
    assert completed("probes:retried", {}) == {"queue": "mail", "priority": 3}
    declare("probes:retried", **OWN | {"priority": 8})
    assert completed("probes:retried", {}) == {"queue": "reports", "priority": 8}


@pytest.mark.django_db
def test_an_enqueued_function_goes_where_it_declares_unless_using_names_another(declare: Declare) -> None:
    declare("probes:multiply", queue="reports")
    tasks.multiply.enqueue(1)
    tasks.multiply.using(queue_name="mail", priority=100).enqueue(1)
    tasks.retried.using(queue_name="default").enqueue()
    found = Run.objects.order_by("queued_at").values_list("routing", flat=True)
    assert list(found) == [
        {"queue": "reports", "priority": 5},
        {"queue": "mail", "priority": 0},
        {"queue": "celery", "priority": 3},
    ]


@pytest.mark.parametrize(
    ("url", "priorities"), [("redis://", [9, 5, 0]), ("amqp://", [0, 4, 9])], ids=["Redis", "RabbitMQ"]
)
def test_a_higher_priority_of_djangos_comes_first(
    monkeypatch: pytest.MonkeyPatch, url: str, priorities: list[int]
) -> None:
    monkeypatch.setattr(current_app.conf, "broker_url", url)
    assert [message_priority(each) for each in (-100, 0, 100)] == priorities
