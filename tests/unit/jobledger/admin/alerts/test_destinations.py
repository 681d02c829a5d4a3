"""Destinations can be added and tested; their URLs are never shown."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core import mail
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from jobledger.models import AlertDestination, AuditEntry, DestinationKind
from tests.ports import free_port
from tests.receivers import web_server
from tests.unit.jobledger.admin.change_forms import hidden_in, save
from tests.unit.jobledger.alerts.builders import destination

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobledger_alertdestination_changelist")
ADD = reverse("admin:jobledger_alertdestination_add")
SECRET = "jsons://hooks.example.net/s3cret"


def page(of: AlertDestination) -> str:
    return reverse("admin:jobledger_alertdestination_change", args=[of.pk])


def test_page(of: AlertDestination) -> str:
    return reverse("admin:jobledger_alertdestination_test", args=[of.pk])


test_page.__test__ = False  # type: ignore[attr-defined]


def posted(**values: Any) -> dict[str, Any]:
    return {"name": "team", "kind": "mail", "addresses": "", "url": "", "enabled": "on", **values}


@pytest.fixture
def hook() -> AlertDestination:
    return destination("hook", kind=DestinationKind.URL, addresses="", url=SECRET)


def errors(client: Client, **values: Any) -> str:
    response = client.post(ADD, posted(**values))
    assert response.status_code == 200
    return response.text


def test_a_mail_destination_can_be_added(admin_client: Client) -> None:
    admin_client.post(ADD, posted(addresses="ann@example.com, bob@example.com"))
    added = AlertDestination.objects.get(name="team")
    assert added.mail_addresses == ["ann@example.com", "bob@example.com"]


def test_a_url_can_be_added(admin_client: Client) -> None:
    admin_client.post(ADD, posted(kind="url", url=SECRET))
    assert AlertDestination.objects.get(name="team").url == SECRET


def test_mistakes_are_explained(admin_client: Client) -> None:
    assert "“ann” is not a mail address" in errors(admin_client, addresses="ann")
    assert "Enter at least one address" in errors(admin_client)
    assert "Enter a URL" in errors(admin_client, kind="url")
    assert "Apprise supports" in errors(admin_client, kind="url", url="bogus://x")


def test_the_administrators_cannot_be_added_again(admin_client: Client) -> None:
    assert "Select a valid choice" in errors(admin_client, kind="admins")


def test_no_page_shows_a_url(admin_client: Client, hook: AlertDestination) -> None:
    for url in (LIST, page(hook)):
        text = admin_client.get(url).text
        assert "s3cret" not in text
        assert "hooks.example" not in text
    assert "jsons://********" in admin_client.get(LIST).text
    assert "A value is stored" in admin_client.get(page(hook)).text


def test_a_url_that_is_not_entered_again_is_kept(admin_client: Client, hook: AlertDestination) -> None:
    save(admin_client, page(hook), posted(name="renamed", kind="url"))
    hook.refresh_from_db()
    assert (hook.name, hook.url) == ("renamed", SECRET)


def test_a_url_with_a_mistake_is_not_sent_back(admin_client: Client, hook: AlertDestination) -> None:
    response = save(admin_client, page(hook), posted(kind="url", url="bogus://s3cret-too"))
    assert response.status_code == 200
    assert "s3cret" not in response.text


def test_edits_are_in_the_audit_log_without_the_url(admin_client: Client, hook: AlertDestination) -> None:
    save(admin_client, page(hook), posted(name="renamed", kind="url", url="jsons://example.com/an0ther"))
    entry = AuditEntry.objects.get()
    assert entry.verb == "changed"
    assert ["Name", "hook", "renamed"] in entry.changes
    assert ["URL", "********", "******** (changed)"] in entry.changes
    assert "an0ther" not in str(entry.changes) + entry.text


def test_another_url_that_was_stored_meanwhile_is_not_overwritten_unseen(
    admin_client: Client, hook: AlertDestination
) -> None:
    """Although neither is shown."""
    opened = hidden_in(admin_client, page(hook))
    AlertDestination.objects.filter(pk=hook.pk).update(url="jsons://example.com/an0ther")
    response = admin_client.post(page(hook), posted(name="hook", kind="url", url=SECRET) | opened)
    assert "This alert destination was changed while you were editing it." in response.text
    assert "an0ther" not in response.text
    hook.refresh_from_db()
    assert hook.url.endswith("an0ther")


def test_a_deletion_is_in_the_audit_log(admin_client: Client, hook: AlertDestination) -> None:
    admin_client.post(reverse("admin:jobledger_alertdestination_delete", args=[hook.pk]), {"post": "yes"})
    assert not AlertDestination.objects.filter(pk=hook.pk).exists()
    assert AuditEntry.objects.get().verb == "deleted"


def test_the_administrators_can_be_disabled_but_not_deleted(admin_client: Client) -> None:
    admins = AlertDestination.objects.get(kind=DestinationKind.ADMINS)
    delete = reverse("admin:jobledger_alertdestination_delete", args=[admins.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    assert "delete_selected" not in admin_client.get(LIST).text
    save(admin_client, page(admins), {"name": admins.name})
    admins.refresh_from_db()
    assert (admins.enabled, admins.kind) == (False, DestinationKind.ADMINS)


# --- Sending a test


def test_a_test_by_mail_arrives_at_once(admin_client: Client) -> None:
    team = destination()
    response = admin_client.post(test_page(team), follow=True)
    assert "has accepted the test" in response.text
    assert [each.to for each in mail.outbox] == [["team@example.com"]]
    assert AuditEntry.objects.get().text == "Sent a test."


def test_a_test_to_a_url_arrives_at_once(admin_client: Client) -> None:
    with web_server() as server:
        hook = destination("hook", kind=DestinationKind.URL, url=f"json://127.0.0.1:{server.port}/s3cret")
        admin_client.post(test_page(hook))
    assert "Test of alerts" in server.requests[0][1]


def test_a_test_that_fails_says_why(admin_client: Client, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
    response = admin_client.post(test_page(destination()), follow=True)
    assert "The test was not accepted: ConnectionRefusedError" in response.text


def test_a_test_says_so_if_the_project_cannot_send_mail_at_all(
    admin_client: Client, settings: Settings
) -> None:
    settings.EMAIL_BACKEND = "nowhere.Backend"
    response = admin_client.post(test_page(destination()), follow=True)
    assert "The test was not accepted: ModuleNotFoundError; see the log." in response.text


def test_after_a_test_that_arrives_what_is_waiting_is_sent_soon(admin_client: Client) -> None:
    team = destination(failures=7, error="refused", not_before="2100-01-01T00:00:00Z")
    admin_client.post(test_page(team))
    team.refresh_from_db()
    assert (team.failures, team.error, team.not_before) == (0, "", None)


def test_only_users_who_may_change_destinations_may_send_a_test(client: Client) -> None:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_alertdestination"))
    client.force_login(user)
    team = destination()
    assert client.post(test_page(team)).status_code == 403
    assert "Send a test" not in client.get(page(team)).text
    assert not mail.outbox


def test_a_viewer_sees_no_url(client: Client, hook: AlertDestination) -> None:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_alertdestination"))
    client.force_login(user)
    for url in (LIST, page(hook)):
        response = client.get(url)
        assert response.status_code == 200
        assert "s3cret" not in response.text


def test_a_test_is_not_sent_by_following_a_link(admin_client: Client) -> None:
    assert admin_client.get(test_page(destination())).status_code == 405
