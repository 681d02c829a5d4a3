"""At the end of the tests in this folder all their runs are accounted for."""

from collections.abc import Iterator

import pytest

from tests.integration.ledger import audited
from tests.integration.service import Service


@pytest.fixture(scope="package", autouse=True)
def _audited(running: Service) -> Iterator[None]:
    with audited(running):
        yield
