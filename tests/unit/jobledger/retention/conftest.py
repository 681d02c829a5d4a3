"""Runs are kept for 30 days, and only the newest one whatever its age."""

import pytest
from pytest_django import Settings

from tests.unit.builders import override


@pytest.fixture(autouse=True)
def limits(settings: Settings) -> None:
    override(settings, KEEP_DAYS=30, KEEP_RUNS=1, KEEP_AUDIT_DAYS=365)
