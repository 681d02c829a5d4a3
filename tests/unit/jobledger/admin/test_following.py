"""Users subscribe on the page of a job or a schedule, and find their subscriptions and feeds on one page."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import DataError
from django.test import Client
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.alerts import subscriptions
from jobledger.feeds import addresses
from jobledger.models import AuditEntry, Feed, FeedKind, Subscription
from tests.unit.builders import override
from tests.unit.jobledger.admin.schedules.edit_forms import change_url, create_hourly
from tests.unit.jobledger.feeds.builders import path_of, user

pytestmark = pytest.mark.django_db

JOB, PAGE = "/admin/jobledger/job/probe/", "/admin/jobledger/following/"
SUBSCRIBE, UNSUBSCRIBE = f"{PAGE}subscribe/", f"{PAGE}unsubscribe/"
ADD, RENEW, REVOKE = (f"{PAGE}feeds/{name}/" for name in ("add", "renew", "revoke"))


@pytest.fixture
def ann(client: Client) -> Any:
    made = user()
    client.force_login(made)
    return made


@pytest.fixture
def switched_on(settings: Settings) -> None:
    override(settings, FEEDS=True)


on = pytest.mark.usefixtures("switched_on")


def feed_of(owner: Any, kind: FeedKind = FeedKind.BADGE) -> Feed:
    return addresses.add(owner, kind, job="probe")


# --- Subscriptions


def test_a_user_subscribes_to_a_job_with_one_click_and_unsubscribes_there(client: Client, ann: Any) -> None:
    assert "Subscribe to failures" in client.get(JOB).text
    page = client.post(SUBSCRIBE, {"job": "probe"}, follow=True)
    assert page.redirect_chain == [(JOB, 302)]
    assert "of the job probe will be mailed to ann@example.com" in page.text
    assert "Subscribe to failures" not in page.text
    (subscription,) = subscriptions.of_user(ann)
    page = client.post(UNSUBSCRIBE, {"subscription": subscription.pk}, follow=True)
    assert page.redirect_chain == [(JOB, 302)]
    assert "Subscribe to failures" in page.text
    assert not Subscription.objects.exists()


def test_a_user_subscribes_to_a_schedule_on_its_page(client: Client, ann: Any) -> None:
    schedule = create_hourly()
    url = change_url(schedule)
    assert f'name="schedule" value="{schedule.pk}"' in client.get(url).text
    page = client.post(SUBSCRIBE, {"schedule": schedule.pk}, follow=True)
    assert page.redirect_chain == [(url, 302)]
    assert "Unsubscribe" in page.text
    assert Subscription.objects.get().schedule == schedule


def test_a_user_without_an_address_is_told_what_is_missing(client: Client, ann: Any) -> None:
    type(ann).objects.update(email="")
    page = client.post(SUBSCRIBE, {"job": "probe"}, follow=True)
    assert "Your account has no mail address" in page.text
    assert "Your account has no mail address" in client.get(PAGE).text
    assert not Subscription.objects.exists()


def test_the_list_has_the_users_own_subscriptions(client: Client, ann: Any) -> None:
    subscriptions.subscribe(ann, job="probe")
    subscriptions.subscribe(user("bob"), job="lasting")
    page = client.get(PAGE).text
    assert "job probe" in page
    assert "ann@example.com" in page
    assert "lasting" not in page
    (mine,) = subscriptions.of_user(ann)
    answer = client.post(UNSUBSCRIBE, {"subscription": mine.pk, "page": "list"}, follow=True)
    assert answer.redirect_chain == [(PAGE, 302)]
    assert "None yet" in answer.text


def test_what_no_longer_has_a_page_is_not_linked(client: Client, ann: Any, switched_on: None) -> None:
    subscriptions.subscribe(ann, job="gone")
    addresses.add(ann, FeedKind.BADGE, job="gone")
    (subscription,) = subscriptions.of_user(ann)
    text = client.get(PAGE).text
    assert text.count("job gone") > 2
    assert "/job/gone/" not in text
    page = client.post(UNSUBSCRIBE, {"subscription": subscription.pk}, follow=True)
    assert page.redirect_chain == [(PAGE, 302)]
    assert "You have unsubscribed from the job gone." in page.text


def test_a_schedule_that_the_user_may_no_longer_see_is_not_linked(client: Client, ann: Any) -> None:
    schedule = create_hourly()
    subscriptions.subscribe(ann, schedule=schedule)
    assert change_url(schedule) in client.get(PAGE).text
    ann.groups.get().permissions.remove(Permission.objects.get(codename="view_periodictask"))
    text = client.get(PAGE).text
    assert ("schedule mine" in text, change_url(schedule) in text) == (True, False)


def test_nobody_ends_the_subscription_of_another_user(client: Client, ann: Any) -> None:
    subscriptions.subscribe(bob := user("bob"), job="probe")
    (other,) = subscriptions.of_user(bob)
    page = client.post(UNSUBSCRIBE, {"subscription": other.pk}, follow=True)
    assert "You are not subscribed" in page.text
    assert Subscription.objects.exists()


def test_who_may_not_view_runs_cannot_subscribe_and_has_no_buttons(client: Client) -> None:
    schedule, nobody = create_hourly(), user("eve", group="")
    client.force_login(nobody)
    assert client.post(SUBSCRIBE, {"job": "probe"}).status_code == 403
    assert client.post(SUBSCRIBE, {"schedule": schedule.pk}).status_code == 403
    nobody.user_permissions.set(Permission.objects.filter(codename__in=("start_run", "view_periodictask")))
    assert "Subscribe" not in client.get(JOB).text.replace(">Subscriptions<", "")
    assert client.post(SUBSCRIBE, {"schedule": schedule.pk}).status_code == 403


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"job": "gone"}, 404),
        ({"schedule": "999999"}, 404),
        ({"schedule": "x"}, 404),
        ({"schedule": "9" * 40}, 404),
        ({}, 403),
    ],
)
def test_what_does_not_exist_cannot_be_followed(
    client: Client, ann: Any, data: dict[str, str], status: int
) -> None:
    assert client.post(SUBSCRIBE, data).status_code == status
    assert not Subscription.objects.exists()


def test_administrators_see_and_end_all_subscriptions(admin_client: Client) -> None:
    subscriptions.subscribe(ann := user(), job="probe")
    (subscription,) = subscriptions.of_user(ann)
    listed = admin_client.get("/admin/jobledger/subscription/").text
    assert "job probe" in listed
    assert "ann" in listed
    url = f"/admin/jobledger/subscription/{subscription.pk}"
    assert admin_client.get(f"{url}/change/").status_code == 200
    admin_client.post(f"{url}/delete/", {"post": "yes"})
    assert not Subscription.objects.exists()
    assert AuditEntry.objects.get().text == "Ended the subscription."


def test_a_subscribers_destination_can_be_deleted_but_not_edited_or_named_by_rules(
    admin_client: Client,
) -> None:
    subscriptions.subscribe(ann := user(), job="probe")
    (subscription,) = subscriptions.of_user(ann)
    name, pk = subscription.destination.name, subscription.destination.pk
    url = f"/admin/jobledger/alertdestination/{pk}"
    page = admin_client.get(f"{url}/change/").text
    assert "the user ann" in page
    assert 'name="addresses"' not in page
    assert admin_client.post(f"{url}/change/", {"name": "x"}).status_code == 403
    assert name not in admin_client.get("/admin/jobledger/alertrule/add/").text
    assert name in admin_client.get("/admin/jobledger/alertdestination/").text
    admin_client.post(f"{url}/delete/", {"post": "yes"})
    assert not Subscription.objects.exists()


# --- Feeds


def test_nothing_offers_feeds_while_they_are_off(client: Client, ann: Any) -> None:
    feed = feed_of(ann)
    assert "Badge and calendar" not in client.get(JOB).text
    assert "calendar" not in client.get(PAGE).text
    assert client.post(ADD, {"kind": "badge", "job": "probe"}).status_code == 403
    for url in RENEW, REVOKE:
        assert client.post(url, {"feed": feed.pk}).status_code == 404


@on
@pytest.mark.parametrize("kind", FeedKind)
def test_a_user_makes_a_feed_and_is_shown_its_address_again(client: Client, ann: Any, kind: FeedKind) -> None:
    schedule = create_hourly()
    assert f"{PAGE}?schedule={schedule.pk}#make" in client.get(change_url(schedule)).text
    assert f"Make a {kind.label}" in client.get(f"{PAGE}?schedule={schedule.pk}").text
    client.post(ADD, {"kind": kind, "schedule": schedule.pk})
    feed = Feed.objects.get()
    for _ in range(2):
        page = client.get(PAGE)
        assert f'value="http://testserver{path_of(feed)}"' in page.text
    assert "no-store" in page["Cache-Control"]
    assert Client().get(path_of(feed)).status_code == 200


@on
def test_a_user_makes_a_calendar_but_no_badge_of_all_schedules(client: Client, ann: Any) -> None:
    page = client.get(PAGE).text
    assert 'Make a calendar<span class="visually-hidden"> of all schedules<' in page
    assert "> of the job probe<" in client.get(f"{PAGE}?job=probe").text
    assert "Make a status badge" not in page
    assert client.post(ADD, {"kind": "badge"}).status_code == 403
    assert client.post(ADD, {"kind": "calendar"}).status_code == 302
    assert client.post(ADD, {"kind": "x"}).status_code == 404


@on
def test_an_address_is_renewed_and_revoked_by_its_owner_alone(client: Client, ann: Any) -> None:
    mine, other = feed_of(ann), feed_of(user("bob"))
    old = path_of(mine)
    client.post(RENEW, {"feed": mine.pk})
    assert old not in client.get(PAGE).text
    for url in RENEW, REVOKE:
        assert client.post(url, {"feed": other.pk}).status_code == 404
    client.post(REVOKE, {"feed": mine.pk})
    assert list(Feed.objects.all()) == [other]
    texts = list(AuditEntry.objects.order_by("pk").values_list("text", flat=True))
    assert texts == ["Renewed its address.", "Revoked its address."]


@on
def test_the_page_says_why_an_address_does_not_work_or_cannot_be_shown(
    client: Client, ann: Any, settings: Settings
) -> None:
    feed = feed_of(ann)
    Feed.objects.filter(pk=feed.pk).update(seed="of another key")
    assert "secret key has been replaced" in client.get(PAGE).text
    ann.groups.clear()
    assert "You may no longer see this" in client.get(PAGE).text


@on
def test_without_the_package_the_page_says_what_calendars_need(
    client: Client, ann: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "icalendar", None)
    page = client.get(PAGE).text
    assert "pip install" in page
    assert "Make a calendar" not in page
    assert client.post(ADD, {"kind": "calendar"}).status_code == 403


@on
@on
@pytest.mark.parametrize("url", [ADD, RENEW, REVOKE])
def test_without_its_entry_in_the_audit_log_no_address_changes(
    url: str, client: Client, ann: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise DataError("not a text")

    feed = feed_of(ann)
    before = list(Feed.objects.values())
    monkeypatch.setattr("jobledger.admin.audit_log.log_action", fail)
    with pytest.raises(DataError):
        client.post(url, {"feed": feed.pk, "kind": FeedKind.CALENDAR})
    assert list(Feed.objects.values()) == before


def test_administrators_see_and_revoke_all_feeds_without_their_addresses(admin_client: Client) -> None:
    feed = feed_of(user())
    secret = re.split(r"[/.]", path_of(feed))[2]
    pages = [admin_client.get(f"/admin/jobledger/feed/{path}").text for path in ("", f"{feed.pk}/change/")]
    for page in pages:
        assert "job probe" in page
        assert "ann" in page
        assert not {secret, feed.seed, feed.digest} & set(re.split(r"[^\w-]+", page))
    data = {"action": "delete_selected", "_selected_action": feed.pk, "post": "yes"}
    admin_client.post("/admin/jobledger/feed/", data)
    assert not Feed.objects.exists()
    assert AuditEntry.objects.get().text == "Revoked its address."


@on
@pytest.mark.parametrize("name", ['"><script>alert(1)</script>', "ü/€?#&"])
def test_any_name_of_a_schedule_is_shown_as_text(client: Client, ann: Any, name: str) -> None:
    schedule = create_hourly()
    PeriodicTask.objects.filter(pk=schedule.pk).update(name=name)
    client.post(SUBSCRIBE, {"schedule": schedule.pk})
    client.post(ADD, {"kind": "badge", "schedule": schedule.pk})
    page = client.get(f"{PAGE}?schedule={schedule.pk}").text
    assert "<script>alert" not in page
    assert "style=" not in page.partition('<div class="following">')[2].partition("</main>")[0]
