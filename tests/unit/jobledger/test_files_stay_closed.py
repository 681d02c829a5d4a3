"""A file that an option names is opened once, when the job runs, and never while options are validated."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from jobledger.models import Run, Trigger
from jobledger.runs import dispatch
from jobledger.runs.execution import runner
from tests.shapes.management.commands.exporting import Command
from tests.unit.broker import Broker
from tests.unit.jobledger.admin.html_forms import form_in
from tests.unit.jobledger.admin.schedules.edit_forms import (
    ADD,
    NIGHTLY,
    add,
    change_url,
    create_hourly,
    edit,
    edit_form,
    page_url,
)

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A file with contents."""
    path = tmp_path / "full"
    path.write_text("kept")
    return path


def scheduled(path: Path) -> PeriodicTask:
    return create_hourly(task="shapes.exporting", kwargs=json.dumps({"to": str(path)}))


def add_in_the_form(client: Client, path: Path) -> None:
    add(client, "exporting", **{"option-to": str(path)})
    assert json.loads(PeriodicTask.objects.get().kwargs) == {"to": str(path)}


def edit_as_json(client: Client, path: Path) -> None:
    schedule = scheduled(path)
    edit(client, schedule, **{"target-input_mode": "json"})
    edit(client, schedule, **{"target-input_mode": "json", "_preview": "1"})


def preview(client: Client, path: Path) -> None:
    schedule = scheduled(path)
    data = form_in(client.get(change_url(schedule)).text, "edit-form").after(**{"option-to": str(path)})
    assert client.post(page_url("preview", schedule), data).status_code == 200
    assert client.post(page_url("command_line", schedule), data).status_code == 200


def redisplay(client: Client, path: Path) -> None:
    edit(client, scheduled(path), _preview="1")


def run_now(client: Client, path: Path) -> None:
    client.post(reverse("admin:jobledger_job_run", args=["exporting"]), {"option-to": str(path)})
    assert Run.objects.get().options == {"to": str(path)}


def look_at_it(client: Client, path: Path) -> None:
    run = Run.objects.create(job="exporting", options={"to": str(path)}, trigger=Trigger.CLI)
    for url in (
        change_url(scheduled(path)),
        reverse("admin:jobledger_run_change", args=[run.pk]),
        reverse("admin:jobledger_job_run", args=["exporting"]) + f"?run={run.pk}",
        f"{ADD}?job=exporting",
    ):
        assert client.get(url).status_code == 200


def check(client: Client, path: Path) -> None:
    scheduled(path)
    call_command("check", databases=["default"])


def call(client: Client, path: Path) -> None:
    request = dispatch.RunRequest(job="exporting", options={"to": str(path)}, trigger=Trigger.CELERY)
    dispatch.receive("some-id", lambda: request)
    dispatch.enqueue(request)


@pytest.mark.parametrize(
    "validate",
    [add_in_the_form, edit_as_json, preview, redisplay, run_now, look_at_it, check, call],
    ids=lambda validate: validate.__name__,
)
def test_validating_leaves_a_file_as_it_is(
    validate: Callable[[Client, Path], None], full: Path, admin_client: Client, broker: Broker
) -> None:
    validate(admin_client, full)
    validate_new = full.with_name("new")
    assert full.read_text() == "kept"
    assert not validate_new.exists()


@pytest.mark.parametrize("option", ["to", "new"])
def test_a_worker_opens_the_file_once(option: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    run = Run.objects.create(job="exporting", options={option: str(path)}, trigger=Trigger.CELERY)
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.run.error) == ("succeeded", "")
    assert path.read_text() == "exported\n"


def test_a_file_that_a_worker_cannot_open_fails_the_run(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "file"
    run = Run.objects.create(job="exporting", options={"to": str(path)}, trigger=Trigger.CELERY)
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.run.exit_code, ended.run.reason) == ("failed", 2, "bad_options")
    assert "argument --to: can't open" in ended.run.error


# What only a worker can know

LEFT = (
    "source could not be validated here: its type, existing_file, may depend on files or data of the worker. "
    "A worker will validate it when the job runs."
)


def messages_after(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def test_a_file_that_this_machine_lacks_does_not_prevent_a_schedule(
    admin_client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "of the worker"
    data = edit_form(admin_client, f"{ADD}?job=exporting")
    shown = admin_client.get(f"{ADD}?job=exporting").text
    assert "A worker validates it when the job runs: its type, existing_file," in shown
    new = data.after(**{**NIGHTLY, "option-source": str(path)})
    saved = admin_client.post(f"{ADD}?job=exporting", new, follow=True)
    assert LEFT in messages_after(saved)
    assert json.loads(PeriodicTask.objects.get().kwargs) == {"source": str(path)}
    call_command("check", databases=["default"], fail_level="WARNING")

    run = Run.objects.create(job="exporting", options={"source": str(path)}, trigger=Trigger.SCHEDULE)
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    assert (ended.run.status, ended.run.reason) == ("failed", "bad_options")
    assert ended.run.error == f"argument --source: {path} does not exist"


def test_options_in_json_are_left_to_the_worker_too(admin_client: Client, full: Path) -> None:
    schedule = scheduled(full)
    edit(admin_client, schedule, **{"target-input_mode": "json"})
    url = change_url(schedule)
    as_json = {"target-input_mode": "json", "target-shown_input_mode": "json"}
    data = edit_form(admin_client, url).after(**as_json, **{"target-kwargs": '{"source": "nowhere"}'})
    assert LEFT in messages_after(admin_client.post(url, data, follow=True))
    assert json.loads(PeriodicTask.objects.get().kwargs) == {"source": "nowhere"}


def test_a_run_started_in_the_admin_says_what_is_left_to_the_worker(
    admin_client: Client, broker: Broker
) -> None:
    url = reverse("admin:jobledger_job_run", args=["exporting"])
    assert LEFT in messages_after(admin_client.post(url, {"option-source": "nowhere"}, follow=True))


def test_without_such_an_option_nothing_is_said(admin_client: Client, broker: Broker) -> None:
    url = reverse("admin:jobledger_job_run", args=["exporting"])
    assert messages_after(admin_client.post(url, {}, follow=True)) == ["Run started."]


# A command from the command line closes all connections at its end.
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("option", ["to", "new"])
def test_the_command_line_opens_the_file_once_and_records_its_name(option: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    Command().run_from_argv(["manage.py", "exporting", f"--{option}", str(path)])
    run = Run.objects.get()
    assert (run.status, run.options, run.trigger) == ("succeeded", {option: str(path)}, "cli")
    assert path.read_text() == "exported\n"
