"""Operators see which messages could not be processed, and why; only superusers see their contents."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobledger.models import DeadLetter

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobledger_deadletter_changelist")
HOME_NOW = reverse("admin:home_now")


@pytest.fixture
def letter() -> DeadLetter:
    return DeadLetter.objects.create(
        received_at=timezone.now(), reason="id is missing", size=7, content='{"password": "hunter2"}'
    )


@pytest.fixture
def viewer(client: Client) -> Client:
    """The client of a user who may only view runs."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(user)
    return client


def page_of(letter: DeadLetter) -> str:
    return reverse("admin:jobledger_deadletter_change", args=[letter.pk])


def test_a_viewer_sees_the_reason_but_not_the_content(viewer: Client, letter: DeadLetter) -> None:
    for url in LIST, page_of(letter):
        text = viewer.get(url).text
        assert "id is missing" in text
        assert "hunter2" not in text


def test_a_superuser_sees_the_beginning_of_the_content(admin_client: Client, letter: DeadLetter) -> None:
    assert "hunter2" in admin_client.get(page_of(letter)).text
    assert "hunter2" not in admin_client.get(LIST).text


def test_dead_letters_cannot_be_added_or_changed(
    admin_client: Client, viewer: Client, letter: DeadLetter
) -> None:
    assert admin_client.get(reverse("admin:jobledger_deadletter_add")).status_code == 403
    assert admin_client.post(page_of(letter), {"reason": "another"}).status_code == 403
    assert viewer.post(reverse("admin:jobledger_deadletter_delete", args=[letter.pk])).status_code == 403


def test_the_list_requires_permission_to_view_runs(client: Client, letter: DeadLetter) -> None:
    client.force_login(User.objects.create_user("stranger", is_staff=True))
    assert client.get(LIST).status_code == 403


def test_the_home_mentions_dead_letters_for_a_day(viewer: Client, letter: DeadLetter) -> None:
    text = viewer.get(HOME_NOW).text
    assert "Workers could not process 1 message in the last 24 hours. It is a message" in text
    assert ": id is missing." in text
    assert f'href="{LIST}"' in text
    DeadLetter.objects.update(received_at=timezone.now() - timedelta(hours=25))
    assert "could not process" not in viewer.get(HOME_NOW).text


def test_the_list_has_a_title(admin_client: Client, letter: DeadLetter) -> None:
    assert "<h1>Dead letters</h1>" in admin_client.get(LIST).text
