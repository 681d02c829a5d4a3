"""A clone as a reader of the manual has it, with the files that the manual creates, and ``make up``."""

import os
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.manual import ROOT, Block, all_blocks, blocks_of
from tests.ports import free_port
from tests.waiting import wait_until

KEPT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "var", ".env", ".*_cache", ".hypothesis", "tests", "*.pyc.*"
)
# Variables that another service on this machine, or the tests, may have exported.
EXPORTED = (
    "DATABASE_URL",
    "REDIS_URL",
    "RABBITMQ_URL",
    "SECRET_KEY",
    "DJANGO_SETTINGS_MODULE",
    "PYTHONPATH",
    "PORT",
)
STOP_SECONDS = 60
USUAL_URL = "http://127.0.0.1:8000"
ADOPTERS = "mysite/"


@dataclass(kw_only=True)
class Clone:
    """The directory, and the service that runs in it."""

    folder: Path
    port: int = field(default_factory=free_port)
    _service: "subprocess.Popen[bytes] | None" = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a shell with an activated virtual environment and no exported variables."""
        kept = {name: value for name, value in os.environ.items() if name not in EXPORTED}
        return {**kept, "PATH": f"{self.folder / '.venv' / 'bin'}:{kept['PATH']}"}

    @property
    def url(self) -> str:
        """The address of the web process."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What ``make up`` has printed."""
        return (self.folder / "up.log").read_text(errors="replace")

    def addressed(self, block: Block) -> Block:
        """The block with the address of this clone's web process."""
        return replace(block, lines=tuple(line.replace(USUAL_URL, self.url) for line in block.lines))

    def write(self, block: Block) -> None:
        """Create a file as the manual says, or append to the project's own."""
        file = self.folder / block.file
        is_ours = (ROOT / block.file).exists()
        with file.open("a" if is_ours else "w") as stream:
            stream.write(block.text)

    def start(self) -> None:
        """Run ``make up`` and wait until the admin and the worker respond."""
        with (self.folder / "up.log").open("wb") as log:
            self._service = subprocess.Popen(
                ["make", "up", f"PORT={self.port}"],
                cwd=self.folder,
                env={**self.environment, "WORKER_CONCURRENCY": "2"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, what="the service is up")
        except TimeoutError as error:
            error.add_note(self.log)
            raise

    def stop(self) -> None:
        """Press Ctrl-C, and again if it does not stop."""
        service, self._service = self._service, None
        while service is not None and service.poll() is None:
            os.killpg(service.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                service.wait(STOP_SECONDS)

    def restart(self) -> None:
        """Press Ctrl-C, and run ``make up`` again."""
        self.stop()
        self.start()

    def _is_ready(self) -> bool:
        if "ready." not in self.log:
            return False
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/healthz", timeout=5):
            return True
        return False


@contextmanager
def running_clone() -> Iterator[Clone]:
    """A clone whose service knows the manual's jobs, except those for which a page restarts it."""
    parent = Path(tempfile.mkdtemp(prefix="jobs-"))
    clone = Clone(folder=parent / "clone")
    try:
        shutil.copytree(ROOT, clone.folder, ignore=KEPT_OUT)
        (clone.folder / ".venv").symlink_to(ROOT / ".venv")
        for lock_file in (clone.folder / "requirements").iterdir():
            os.utime(lock_file, (0, 0))  # older than the virtual environment: there is nothing to install
        for block in _known_from_the_start():
            clone.write(block)
        clone.start()
        yield clone
    finally:
        clone.stop()
        shutil.rmtree(parent)


def has_a_restart(page: Path) -> bool:
    """Whether the page itself restarts the service for its jobs."""
    return any(block.comes_after_a_restart for block in blocks_of(page))


def _known_from_the_start() -> list[Block]:
    """Not what belongs in a project of the reader's own, which this is not."""
    files = [block for block in all_blocks() if block.is_a_file and not block.file.startswith(ADOPTERS)]
    return [block for block in files if not has_a_restart(block.page)]
