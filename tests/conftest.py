"""The order of the tests: random, but those in a browser last.

The browser's driver keeps an event loop running in this thread, in which Django refuses to ask the database.
"""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After the shuffling."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
