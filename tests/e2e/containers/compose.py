"""Uses the Compose file like a user, through ``docker compose``.

The project has a unique name and reads no ``.env`` file, so that it is isolated from a developer's own stack.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ports import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
UP_SECONDS = 300
WITHOUT_LOGGING = ("", "worker: Warm shutdown (MainProcess)")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A project of the Compose file."""

    project: str
    image: str
    port: int

    @property
    def environment(self) -> dict[str, str]:
        """The environment of ``docker compose``, without the developer's settings."""
        kept = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or "DOCKER" in name
        }
        own = {"COMPOSE_PROJECT_NAME": self.project, "COMPOSE_ENV_FILES": os.devnull}
        return {**kept, **own, "IMAGE": self.image, "PORT": str(self.port)}

    def compose(self, *arguments: str, timeout_seconds: float = 120) -> str:
        """Run ``docker compose``, which must succeed; returns its output."""
        with self.start(*arguments) as process:
            try:
                out, err = process.communicate(timeout=timeout_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert process.returncode == 0, f"{arguments}: {out}\n{err}"
        return out

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["docker", "compose", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def exec(self, service: str, *arguments: str) -> str:
        """Run a command in the running container of a service."""
        return self.compose("exec", "-T", service, *arguments).strip()

    def log_of(self, service: str) -> list[dict[str, Any]]:
        """What a service has logged: each line is JSON, except what Celery writes in a signal handler."""
        # Compose may add control characters.
        (container,) = self.compose("ps", "--quiet", service).split()
        logged = subprocess.run(["docker", "logs", container], check=True, capture_output=True, text=True)
        lines = (logged.stdout + logged.stderr).splitlines()
        return [json.loads(line) for line in lines if line not in WITHOUT_LOGGING]

    def shell(self, code: str) -> str:
        """Run Python code in the service's Django shell; returns its output."""
        return self.exec("web", "python", "manage.py", "shell", "--verbosity", "0", "-c", code)

    def celery(self, *arguments: str) -> str:
        """Run ``celery -A proj``."""
        return self.exec("web", "celery", "-A", "proj", *arguments)

    def runs(self, *arguments: str) -> list[dict[str, Any]]:
        """The output of ``jobledger runs --json``."""
        runs: list[dict[str, Any]] = json.loads(
            self.exec("web", "python", "manage.py", "jobledger", "runs", "--json", *arguments)
        )
        return runs

    def wait_for_run(self, run_id: str, status: str) -> None:
        """Wait until the run has this status."""
        wait_until(
            lambda: run_id in [run["id"] for run in self.runs("--status", status)],
            what=f"run {run_id} {status}",
        )

    def output(self, run_id: str) -> str:
        return self.shell(
            "from jobledger.models import RunOutput;"
            f"pieces = RunOutput.objects.filter(run_id='{run_id}').in_order();"
            "print(''.join(piece.text for piece in pieces))"
        )

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """What ``docker inspect`` prints for the containers of these or all services, even exited ones."""
        ids = self.compose("ps", "--all", "--quiet", *services).split()
        inspected = subprocess.run(["docker", "inspect", *ids], check=True, capture_output=True, text=True)
        containers: list[dict[str, Any]] = json.loads(inspected.stdout)
        return containers

    def health(self, *services: str) -> list[str]:
        """The health status of each container."""
        return [container["State"]["Health"]["Status"] for container in self.containers(*services)]

    def up(self, *arguments: str) -> None:
        """Start services and wait until they are healthy."""
        self.compose("up", "--detach", "--wait", *arguments, timeout_seconds=UP_SECONDS)

    def remains(self) -> list[str]:
        """The remaining containers, volumes and networks of the project."""
        label = f"label=com.docker.compose.project={self.project}"
        kinds = (("container", "--all"), ("volume",), ("network",))
        return [
            name
            for kind, *options in kinds
            for name in subprocess.run(
                ["docker", kind, "ls", *options, "--quiet", "--filter", label],
                check=True,
                capture_output=True,
                text=True,
            ).stdout.split()
        ]


def remove_images_of(project: str) -> None:
    """Remove the images that were built for the project."""
    reference = f"reference=scheduled-jobs*:{project}*"
    listed = ["docker", "image", "ls", "--filter", reference, "--format", "{{.Repository}}:{{.Tag}}"]
    images = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
    if images:
        subprocess.run(["docker", "image", "rm", *images], check=True, capture_output=True)


@contextmanager
def brought_up(image: str) -> Iterator[Stack]:
    """Starts the whole stack and waits until it is healthy; removes everything afterwards."""
    stack = Stack(project=f"e2e-{uuid.uuid4().hex[:8]}", image=image, port=free_port())
    try:
        try:
            stack.up()
        except AssertionError as error:
            error.add_note(stack.compose("logs", "--no-color", "--tail", "40"))
            raise
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "10")
        remove_images_of(stack.project)
    assert stack.remains() == []
