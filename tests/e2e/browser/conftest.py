"""Chromium, the running service, and people who use it. An error in a page's console fails the test."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser.site import People, Site, running_site
from tests.requirements import browser_or_skip, chromium

# What is expected comes from several processes, perhaps on a busy machine.
expect.set_options(timeout=30_000)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture starts the browser."""
    browser_or_skip()


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The machine's own Chromium, which looks for nothing outside; for root it has no sandbox."""
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
    """One service for all tests in a browser: each makes what it needs under names of its own."""
    with running_site() as made:
        yield made


@pytest.fixture
def people(site: Site, browser: Browser) -> Iterator[People]:
    """People whose pages must have no error in the console. A test that expects one empties ``problems``."""
    made = People(site=site, browser=browser)
    yield made
    made.close()
    assert made.problems == []
