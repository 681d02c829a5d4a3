"""The order of the tests, random, but those in a browser last; and how the tests by property judge.

The browser's driver keeps an event loop running in this thread, in which Django refuses to ask the database.
"""

import hypothesis
import pytest

# How long an example takes says more of the machine than of the code: the first one may import half of it.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After the shuffling."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
