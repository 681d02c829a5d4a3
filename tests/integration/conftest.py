"""What tests with real processes have in common: they say their figures, and some share a service."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.saying import Say

HERE = Path(__file__).parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the files of a folder together in any order of tests: they share a service."""
    first: dict[Path, int] = {}
    for number, item in enumerate(items):
        first.setdefault(item.path.parent, number)
    places = {
        item: first[item.path.parent] if item.path.is_relative_to(HERE) else number
        for number, item in enumerate(items)
    }
    items.sort(key=places.__getitem__)


@pytest.fixture(scope="session")
def say_always(request: pytest.FixtureRequest) -> Say:
    """Print past pytest's capturing."""
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")

    def printed(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}")

    return printed


@pytest.fixture
def say(say_always: Say, request: pytest.FixtureRequest) -> Say:
    """The same, with the test's name."""
    return lambda text: say_always(f"{request.node.name}: {text}")
