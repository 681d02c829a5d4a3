"""Permissions for schedules, which every URL checks."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django_celery_beat.models import PeriodicTask

from jobledger.admin import rights
from jobledger.models import Pause, Run, Trigger
from tests.unit.jobledger.admin.schedules.edit_forms import (
    ADD,
    add,
    change_url,
    create_hourly,
    edit,
    page_url,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def every_hour() -> PeriodicTask:
    return create_hourly()


def log_in(client: Client, group: str) -> Client:
    """Log in as a member of one of the predefined groups."""
    rights.create_groups()
    user = User.objects.create_user(group, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client.force_login(user)
    return client


def test_a_viewer_sees_the_values_but_cannot_change_them(client: Client, every_hour: PeriodicTask) -> None:
    viewer = log_in(client, "Job viewers")
    page = viewer.get(change_url(every_hour))
    assert "every hour" in page.text
    assert 'id="edit-form"' not in page.text
    assert "Pause" not in page.text
    assert "Saving" not in page.text
    for name in ("change", "preview", "target", "command_line", "pause", "resume"):
        assert viewer.post(page_url(name, every_hour)).status_code == 403
    for name in ("", "preview/", "target/", "command_line/"):
        assert viewer.post(f"{ADD}{name}").status_code == 403
    assert viewer.get(ADD).status_code == 403


def test_an_operator_can_pause_but_not_edit(client: Client, every_hour: PeriodicTask) -> None:
    operator = log_in(client, "Job operators")
    assert 'id="edit-form"' not in operator.get(change_url(every_hour)).text
    assert (
        operator.post(page_url("pause", every_hour), {"length": "open", "on_resume": "skip"}).status_code
        == 302
    )
    assert operator.post(change_url(every_hour), {"name": "stolen"}).status_code == 403
    assert Pause.objects.get().username == "Job operators"


def test_an_editor_can_add_and_edit(client: Client, every_hour: PeriodicTask) -> None:
    editor = log_in(client, "Schedule editors")
    assert add(editor).status_code == 302
    assert edit(editor, every_hour, times__every="2").status_code == 302


def test_anonymous_users_are_redirected_to_the_login(client: Client, every_hour: PeriodicTask) -> None:
    for name in ("change", "preview", "pause"):
        assert "/admin/login/" in client.post(page_url(name, every_hour)).headers["Location"]


@pytest.mark.parametrize("name", ["change", "preview", "target", "command_line", "pause", "resume"])
def test_cross_site_requests_are_rejected(admin_user: User, every_hour: PeriodicTask, name: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(page_url(name, every_hour)).status_code == 403


@pytest.mark.parametrize("name", ["preview", "target", "command_line", "pause", "resume"])
def test_changes_require_a_post_request(admin_client: Client, every_hour: PeriodicTask, name: str) -> None:
    assert admin_client.get(page_url(name, every_hour)).status_code == 405


def test_the_last_run_is_hidden_from_users_who_may_not_view_runs(
    client: Client, every_hour: PeriodicTask
) -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, schedule=every_hour)
    user = User.objects.create(username="ann", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_periodictask"))
    client.force_login(user)
    page = client.get(change_url(every_hour)).text
    assert not [shown for shown in ("Last run", str(run.pk)) if shown in page]
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    assert str(run.pk) in client.get(change_url(every_hour)).text
