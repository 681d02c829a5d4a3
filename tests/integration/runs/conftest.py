"""The runs of the tests in this directory are audited at the end."""

from collections.abc import Iterator

import pytest

from tests.integration.ledger import audited
from tests.integration.service import Service


@pytest.fixture(scope="package", autouse=True)
def _audited(running: Service) -> Iterator[None]:
    with audited(running):
        yield
