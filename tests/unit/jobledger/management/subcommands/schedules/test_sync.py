"""``jobledger sync`` applies the declared schedules and says what it did; ``--check`` is for CI."""

import io
import json

import pytest
from django.core.management import CommandError, call_command
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.jobs.declaration import Schedule
from tests.unit.builders import override
from tests.unit.jobledger.schedules.declared.builders import JOB, all_applied, declare, stored

pytestmark = pytest.mark.django_db

DAILY = Schedule("0 3 * * *")


def sync(*arguments: str, command: str = "sync") -> tuple[str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", command, *arguments, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


@pytest.fixture(autouse=True)
def daily(settings: Settings) -> None:
    all_applied(settings, DAILY)


def edit(**values: object) -> None:
    PeriodicTask.objects.filter(name=JOB).update(**values)


def test_nothing_is_printed_when_there_is_nothing_to_do() -> None:
    assert sync() == ("", "")
    assert sync("--check") == ("", "")


@pytest.mark.parametrize("command", ["sync", "setup"])
def test_each_change_is_a_line(settings: Settings, command: str) -> None:
    declare(settings, Schedule("0 4 * * *", queue="slow"), Schedule("@daily", name="new"))
    stdout, _ = sync(command=command)
    changed = f"Changed schedule {JOB}: Timing: 0 3 * * * -> 0 4 * * *; Queue: (empty) -> slow\n"
    assert f"{changed}Created schedule new\n" in stdout
    declare(settings, DAILY)
    assert "Disabled schedule new: the code no longer declares it\n" in sync(command=command)[0]
    declare(settings, DAILY, Schedule("@daily", name="new"))
    taken_up = "Took up again schedule new: the code declares it again; Enabled: no -> yes\n"
    assert taken_up in sync(command=command)[0]


@pytest.mark.parametrize("command", ["sync", "setup"])
def test_drift_is_a_warning(settings: Settings, command: str) -> None:
    edit(queue="slow")
    declare(settings, Schedule("0 3 * * *", queue="fast"))
    _, stderr = sync(command=command)
    assert (
        f"Drift: schedule {JOB}, Queue: slow is stored, fast is in the code. The stored value stays.\n"
        in stderr
    )


def test_a_renamed_schedule_is_named_twice(settings: Settings) -> None:
    edit(name="mine")
    declare(settings, Schedule("0 3 * * *", priority=1))
    assert sync()[0] == f"Changed schedule {JOB} ('mine' in the admin): Priority: (empty) -> 1\n"


def test_a_deleted_schedule_is_mentioned_with_how_to_get_it_back() -> None:
    stored().delete()
    assert sync()[1].startswith(f"Left deleted: schedule {JOB}, which was deleted in the admin.")
    assert sync("--check")[0] == ""
    assert sync("--reset", JOB)[0] == f"Created schedule {JOB}\n"


def test_a_name_that_is_taken_is_a_warning(settings: Settings) -> None:
    PeriodicTask.objects.create(name="taken", task="probes.probe", interval=None, crontab=stored().crontab)
    declare(settings, DAILY, Schedule("@daily", name="taken"))
    assert f"Not created: schedule taken of job {JOB}, because another" in sync()[1]


def test_a_dry_run_says_what_would_be_done(settings: Settings) -> None:
    declare(settings, Schedule("0 4 * * *"))
    assert sync("--dry-run")[0] == f"Would change schedule {JOB}: Timing: 0 3 * * * -> 0 4 * * *\n"
    assert stored().crontab.hour == "3"


def test_a_check_fails_if_something_would_change(settings: Settings) -> None:
    declare(settings, Schedule("0 4 * * *"))
    with pytest.raises(CommandError, match="1 schedule needs attention") as error:
        sync("--check")
    assert error.value.returncode == 1
    assert stored().crontab.hour == "3"
    sync()
    sync("--check")


def test_a_check_fails_on_drift_but_not_on_edits(settings: Settings) -> None:
    edit(queue="slow")
    sync("--check")
    declare(settings, Schedule("0 3 * * *", queue="fast"))
    sync()
    with pytest.raises(CommandError, match="1 schedule needs attention"):
        sync("--check")
    assert sync("--reset", JOB)[0] == f"Changed schedule {JOB}: Queue: slow -> fast\n"
    sync("--check")


@pytest.mark.parametrize("command", ["sync", "setup"])
def test_an_unknown_environment_is_a_warning_and_fails_a_check(settings: Settings, command: str) -> None:
    declare(settings, DAILY, Schedule("@daily", name="limited", only_in=("production",)))
    override(settings, ENVIRONMENTS=["production"])
    assert "JOBLEDGER[\"ENVIRONMENT\"] is '', which is not one of ENVIRONMENTS." in sync(command=command)[1]
    with pytest.raises(CommandError, match="Correct the names of environments"):
        sync("--check")


def test_json_names_what_is_no_longer_declared(settings: Settings) -> None:
    declare(settings)
    found = [{each["schedule"]: each["action"] for each in json.loads(sync("--json")[0])} for _ in range(2)]
    assert [each[JOB] for each in found] == ["orphan", "leave orphaned"]


def test_an_unknown_schedule_cannot_be_reset() -> None:
    with pytest.raises(CommandError, match="No schedule 'nope' is declared in code"):
        sync("--reset", "nope")


@pytest.mark.parametrize("arguments", [["--check"], ["--dry-run"], ["--reset", JOB], []])
def test_an_invalid_declaration_changes_nothing(settings: Settings, arguments: list[str]) -> None:
    declare(settings, Schedule("0 4 * * *"), Schedule("@daily", name="bad", priority=-1))
    with pytest.raises(
        CommandError,
        match=r"Nothing was changed: schedule 'bad' of job plain_probe: priority is -1; expected a",
    ):
        sync(*arguments)
    assert stored().crontab.hour == "3"


def test_json_has_every_schedule_with_its_differences(settings: Settings) -> None:
    edit(queue="slow", priority=3)
    declare(settings, Schedule("0 4 * * *", queue="fast"))
    found = {each["schedule"]: each for each in json.loads(sync("--json")[0])}
    assert found["nightly"]["action"] == "none"
    assert found[JOB] == {
        "schedule": JOB,
        "stored_name": JOB,
        "job": JOB,
        "action": "change",
        "changes": [{"field": "timing", "stored": "0 3 * * *", "code": "0 4 * * *"}],
        "drift": [{"field": "queue", "stored": "slow", "code": "fast"}],
        "edited": [{"field": "priority", "stored": "3", "code": ""}],
    }


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--dry-run"]])
def test_secrets_are_masked(settings: Settings, arguments: list[str]) -> None:
    declare(settings, Schedule("0 3 * * *", options={"call_job": True}))
    edit(kwargs='{"api_key": "hunter2"}')
    stdout, stderr = sync(*arguments)
    assert "hunter2" not in stdout + stderr
