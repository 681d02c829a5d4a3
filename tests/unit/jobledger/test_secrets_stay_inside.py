"""A secret, planted wherever one can be stored, never appears on a page, or in output, messages and logs."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from kombu import Message

from jobledger.admin import rights
from jobledger.alerts.sending import delivery
from jobledger.jobs import secrets
from jobledger.models import (
    AlertDelivery,
    AuditEntry,
    DestinationKind,
    Reason,
    Run,
    RunAttempt,
    SchedulePolicy,
    Status,
    Trigger,
    Why,
)
from jobledger.runs import attempts, dispatch
from jobledger.runs.execution import runner
from jobledger.runs.outcome import Outcome
from jobledger.runs.processes import leftovers
from jobledger.runs.publishing import publisher
from jobledger.runs.worker.messages import dead_letters
from jobledger.schedules.due import ledger
from tests.unit.broker import Broker
from tests.unit.jobledger.admin.schedules.edit_forms import create_hourly, edit, page_url
from tests.unit.jobledger.alerts.builders import EVERYTHING, destination, rule

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

SECRET = "pl4nted"
ORDINARY = "tests.probes.tasks.add"

PLANTED: dict[str, dict[str, Any]] = {
    "an option": {"task": "probes.choosing", "kwargs": json.dumps({"api_key": SECRET})},
    "an option by its author's word": {"task": "probes.choosing", "kwargs": json.dumps({"pin": SECRET})},
    "an object": {"task": "probes.choosing", "kwargs": json.dumps({"api_key": {"a": SECRET}})},
    "a list": {"task": "probes.choosing", "kwargs": json.dumps({"api_key": [["x", SECRET]]})},
    "a long list": {"task": "probes.choosing", "kwargs": json.dumps({"pin": ["x" * 70, SECRET]})},
    "inside another option": {
        "task": "probes.choosing",
        "kwargs": json.dumps({"names": [{"password": SECRET}]}),
    },
    "an option that is gone": {"task": "probes.choosing", "kwargs": json.dumps({"old_token": SECRET})},
    "what is not JSON": {"task": "probes.choosing", "kwargs": f'{{"api_key": "{SECRET}",}}'},
    "what is not an object": {"task": "probes.choosing", "kwargs": json.dumps([{"api_key": SECRET}])},
    "an ordinary task's argument": {"task": ORDINARY, "args": json.dumps([{"password": SECRET}])},
    "an ordinary task's option": {"task": ORDINARY, "kwargs": json.dumps({"login": [{"token": SECRET}]})},
    "arguments that are not JSON": {"task": ORDINARY, "args": f'[{{"password": "{SECRET}"]'},
    "a header": {"task": "probes.choosing", "headers": json.dumps({"Authorization": SECRET})},
    "a header inside": {"task": "probes.choosing", "headers": json.dumps({"x": [{"cookie": SECRET}]})},
    "headers that are not JSON": {"task": "probes.choosing", "headers": f'{{"Authorization": "{SECRET}"'},
}


@pytest.fixture(params=PLANTED)
def planted(request: pytest.FixtureRequest) -> PeriodicTask:
    return create_hourly(**{"kwargs": "{}", **PLANTED[request.param]})


@pytest.fixture
def run(planted: PeriodicTask, broker: Broker) -> Run:
    record_due()
    return run_of(planted)


def record_due() -> None:
    """Record what is due, as beat does."""
    ledger.record_due(timezone.now() + timedelta(hours=2))


def run_of(planted: PeriodicTask) -> Run:
    """Another run of the schedule, executed as by a worker if it is a job's."""
    try:
        options, args = json.loads(planted.kwargs), json.loads(planted.args)
    except ValueError:
        options, args = {}, []
    options = options if isinstance(options, dict) else {}
    is_job = planted.task != ORDINARY
    request = dispatch.RunRequest(
        job="choosing" if is_job else ORDINARY,
        options=options,
        args=args,
        trigger=Trigger.SCHEDULE,
        schedule_id=planted.pk,
        schedule_name=planted.name,
    )
    made = dispatch.enqueue(request)
    publisher.publish([made])
    if is_job:
        runner.execute(made.pk, worker="test")
    made.refresh_from_db()
    return made


def runs_of_all() -> list[Run]:
    """A run of each of the schedules in which the secret is planted."""
    schedules = [create_hourly(**{"name": name, "kwargs": "{}", **PLANTED[name]}) for name in PLANTED]
    record_due()
    return [run_of(schedule) for schedule in schedules]


def recorded_run() -> Run:
    """A run in whose every record the secret occurs, as if its option had not been secret at the time."""
    schedule = create_hourly(task="probes.choosing", kwargs=json.dumps({"api_key": SECRET}))
    SchedulePolicy.objects.filter(schedule=schedule).update(ping_url=f"https://hc.example/{SECRET}")
    quoted: dict[str, Any] = {
        "error": f"wrong key: {SECRET}",
        "traceback": f"Traceback\nValueError: {SECRET}",
    }
    run = Run.objects.create(
        job="choosing",
        options={"api_key": SECRET},
        trigger=Trigger.SCHEDULE,
        schedule=schedule,
        schedule_name=schedule.name,
        status=Status.RUNNING,
        started_at=timezone.now(),
        attempt=2,
        exit_signal="SIGKILL",
    )
    exception = Why.of(Reason.EXCEPTION).columns
    finished = {"status": Status.FAILED, "finished_at": timezone.now(), **exception}
    RunAttempt.objects.create(run=run, attempt=1, **finished, **quoted)
    for command in f"gate --api-key {SECRET}", f"curl --token={SECRET}", f"psql postgres://me:{SECRET}@db/x":
        name = secrets.masked_command(command.split())
        leftovers.record(run, [leftovers.Leftover(pid=7, name=name)])
    leftovers.record(run, [leftovers.Leftover(name=f"poller of {SECRET}")])
    assert attempts.end(
        run, Outcome(status=Status.FAILED, why=Why.of(Reason.EXCEPTION), exit_code=1, **quoted)
    )
    return run


@pytest.fixture
def recorded(broker: Broker) -> Run:
    """With alerts about it, one of which could not be delivered, and a dead letter."""
    team = destination()
    pager = destination("pager", kind=DestinationKind.URL, url=f"jsons://me:{SECRET}@127.0.0.1:1/{SECRET}")
    rule(team, pager, kinds=EVERYTHING)
    run = recorded_run()
    with time_machine.travel(timezone.now() + timedelta(minutes=5)):
        assert delivery.deliver(team.pk)
        assert not delivery.deliver(pager.pk)
    assert AlertDelivery.objects.exclude(error="").count() == 1
    message = Message(
        body=f'[[], {{"api_key": "{SECRET}"}}, {{}}]', headers={"cookie": SECRET, "task": "probes.choosing"}
    )
    dead_letters.undeliverable(message, "it has no id").save()
    run.refresh_from_db()
    return run


def lines_of(*line: str) -> str:
    """Everything that a command prints, however it ends."""
    out = io.StringIO()
    try:
        call_command(*line, stdout=out, stderr=out)
    except (CommandError, SystemExit) as error:
        out.write(str(error))
    return out.getvalue()


def pages(*runs: Run) -> set[str]:
    """Every page that says something about these runs, their schedules, or all of them."""
    return {
        reverse("admin:index"),
        reverse("admin:everything"),
        reverse("admin:jobledger_job_list"),
        reverse("admin:jobledger_job", args=["choosing"]),
        reverse("admin:jobledger_week"),
        *lists_and_their_objects(),
        *(page for run in runs for page in pages_of(run)),
    }


def pages_of(run: Run) -> Iterator[str]:
    assert run.schedule
    yield reverse("admin:jobledger_run_live", args=[run.pk])
    yield reverse("admin:jobledger_run_output", args=[run.pk])
    yield reverse("admin:jobledger_job_run", args=["choosing"]) + f"?run={run.pk}"
    yield page_url("history", run.schedule)
    yield page_url("delete", run.schedule)


def lists_and_their_objects() -> Iterator[str]:
    """The list of every model of the service, and the page of every object."""
    for model in admin.site._registry:
        if model._meta.app_label in ("jobledger", "django_celery_beat"):
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
            yield reverse(f"{name}_changelist")
            yield from (
                reverse(f"{name}_change", args=[pk])
                for pk in model._default_manager.values_list("pk", flat=True)
            )


EVERYBODY = pytest.mark.parametrize("group", [*rights.GROUPS, ""], ids=lambda group: group or "superuser")


def test_it_is_on_no_page_that_shows_only_some_of_many(client: Client, run: Run) -> None:
    log_in(client, "")
    for url in (reverse("admin:index"), reverse("admin:jobledger_job", args=["choosing"])):
        assert SECRET not in text_of(client, url), url


@EVERYBODY
@pytest.mark.usefixtures("broker")
def test_of_many_none_is_on_any_page(client: Client, group: str) -> None:
    runs = runs_of_all()
    log_in(client, group)
    for url in pages(*runs):
        assert SECRET not in text_of(client, url), url


@EVERYBODY
def test_what_was_recorded_with_it_is_masked_on_every_page(client: Client, recorded: Run, group: str) -> None:
    log_in(client, group)
    for url in pages(recorded):
        assert SECRET not in text_of(client, url), url
    assert "wrong key" in text_of(client, reverse("admin:jobledger_run_change", args=[recorded.pk]))


def test_what_was_recorded_with_it_is_masked_in_what_is_printed_and_sent(
    recorded: Run, client: Client
) -> None:
    for line in [
        ("runs",),
        ("runs", "--json"),
        ("show", str(recorded.pk)),
        ("show", str(recorded.pk), "--json"),
        ("show", str(recorded.pk), "--follow"),
        ("dead_letters",),
        ("dead_letters", "--json"),
    ]:
        printed = lines_of("jobledger", *line)
        assert printed, line
        assert SECRET not in printed, line
    assert SECRET not in text_of(client, "/readyz")
    assert mail.outbox
    assert SECRET not in "".join(str(each.message()) for each in mail.outbox)


def log_in(client: Client, group: str) -> None:
    rights.create_groups()
    user = User.objects.create_user("somebody", is_staff=True, is_superuser=not group)
    user.groups.set(Group.objects.filter(name=group))
    client.force_login(user)


def text_of(client: Client, url: str) -> str:
    return b"".join(client.get(url)).decode()


def test_it_is_never_written_to_the_audit_log(admin_client: Client, planted: PeriodicTask) -> None:
    edit(admin_client, planted, description="edited")
    assert SECRET not in admin_client.get(page_url("history", planted)).text
    admin_client.post(page_url("delete", planted), {"post": "yes"})
    entries = "".join(AuditEntry.objects.values_list("text", flat=True))
    assert entries
    assert SECRET not in entries


@pytest.mark.usefixtures("broker")
def test_it_is_never_printed() -> None:
    runs = runs_of_all()
    commands = [
        ("runs", "--limit", "100"),
        ("runs", "--limit", "100", "--json"),
        ("simulate", "--json"),
        ("setup",),
        *(command for run in runs for command in commands_of(run)),
    ]
    for line in [*(("jobledger", *command) for command in commands), ("check", "--database", "default")]:
        printed = lines_of(*line)
        assert printed, line
        assert SECRET not in printed, line
    printed = lines_of("jobledger", "runs", "--limit", "100")
    assert [run.schedule_name for run in runs if str(run.pk) not in printed] == []


def commands_of(run: Run) -> Iterator[tuple[str, ...]]:
    yield "show", str(run.pk)
    yield "show", str(run.pk), "--json"
    if run.status != "queued":
        yield "show", str(run.pk), "--follow"
    yield "next", run.schedule_name


def test_messages_contain_it_only_in_the_arguments_and_headers_themselves(run: Run, broker: Broker) -> None:
    for message in broker.messages:
        assert SECRET not in message.headers["argsrepr"] + message.headers["kwargsrepr"]
    assert broker.messages


@pytest.mark.usefixtures("broker")
def test_it_is_in_no_log_and_no_mail(planted: PeriodicTask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "django.db")
    team = destination()
    rule(team, kinds=EVERYTHING)
    record_due()
    run = run_of(planted)
    with time_machine.travel(timezone.now() + timedelta(minutes=5)):
        is_told = delivery.deliver(team.pk)
    assert is_told == (run.status == "failed")
    assert SECRET not in caplog.text + "".join(str(each.message()) for each in mail.outbox)
