"""A running clone for all pages."""

from collections.abc import Iterator

import pytest

from tests.integration.docs.clone import Clone, running_clone


@pytest.fixture(scope="session")
def clone() -> Iterator[Clone]:
    """As a reader of the manual has it."""
    with running_clone() as made:
        yield made
