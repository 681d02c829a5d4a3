"""The admin site: sections after login, a strict content security policy, a protected login."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from jobledger.admin.runs.admin import RunAdmin
from jobledger.admin_site import JobsAdminSite
from jobledger.models import Run
from tests.waiting import DEADLINE_SECONDS

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"


def test_the_current_page_is_the_current_section(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:jobledger_run_changelist")).text
    assert page.count("aria-current") == 1
    assert f'<a href="{reverse("admin:jobledger_run_changelist")}" aria-current="page">Runs</a>' in page


def test_sections_are_hidden_before_login(client: Client) -> None:
    assert 'class="sections"' not in client.get(LOGIN).text


def test_every_model_is_one_page_away(admin_client: Client) -> None:
    # Below the sections, which link to two of them on every page.
    _, _, listed = admin_client.get(reverse("admin:everything")).text.partition("<main")
    models = [model._meta for model in admin.site._registry]
    lists = [reverse(f"admin:{each.app_label}_{each.model_name}_changelist") for each in models]
    assert [address for address in lists if f'href="{address}"' not in listed] == []


def test_the_content_security_policy_allows_no_other_origins_and_no_inline_scripts(client: Client) -> None:
    policy = client.get(LOGIN).headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


def test_after_five_wrong_passwords_the_right_one_is_rejected_too(client: Client) -> None:
    User.objects.create_superuser("ann", password="right")
    for _ in range(5):
        client.post(LOGIN, {"username": "ann", "password": "wrong"})
    answer = client.post(LOGIN, {"username": "ann", "password": "right"})
    assert answer.status_code == 429
    assert "Try again in 15 minutes." in answer.text


@pytest.mark.parametrize(
    ("cool_off", "shown"),
    [
        (timedelta(minutes=1), "Try again in 1 minute."),
        (timedelta(minutes=90), "Try again in 90 minutes."),
        (timedelta(days=1), "Try again in 24 hours."),
        (None, "from this address.</p>\n<p>An administrator can unlock it with"),
    ],
)
def test_a_locked_login_says_for_how_long(cool_off: timedelta | None, shown: str) -> None:
    page = render_to_string("jobledger/locked_out.html", {"cooloff_timedelta": cool_off} if cool_off else {})
    assert shown in page


def test_failures_from_another_address_do_not_lock_out_a_user(client: Client) -> None:
    User.objects.create_superuser("ann", password="right")
    for _ in range(5):
        client.post(LOGIN, {"username": "ann", "password": "wrong"}, REMOTE_ADDR="192.0.2.7")
    assert client.post(LOGIN, {"username": "ann", "password": "right"}).status_code == 302


@pytest.mark.parametrize("name", ["admin:home_now", "admin:home_timeline", "admin:index"])
def test_after_logout_a_partial_update_reloads_the_page(client: Client, name: str) -> None:
    answer = client.get(reverse(name), headers={"HX-Request": "true"})
    assert (answer.status_code, answer.content, answer.headers["HX-Refresh"]) == (286, b"", "true")
    # Opening the page itself leads to the login.
    assert client.get(reverse(name)).url == f"{LOGIN}?next={reverse(name)}"  # type: ignore[attr-defined]  # of a redirection


@pytest.mark.parametrize("name", ["preview", "target", "command_line"])
def test_after_logout_a_form_keeps_its_input(client: Client, name: str) -> None:
    address = reverse(f"admin:django_celery_beat_periodictask_add_{name}")
    answer = client.post(address, {"name": "nightly"}, headers={"HX-Request": "true"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert "HX-Refresh" not in answer.headers


class TestDiscovery:
    def test_pages_are_imported_by_the_first_that_needs_them_and_once(self) -> None:
        site, calls = JobsAdminSite(name="later"), []

        def discover() -> None:
            calls.append("discovered")
            site.register(Run)

        site.discover_later(discover)
        assert calls == []
        assert site.is_registered(Run)
        assert site.get_urls()
        assert calls == ["discovered"]

    def test_a_fault_in_a_page_is_reported_each_time(self) -> None:
        site = JobsAdminSite(name="faulty")

        def discover() -> None:
            raise ImportError("a typo")

        site.discover_later(discover)
        for _ in range(2):
            with pytest.raises(ImportError, match="a typo"):
                site.get_urls()

    def test_pages_that_are_replaced_are_imported_first(self) -> None:
        site = JobsAdminSite(name="replaced")
        site.discover_later(lambda: site.register(Run))
        site.unregister(Run)
        site.register(Run, RunAdmin)
        assert isinstance(site.get_model_admin(Run), RunAdmin)

    def test_threads_that_need_them_at_once_wait_for_them(self) -> None:
        site = JobsAdminSite(name="threads")
        is_importing, may_end = Event(), Event()

        def discover() -> None:
            is_importing.set()
            assert may_end.wait(DEADLINE_SECONDS)
            site.register(Run)

        site.discover_later(discover)
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(site.is_registered, Run)
            assert is_importing.wait(DEADLINE_SECONDS)
            second = threads.submit(site.is_registered, Run)
            may_end.set()
            assert (first.result(), second.result()) == (True, True)
