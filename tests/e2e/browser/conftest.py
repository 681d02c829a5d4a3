"""Chromium, the running service, and its users. An error in a page's console fails the test."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser.site import People, Site, running_site
from tests.requirements import browser_or_skip, chromium

# Expected results come from several processes, possibly on a busy machine.
expect.set_options(timeout=30_000)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip before any fixture starts the browser."""
    browser_or_skip()


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The installed Chromium, without background requests; without a sandbox if run as root."""
    quiet = [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {**browser_type_launch_args, "executable_path": chromium(), "args": [*quiet, *sandbox]}


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """One service for all browser tests: each creates its data under unique names."""
    with running_site() as site:
        yield site


@pytest.fixture
def people(site: Site, browser: Browser) -> Iterator[People]:
    """Users whose pages must have no errors in the console. Tests that expect one clear ``problems``."""
    people = People(site=site, browser=browser)
    yield people
    people.close()
    assert people.problems == []
