"""Feeds are served at secret addresses: off by default, for as long as their makers may see them."""

import logging
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.feeds import addresses, calendar, recent
from jobledger.models import Feed, FeedKind, Run, Status, Trigger
from tests.unit.builders import override
from tests.unit.jobledger.feeds.builders import badge, cron, path_of, run, user

pytestmark = pytest.mark.django_db


@pytest.fixture
def switched_on(settings: Settings) -> None:
    override(settings, FEEDS=True)


on = pytest.mark.usefixtures("switched_on")


def test_feeds_are_off_by_default(client: Client, django_assert_num_queries: Any) -> None:
    path = path_of(badge(job="probe"))
    with django_assert_num_queries(0):
        assert client.get(path).status_code == 404


@on
def test_a_badge_is_served_without_a_login(client: Client) -> None:
    run(Status.FAILED)
    response = client.get(path_of(badge(job="probe")))
    assert response.status_code == 200
    assert response["Content-Type"] == "image/svg+xml"
    assert b"probe: failed" in response.content
    assert (response["Referrer-Policy"], response["X-Robots-Tag"]) == ("no-referrer", "noindex")
    assert response["Cache-Control"] == "private, max-age=30"
    assert "Vary" not in response or "Cookie" not in response["Vary"]


@on
def test_a_client_that_has_it_already_need_not_load_it_again(client: Client) -> None:
    path = path_of(badge(job="probe"))
    run()
    first = client.get(path)
    again = client.get(path, headers={"if-none-match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["Cache-Control"] == "private, max-age=30"
    run(Status.FAILED)
    changed = client.get(path, headers={"if-none-match": first["ETag"]})
    assert changed.status_code == 200
    assert client.head(path).status_code == 200


@on
@pytest.mark.parametrize(
    "path", ["x.svg", "x", ".svg", "x.ics", "a/b.svg", "%00.svg", "ü.svg", "%ff.svg", "x" * 2000 + ".svg"]
)
def test_an_unknown_address_is_not_found_by_one_query(
    client: Client, django_assert_num_queries: Any, path: str
) -> None:
    badge(job="probe")
    with django_assert_num_queries(1):
        response = client.get(f"/feeds/{path}")
    assert (response.status_code, response["Cache-Control"]) == (404, "no-store")


@on
def test_a_badge_is_no_calendar_and_cannot_be_posted_to(client: Client) -> None:
    path = path_of(badge(job="probe"))
    assert client.get(path.replace(".svg", ".ics")).status_code == 404
    assert client.get(path + "/").status_code == 404
    assert client.post(path).status_code == 405


@on
@pytest.mark.parametrize(
    "change",
    [
        lambda maker: maker.groups.clear(),
        lambda maker: type(maker).objects.update(is_active=False),
        lambda maker: type(maker).objects.update(is_staff=False),
        lambda maker: maker.delete(),
    ],
)
@pytest.mark.parametrize("kind", FeedKind)
def test_a_feed_ends_with_the_right_of_its_maker(client: Client, change: Any, kind: FeedKind) -> None:
    maker = user()
    path = path_of(addresses.add(maker, kind, job="probe"))
    assert client.get(path).status_code == 200
    change(maker)
    assert client.get(path).status_code == 404


@on
def test_what_shows_schedules_needs_the_right_to_view_them(client: Client) -> None:
    maker = user(group="")
    maker.user_permissions.set(Permission.objects.filter(codename="view_run"))
    of_job = path_of(addresses.add(maker, FeedKind.BADGE, job="probe"))
    of_schedule = path_of(addresses.add(maker, FeedKind.BADGE, schedule=cron()))
    of_all = path_of(addresses.add(maker, FeedKind.CALENDAR))
    assert [client.get(path).status_code for path in (of_job, of_schedule, of_all)] == [200, 404, 404]


@on
def test_a_renewed_address_replaces_the_old_one(client: Client) -> None:
    feed = badge(job="probe")
    old = path_of(feed)
    addresses.renew(feed)
    feed.refresh_from_db()
    new = path_of(feed)
    assert old != new
    assert [client.get(path).status_code for path in (old, new)] == [404, 200]
    assert feed.renewed_at is not None


@on
def test_a_database_reader_cannot_use_an_address(client: Client) -> None:
    feed = badge(job="probe")
    secret = Path(path_of(feed)).stem
    row = Feed.objects.filter(pk=feed.pk).values().get()
    assert not [name for name, value in row.items() if secret in str(value)]
    for value in row["seed"], row["digest"]:
        assert client.get(f"/feeds/{value}.svg").status_code == 404


@on
def test_after_the_secret_key_was_replaced_an_address_works_and_is_shown_while_the_old_key_is_known(
    client: Client, settings: Settings
) -> None:
    feed = badge(job="probe")
    path, old = path_of(feed), django_settings.SECRET_KEY
    settings.SECRET_KEY = "another"
    assert path_of(feed) == ""
    assert client.get(path).status_code == 200
    settings.SECRET_KEY_FALLBACKS = [old]
    assert path_of(feed) == path


@on
@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("method", ["get", "post"])
def test_no_address_is_logged(
    client: Client, caplog: pytest.LogCaptureFixture, is_known: bool, method: str
) -> None:
    feed = badge(job="probe")
    path = path_of(feed)
    if not is_known:
        addresses.renew(feed)
    with caplog.at_level(logging.DEBUG, "django.request"):
        getattr(client, method)(path)
    assert Path(path).stem not in caplog.text


@on
def test_no_address_is_in_the_report_of_an_error(
    client: Client, monkeypatch: pytest.MonkeyPatch, mailoutbox: list[Any], settings: Settings
) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("boom")

    from django.utils.log import AdminEmailHandler

    path = path_of(badge(job="probe"))
    monkeypatch.setattr("jobledger.feeds.status.read", fails)
    settings.ADMINS = [("a", "a@example.com")]
    handler = AdminEmailHandler(include_html=True)
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    client.raise_request_exception = False
    try:
        assert client.get(path).status_code == 500
    finally:
        logger.removeHandler(handler)
    assert mailoutbox
    for report in mailoutbox:
        assert "boom" in report.body
        assert Path(path).stem not in report.body + "".join(str(each) for each in report.alternatives)


@on
def test_without_the_package_a_calendar_says_what_is_missing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_of(addresses.add(user(), FeedKind.CALENDAR))
    monkeypatch.setitem(__import__("sys").modules, "icalendar", None)
    response = client.get(path)
    assert response.status_code == 501
    assert response.content.decode() == f"{calendar.INSTALL}\n"


@on
def test_a_user_has_a_limited_number_of_feeds_and_one_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "MAX_FEEDS", 2)
    ann = user()
    first = addresses.add(ann, FeedKind.BADGE, job="probe")
    assert addresses.add(ann, FeedKind.BADGE, job="probe") == first
    addresses.add(ann, FeedKind.CALENDAR, job="probe")
    with pytest.raises(addresses.TooManyFeedsError):
        addresses.add(ann, FeedKind.CALENDAR)
    assert addresses.add(ann, FeedKind.BADGE, job="probe") == first


@on
@pytest.mark.parametrize("kind", FeedKind)
@pytest.mark.parametrize("about", ["schedule", "job"])
def test_the_number_of_queries_does_not_depend_on_how_much_there_is(
    client: Client, kind: FeedKind, about: str
) -> None:
    schedule = cron()
    path = path_of(
        addresses.add(user(), kind, **({"schedule": schedule} if about == "schedule" else {"job": "probe"}))
    )

    def queries() -> int:
        recent.clear()
        with CaptureQueriesContext(connection) as captured:
            assert client.get(path).status_code == 200
        return len(captured)

    run(schedule=schedule)
    before = queries()
    for number in range(5):
        cron(name=f"nightly {number}")
    Run.objects.bulk_create(
        Run(job="probe", trigger=Trigger.SCHEDULE, status=status)
        for status in (Status.FAILED, Status.RUNNING)
        for _ in range(200)
    )
    assert queries() == before <= 13


@on
def test_a_deleted_schedule_takes_its_feeds_along(client: Client) -> None:
    schedule = cron()
    path = path_of(badge(schedule=schedule))
    PeriodicTask.objects.all().delete()
    assert client.get(path).status_code == 404
    assert Group.objects.exists()
