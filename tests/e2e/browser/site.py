"""The whole service with its web server, and users with a real browser."""

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, StorageState

from tests.integration.service import Service, service
from tests.ports import free_port
from tests.waiting import wait_until

PASSWORD = "only for tests"
ROLES = {
    "admin": "",
    "viewer": "Job viewers",
    "operator": "Job operators",
    "editor": "Schedule editors",
    "second_editor": "Schedule editors",
}
SERIOUS = ("serious", "critical")

MAKE_USERS = """
from django.contrib.auth.models import Group, User
for name, group in {roles!r}.items():
    user = User.objects.create_user(name, password={password!r}, is_staff=True, is_superuser=not group)
    User.objects.filter(pk=user.pk).update(email=name + "@example.com")
    if group:
        user.groups.add(Group.objects.get(name=group))
"""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A running service, and the URL of its web server."""

    service: Service
    url: str
    sessions: dict[str, StorageState] = field(default_factory=dict)
    """The cookies of logged-in users, by role."""


@dataclass(kw_only=True)
class People:
    """Opens pages as users with various roles, and collects the errors in the console."""

    site: Site
    browser: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Errors in the browser's console: script errors, policy violations and failed requests."""

    def open(
        self,
        path: str = "",
        *,
        role: str = "admin",
        width: int = 1280,
        scheme: str = "light",
        javascript: bool = True,
    ) -> Page:
        """Open a page of the admin as a logged-in user. ``path`` is relative to ``/admin/``."""
        if role not in self.site.sessions:
            self.site.sessions[role] = self._log_in(role)
        page = self._new_page(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            java_script_enabled=javascript,
            storage_state=self.site.sessions[role],
        )
        page.goto(f"/admin/{path}")
        return page

    def close(self) -> None:
        """Close every page."""
        for context in self.contexts:
            context.close()
        self.contexts.clear()

    def _log_in(self, role: str) -> StorageState:
        """Called once per role, because logging in takes longer than most tests."""
        page = self.visit("login/")
        give_password(page, role)
        page.wait_for_url(re.compile(r"/admin/$"))
        return page.context.storage_state()

    def visit(self, path: str = "", **options: Any) -> Page:
        """Open a page of the admin as an anonymous user."""
        page = self._new_page(**options)
        page.goto(f"/admin/{path}")
        return page

    def _new_page(self, **options: Any) -> Page:
        context = self.browser.new_context(base_url=self.site.url, **options)
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", self._record_error)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        return page

    def _record_error(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)


def give_password(page: Page, username: str) -> None:
    """Fill in and submit the login form."""
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def width_beyond_the_window(page: Page) -> int:
    """How far the page scrolls horizontally."""
    width: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return max(width, 0)


def violations(page: Page) -> list[str]:
    """Serious accessibility violations that axe finds on the page, with the elements."""
    # Preloading inlines imported style sheets, which the content security policy forbids.
    found = Axe().run(page, options={"preload": False}).response["violations"]
    return [
        f"{each['id']}: {each['help']}: " + " | ".join(node["html"][:200] for node in each["nodes"][:5])
        for each in found
        if each["impact"] in SERIOUS
    ]


@contextmanager
def running_site() -> Iterator[Site]:
    """Web server, worker and beat with their own database, and a user for each role."""
    with service(HEARTBEAT_SECONDS="0.5", FEEDS="true") as started:
        setup = started.manage("jobledger", "setup")
        assert setup.returncode == 0, setup.stderr
        started.shell(MAKE_USERS.format(roles=ROLES, password=PASSWORD))
        url = start_web(started, "web")
        started.start_worker()
        started.start_beat()
        wait_for_web(url)
        yield Site(service=started, url=url)


def start_web(service: Service, name: str, **variables: str) -> str:
    """Start a web server with these settings, without waiting for it; returns its URL."""
    port = free_port()
    flags = ("--bind", f"127.0.0.1:{port}", "--workers", "2", "--no-control-socket", "--timeout", "60")
    service.start(name, sys.executable, "-m", "gunicorn", "proj.wsgi", *flags, **variables)
    return f"http://127.0.0.1:{port}"


def wait_for_web(url: str) -> None:
    """Wait until the web server responds."""
    wait_until(lambda: _responds(f"{url}/admin/login/"), what="the web server answers")


def _responds(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
