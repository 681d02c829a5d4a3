"""The order of the tests, and the settings of property-based tests.

The order is random, but files that take long come first: where tests run side by side, none of these is then
waited for at the end. Those in a browser come last: its driver keeps an event loop running in this thread, in
which Django refuses to ask the database.
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
    items.sort(key=lambda item: (_is_marked(item, "browser"), not _is_marked(item, "takes_long")))


def _is_marked(item: pytest.Item, name: str) -> bool:
    return item.get_closest_marker(name) is not None
