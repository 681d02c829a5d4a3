"""Two users edit the same schedule: the second is notified, and nothing is overwritten silently."""

from typing import Any

import pytest
from django.test import Client
from django_celery_beat.models import PeriodicTask

from jobledger.admin.schedules.editing.edit_form import EditForm
from jobledger.models import SchedulePolicy
from tests.unit.jobledger.admin.html_forms import form_in
from tests.unit.jobledger.admin.schedules.edit_forms import add, change_url, create_hourly, edit, edit_form

pytestmark = pytest.mark.django_db

CHANGED_MEANWHILE = "This schedule was changed while you were editing it."


@pytest.fixture
def every_hour() -> PeriodicTask:
    return create_hourly()


def test_the_second_user_sees_the_changes_and_overwrites_nothing(
    admin_client: Client, every_hour: PeriodicTask
) -> None:
    second = edit_form(admin_client, change_url(every_hour)).after(option__level="1")
    edit(admin_client, every_hour, times__every="3")
    answer = admin_client.post(change_url(every_hour), second)
    every_hour.refresh_from_db()
    assert (every_hour.kwargs, every_hour.interval.every) == ('{"level": 2}', 3)
    assert "<strong>admin</strong>" in answer.text
    assert "<ins>every 3 hours</ins>" in answer.text
    assert "<del>every 3 hours</del>" in answer.text  # the change that overwriting would revert


def test_the_second_user_can_overwrite_the_changes(admin_client: Client, every_hour: PeriodicTask) -> None:
    second = edit_form(admin_client, change_url(every_hour)).after(option__level="1")
    edit(admin_client, every_hour, times__every="3")
    conflict = form_in(admin_client.post(change_url(every_hour), second).text, "edit-form")
    assert admin_client.post(change_url(every_hour), conflict.after()).status_code == 302
    every_hour.refresh_from_db()
    assert (every_hour.kwargs, every_hour.interval.every) == ('{"level": 1}', 1)


def test_an_error_does_not_hide_the_conflict(admin_client: Client, every_hour: PeriodicTask) -> None:
    second = edit_form(admin_client, change_url(every_hour)).after(name="")
    edit(admin_client, every_hour, times__every="3")
    corrected = form_in(admin_client.post(change_url(every_hour), second).text, "edit-form").after(
        name="mine"
    )
    assert CHANGED_MEANWHILE in admin_client.post(change_url(every_hour), corrected).text


@pytest.mark.parametrize("values", [{"enabled": False}, {"description": "by SQL"}])
def test_a_change_outside_the_admin_is_detected(
    admin_client: Client, every_hour: PeriodicTask, values: dict[str, Any]
) -> None:
    second = edit_form(admin_client, change_url(every_hour)).after(option__level="1")
    PeriodicTask.objects.update(**values)
    assert "The change was not made in the admin." in admin_client.post(change_url(every_hour), second).text


def test_a_change_of_only_the_policy_is_detected(admin_client: Client, every_hour: PeriodicTask) -> None:
    second = edit_form(admin_client, change_url(every_hour)).after(option__level="1")
    SchedulePolicy.objects.update(misfire="skip")
    assert CHANGED_MEANWHILE in admin_client.post(change_url(every_hour), second).text


def test_a_deleted_schedule_is_not_created_again(admin_client: Client, every_hour: PeriodicTask) -> None:
    # A deleted schedule no longer has a primary key.
    url = change_url(every_hour)
    posted = edit_form(admin_client, url).after(option__level="1")
    every_hour.delete()
    assert admin_client.post(url, posted).status_code == 404
    assert not PeriodicTask.objects.exists()


NAME_TAKEN = "A schedule with this name already exists."


@pytest.fixture
def taken_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else adds a schedule with the name between the validation of the form and its saving."""
    save = EditForm.save

    def saved(form: EditForm, user: Any, **more: Any) -> PeriodicTask:
        create_hourly(name=form.details.cleaned_data["name"])
        return save(form, user, **more)

    monkeypatch.setattr(EditForm, "save", saved)


@pytest.mark.usefixtures("taken_meanwhile")
def test_a_name_that_was_just_taken_is_an_error_of_the_form(admin_client: Client) -> None:
    answer = add(admin_client, name="nightly", description="mine")
    assert NAME_TAKEN in answer.text
    assert form_in(answer.text, "edit-form").values["description"] == ["mine"]
    assert PeriodicTask.objects.get().description == ""


@pytest.mark.usefixtures("taken_meanwhile")
def test_so_is_one_to_which_a_schedule_was_to_be_renamed(
    admin_client: Client, every_hour: PeriodicTask
) -> None:
    answer = edit(admin_client, every_hour, name="ours")
    assert NAME_TAKEN in answer.text
    assert CHANGED_MEANWHILE not in answer.text
    every_hour.refresh_from_db()
    assert every_hour.name == "mine"
