"""The project's image, built once, in the same way as by the Compose file."""

import uuid
from collections.abc import Iterator

import pytest

from tests.e2e.containers.compose import Stack, remove_images_of
from tests.requirements import docker_or_skip


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip before any fixture uses the container engine."""
    docker_or_skip()


@pytest.fixture(scope="session")
def project_image() -> Iterator[str]:
    """The unique name of the image."""
    project = f"e2e-{uuid.uuid4().hex[:8]}"
    image = f"scheduled-jobs:{project}"
    Stack(project=project, image=image, port=0).compose("build", timeout_seconds=900)
    yield image
    remove_images_of(project)
