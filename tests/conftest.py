"""The order of tests, and the settings of property-based tests.

The order is random, but slow files come first, so that parallel runs do not wait for one of them at the end.
Browser tests come last: the driver keeps an event loop running in this thread, in which Django refuses to
query the database.
"""

import hypothesis
import pytest

# How long an example takes depends more on the machine than on the code; the first one may import half of it.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs after the order has been shuffled."""
    items.sort(key=lambda item: (_is_marked(item, "browser"), not _is_marked(item, "takes_long")))


def _is_marked(item: pytest.Item, name: str) -> bool:
    return item.get_closest_marker(name) is not None
