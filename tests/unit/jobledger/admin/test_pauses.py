"""Pausing and resuming the whole service in the admin, and the banner."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from jobledger.admin.pauses import LENGTHS, PauseForm
from jobledger.jobs.declaration import PausedSlots
from jobledger.models import AuditEntry, Pause
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.jobledger.admin.schedules.schedules import LIST, member, page
from tests.unit.jobledger.schedules.builders import NOON

ANN = User(username="ann")


def form(**values: str) -> PauseForm:
    return PauseForm({"length": "1h", "on_resume": "skip", **values}, now=NOON)


def test_a_duration_counts_from_now() -> None:
    pause_form = form(length="4h", reason="move", on_resume="once")
    assert pause_form.is_valid()
    terms = pause_form.terms(ANN)
    assert (terms.until, terms.reason) == (NOON + timedelta(hours=4), "move")
    assert terms.on_resume is PausedSlots.RUN_ONCE
    assert (terms.username, terms.user) == ("ann", ANN)


@pytest.mark.parametrize("length", LENGTHS)
def test_every_duration_has_an_end(length: str) -> None:
    pause_form = form(length=length)
    assert pause_form.is_valid()
    assert (pause_form.terms(ANN).until or NOON) > NOON


def test_a_pause_can_be_open_ended() -> None:
    pause_form = form(length="open")
    assert pause_form.is_valid()
    assert pause_form.terms(ANN).until is None


def test_a_pause_can_end_at_a_given_time() -> None:
    pause_form = form(length="until", until="2026-03-02T18:30")
    assert pause_form.is_valid()
    assert pause_form.terms(ANN).until == NOON + timedelta(hours=6, minutes=30)


def test_the_time_is_ignored_unless_selected() -> None:
    pause_form = form(length="1h", until="2020-01-01T00:00")
    assert pause_form.is_valid()
    assert pause_form.terms(ANN).until == NOON + timedelta(hours=1)


@pytest.mark.parametrize(
    ("until", "expected"),
    [("", "Enter a time."), ("2026-03-02T12:00", "is not in the future"), ("soon", "Enter a valid time")],
)
def test_an_invalid_end_is_rejected(until: str, expected: str) -> None:
    pause_form = form(length="until", until=until)
    assert not pause_form.is_valid()
    assert expected in str(pause_form.errors["until"])


def test_an_invalid_reason_is_rejected() -> None:
    assert "reason" in form(reason="x" * 501).errors


pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
TERMS = {"length": "1h", "reason": "the database moves", "on_resume": "skip"}
PAUSE, RESUME = "admin:jobledger_service_pause", "admin:jobledger_service_resume"


@pytest.fixture(autouse=True)
def noon() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


def sent_to(answer: Any) -> str:
    """The URL that the response redirects to."""
    return str(answer.url)


def logged() -> list[str]:
    return [entry.text for entry in AuditEntry.objects.order_by("pk")]


def test_the_service_is_paused_on_the_submitted_terms(admin_client: Client, admin_user: User) -> None:
    answer = admin_client.post(reverse(PAUSE), TERMS)
    pause = Pause.objects.get()
    assert sent_to(answer) == reverse(LIST)
    assert (pause.schedule, pause.until, pause.username, pause.user) == (
        None,
        NOON + HOUR,
        "admin",
        admin_user,
    )
    assert logged() == ["Paused the whole service until 2026-03-02 13:00:00 UTC: the database moves."]


def test_invalid_terms_pause_nothing(admin_client: Client) -> None:
    answer = admin_client.post(reverse(PAUSE), {**TERMS, "length": "until"})
    assert "Enter a time." in answer.text
    assert not Pause.objects.exists()


def test_the_banner_shows_the_pause_and_a_button_to_resume(admin_client: Client) -> None:
    Pause.objects.create(since=NOON, until=NOON + HOUR, username="ann", reason="<i>move</i>")
    text = page(admin_client)
    assert "by ann until 2026-03-02 13:00:00 UTC (in 1 h): &lt;i&gt;move&lt;/i&gt;" in text
    assert f'action="{reverse(RESUME)}"' in text


def test_a_page_links_to_pausing_while_the_service_is_not_paused(admin_client: Client) -> None:
    assert f'href="{reverse(PAUSE)}"' in page(admin_client)


def test_the_confirmation_and_the_banner_name_the_jobs_that_are_exempt(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "runs_while_paused" not in admin_client.get(reverse(PAUSE)).text
    monkeypatch.setattr(Probe, "runs_while_paused", True)
    Pause.objects.create(since=NOON)
    names = "Not paused, since they declare runs_while_paused: inherited, probe."
    assert names in admin_client.get(reverse(PAUSE)).text
    banner = page(admin_client)
    assert (
        "schedules have started runs only of jobs that declare runs_while_paused: inherited, probe." in banner
    )
    assert "No schedule has started any runs" not in banner


def test_without_exempt_jobs_the_banner_says_that_nothing_has_started(admin_client: Client) -> None:
    Pause.objects.create(since=NOON)
    assert "No schedule has started any runs since 2026-" in page(admin_client)


def test_resuming_redirects_to_the_page(admin_client: Client) -> None:
    Pause.objects.create(since=NOON - HOUR)
    answer = admin_client.post(reverse(RESUME), {"next": "/admin/?q=1"})
    assert sent_to(answer) == "/admin/?q=1"
    assert Pause.objects.get().until == NOON
    assert logged() == ["Resumed the whole service."]


def test_resuming_a_service_that_is_not_paused_is_reported(admin_client: Client) -> None:
    answer = admin_client.post(reverse(RESUME), follow=True)
    assert "The whole service was not paused." in answer.text
    assert logged() == []


def test_redirects_to_other_sites_are_rejected(admin_client: Client) -> None:
    for address in ("https://elsewhere.example/", "//elsewhere.example", "javascript:alert(1)"):
        assert sent_to(admin_client.post(reverse(RESUME), {"next": address})) == reverse(LIST)


def test_a_viewer_sees_the_pause_but_cannot_change_it(client: Client) -> None:
    member(client, "Job viewers")
    Pause.objects.create(since=NOON - HOUR)
    text = page(client)
    assert "The whole service is paused" in text
    assert reverse(RESUME) not in text
    assert client.post(reverse(RESUME)).status_code == 403
    assert client.get(reverse(PAUSE)).status_code == 403
    assert client.post(reverse(PAUSE), TERMS).status_code == 403
    assert Pause.objects.get().until is None


def test_an_operator_can_pause_and_resume(client: Client) -> None:
    member(client, "Job operators")
    client.post(reverse(PAUSE), TERMS)
    client.post(reverse(RESUME))
    assert Pause.objects.get().until == NOON


def test_an_anonymous_user_is_redirected_to_the_login(client: Client) -> None:
    for name in (PAUSE, RESUME):
        assert sent_to(client.post(reverse(name))).startswith(reverse("admin:login"))


def test_resuming_requires_a_post_request(admin_client: Client) -> None:
    assert admin_client.get(reverse(RESUME)).status_code == 405


def test_the_buttons_are_protected_against_cross_site_requests(admin_user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.post(reverse(RESUME)).status_code == 403
    assert client.post(reverse(PAUSE), TERMS).status_code == 403
