"""A run is named by the beginning of its id, as people quote it."""

import uuid

import pytest
from django.core.management.base import CommandError

from jobledger.management import run_ids
from jobledger.models import Run, Trigger
from jobledger.runs import dispatch

pytestmark = pytest.mark.django_db

ID = "3f2a1b9c-52d0-4b47-8d2e-0a1b2c3d4e5f"


def made(pk: str = ID) -> Run:
    return Run.objects.create(pk=uuid.UUID(pk), job="probe", trigger=Trigger.CLI)


@pytest.mark.parametrize(
    "text", [ID, "3f2a", "3f2a1b9c", "3f2a1b9c-52d", "3F2A1B9C52d0", ID.replace("-", "")]
)
def test_a_run_is_found_by_the_beginning_of_its_id(text: str) -> None:
    made("3f29ffff-ffff-4fff-bfff-ffffffffffff")
    run = made()
    made("3f2b0000-0000-4000-8000-000000000000")
    assert run_ids.find(text) == run


@pytest.mark.parametrize("rest", ["0000-0000-0000-0000-000000000000", "ffff-ffff-ffff-ffff-ffffffffffff"])
def test_the_first_and_the_last_id_of_a_beginning_are_found(rest: str) -> None:
    run = made(f"3f2a{rest}")
    assert run_ids.find("3f2a") == run


@pytest.mark.parametrize("text", ["4444", "f2a1", "no-such-id", "", "3f2a%", ID + "0"])
def test_what_names_no_run_is_an_error(text: str) -> None:
    made()
    with pytest.raises(CommandError, match="There is no run") as raised:
        run_ids.find(text)
    assert raised.value.returncode == 1


def test_three_characters_are_too_few() -> None:
    made()
    with pytest.raises(CommandError, match="at least 4 characters"):
        run_ids.find("3f2")


def test_several_runs_are_told_apart_in_the_error() -> None:
    runs = [made(), made("3f2a0000-0000-4000-8000-000000000000")]
    with pytest.raises(CommandError, match="several runs") as raised:
        run_ids.find("3f2a")
    assert all(f"{run.pk}  probe  queued" in str(raised.value) for run in runs)


def test_very_many_candidates_are_cut_off() -> None:
    for number in range(20):
        made(f"3f2a0000-0000-4000-8000-0000000000{number:02}")
    with pytest.raises(CommandError) as raised:
        run_ids.find("3f2a")
    assert len(str(raised.value).splitlines()) == 12
    assert str(raised.value).endswith("…")


def test_a_task_that_was_called_with_an_id_of_its_own_is_found_by_it() -> None:
    request = dispatch.RunRequest(job="probe", trigger=Trigger.CELERY)
    run = dispatch.receive("my-own-id", lambda: request)
    assert run_ids.find("my-own-id") == run
