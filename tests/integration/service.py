"""A complete service as real processes: a Redis server, workers and beats, with a separate database.

``DATABASE_URL`` determines the database: on a PostgreSQL server, the service gets a new
database; the default is a SQLite file. All processes are ended afterwards.
"""

import atexit
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis

from proj.embedded_redis import command as redis_command
from proj.generate_secrets import ensure
from proj.state import REDIS_KEY_PREFIX
from tests.integration import console
from tests.waiting import DEADLINE_SECONDS, wait_until

ROOT = Path(__file__).parent.parent.parent
STOP_SECONDS = 40
BROKERS = ("redis", "rabbitmq", "epmd")
STOCK_SCHEDULER = ("--scheduler", "django_celery_beat.schedulers:DatabaseScheduler", "--max-interval", "1")
QUEUE = f"{REDIS_KEY_PREFIX}celery"
UNACKNOWLEDGED = f"{REDIS_KEY_PREFIX}unacked"
# Linux only, from util-linux.
ENDS_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()
# How much of a log a failing test shows.
LOG_END = 6000


@dataclass(frozen=True, kw_only=True)
class Project:
    """How the processes of a Django project are started."""

    celery_app: str
    manage: tuple[str, ...]
    """The interpreter's arguments before the command's name."""


PROJ = Project(celery_app="proj", manage=("manage.py",))


@dataclass(kw_only=True)
class Service:
    """The processes of a service, and its state directory."""

    folder: Path
    database_url: str
    variables: dict[str, str] = field(default_factory=dict)
    """Its additional environment variables."""
    project: Project = PROJ
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def celery_command(self) -> tuple[str, ...]:
        """What starts ``celery`` for the project."""
        return (sys.executable, "-m", "celery", "-A", self.project.celery_app)

    @property
    def socket(self) -> Path:
        """The Redis server's socket."""
        return self.folder / "redis.sock"

    @property
    def secrets(self) -> Path:
        """The directory of its secrets."""
        return self.folder / "secrets"

    @property
    def trace_file(self) -> Path:
        """The file to which the job ``trace`` appends a line at each execution."""
        return self.folder / "trace"

    @property
    def temporary(self) -> Path:
        """The directory of its temporary files: a killed process leaves its own there."""
        return self.folder / "tmp"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process of the service."""
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "SECRET_KEY": "only-for-tests",
            "DATABASE_URL": self.database_url,
            "REDIS_URL": f"redis+socket://jobs:{ensure(self.secrets, 'redis_password')}@{self.socket}",
            "HEALTH_DIR": str(self.folder),
            "TRACE_FILE": str(self.trace_file),
            "TMPDIR": str(self.temporary),
            "WORKER_CONCURRENCY": "2",
            # What a process that does not stop is asked to print.
            "PYTHONFAULTHANDLER": "1",
            "PYTHONPATH": str(ROOT),
            **self.variables,
        }

    def start(self, name: str, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a process with this name; its output goes to a file of the same name.

        It ends with this process, even if that is killed, as pytest kills its own on Ctrl-C.
        """
        environment = {**self.environment, **variables}
        with self._log(name) as log:
            process = subprocess.Popen(
                (*ENDS_WITH_PARENT, *arguments),
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def start_redis(self) -> None:
        """Start or restart the server, and wait until it responds.

        Its ACL is that of Compose, except that tests may do anything, as the default user.
        """
        acl = ensure(self.secrets, "redis.conf")
        configuration = self.folder / "redis.conf"
        configuration.write_text(acl.replace("default off resetpass", "default on nopass ~* &* +@all"))
        program, *options = redis_command(self.socket, self.folder / "redis")
        self.start("redis", program, str(configuration), *options)
        wait_until(self._redis_answers, what="the Redis server answers")

    def forget_messages(self) -> None:
        """Empty the queue."""
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            client.delete(QUEUE)

    def start_worker(self, name: str = "worker", *more_flags: str, **variables: str) -> None:
        """Start a worker and wait until it is ready."""
        flags = ("--loglevel", "INFO", "--without-gossip", "--without-mingle", "--hostname", f"{name}@here")
        log = self.folder / f"{name}.log"
        before = self.log(name).count("ready.") if log.exists() else 0
        self.start(name, *self.celery_command, "worker", *flags, *more_flags, **variables)
        wait_until(lambda: self.log(name).count("ready.") > before, what=f"{name} is ready")

    def start_beat(self, name: str = "beat", *more_flags: str, **variables: str) -> None:
        """Start a beat, without waiting for its first tick."""
        flags = ("--loglevel", "INFO", "--pidfile=", *more_flags)
        self.start(name, *self.celery_command, "beat", *flags, **variables)

    def is_running(self, name: str) -> bool:
        """Whether the process with this name was started and is still running."""
        return name in self.processes and self.processes[name].poll() is None

    def stop(self, name: str, signum: signal.Signals = signal.SIGTERM) -> int:
        """Signal a process and wait for its end; returns its exit code."""
        process = self.processes.pop(name)
        process.send_signal(signum)
        try:
            if set(STOCK_SCHEDULER) <= set(cast("Sequence[str]", process.args)):
                # It was seen not to end. Celery's handler of the signal closes the connection to the broker,
                # which the interrupted code may be using; the next signal has nothing left to close.
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(STOP_SECONDS / 4)
                process.send_signal(signum)
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            process.send_signal(signal.SIGABRT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            error.add_note(f"Its log, which ends with where it was:\n{self.log(name)[-LOG_END:]}")
            raise
        finally:
            # What is left in its session, for example a killed worker's children.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # This also closes the console's pipes.
            process.communicate()

    def stop_all(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """Stop every process, the message broker last."""
        # In reverse order; if a process does not stop in time, the others are stopped all the same.
        with ExitStack() as stack:
            for name in sorted(self.processes, key=lambda name: name not in BROKERS):
                stack.callback(self.stop, name, signum)

    def log(self, name: str) -> str:
        """What the process has written so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def story(self) -> str:
        """What a developer would look at if something does not happen: the broker and the logs."""
        ends = [f"--- {name}\n{self.log(name)[-LOG_END:]}" for name in self.processes]
        return "\n".join([f"broker: {self._messages()}", *ends])

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``manage.py`` and wait for it."""
        return self._call(sys.executable, *self.project.manage, *arguments)

    def celery(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``celery -A proj`` and wait for it."""
        return self._call(*self.celery_command, *arguments)

    def shell(self, code: str) -> str:
        """Run Python code in the service's Django; returns what it prints."""
        if not self.is_running("console"):
            with self._log("console") as log:
                self.processes["console"] = console.start(self.environment, log=log)
        return console.execute(self.processes["console"], code)

    def runs(self, *arguments: str) -> list[dict[str, Any]]:
        """The ledger, as ``jobledger runs --json`` prints it."""
        command = ("jobledger", "runs", "--json", *arguments)
        printed = self.shell(f"from django.core.management import call_command; call_command(*{command!r})")
        runs: list[dict[str, Any]] = json.loads(printed)
        return runs

    def _log(self, name: str) -> BinaryIO:
        return (self.folder / f"{name}.log").open("ab")

    def _messages(self) -> str:
        try:
            with redis.Redis(unix_socket_path=str(self.socket), decode_responses=True) as client:
                queued, unacknowledged = client.lrange(QUEUE, 0, -1), client.hgetall(UNACKNOWLEDGED)
                return f"queued {queued}, unacknowledged {unacknowledged}"
        except redis.RedisError as error:
            return f"does not answer: {error}"

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def _redis_answers(self) -> bool:
        try:
            with redis.Redis(unix_socket_path=str(self.socket)) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@contextmanager
def service(project: Project = PROJ, /, **variables: str) -> Iterator[Service]:
    """A migrated database and a running Redis server, which are removed afterwards.

    The variables are added to the processes' environment.
    """
    # Not pytest's tmp_path: a Unix socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="jobs-"))
    with fresh_database(folder) as url:
        made = Service(folder=folder, database_url=url, variables=variables, project=project)
        made.temporary.mkdir()
        try:
            _migrate(made)
            made.start_redis()
            yield made
        finally:
            try:
                made.stop_all()
            finally:
                shutil.rmtree(folder)


@contextmanager
def fresh_database(folder: Path) -> Iterator[str]:
    """The URL of an empty database: on the server of ``DATABASE_URL``, or else a SQLite file."""
    server = _server()
    if not server:
        # In a separate directory, which can be removed while the service is running.
        (folder / "database").mkdir()
        yield f"sqlite:///{folder / 'database' / 'db.sqlite3'}"
        return
    name = f"service_{uuid.uuid4().hex}"
    # Not on a single connection: a test may make the server drop it.
    _execute(server, f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _server() -> str:
    """The URL of the PostgreSQL server; empty if there is none."""
    url = os.environ.get("DATABASE_URL", "")
    return url if url.startswith("postgres") else ""


def _identity_of_server() -> str:
    """Not its URL: another one may have the same address later."""
    if not (server := _server()):
        return ""
    with psycopg.connect(server, autocommit=True) as connection:
        ((identity,),) = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchall()
    return str(identity)


def _migrate(made: Service) -> None:
    """Create the tables, or copy those that another service with these settings had at first."""
    with _initial(made.environment["DJANGO_SETTINGS_MODULE"]) as initial:
        if not initial.exists():
            migrated = made.manage("migrate", "--verbosity", "0")
            assert migrated.returncode == 0, migrated.stderr
            _keep(made, initial)
        elif made.database_url.startswith("sqlite"):
            shutil.copyfile(initial, made.database_url.removeprefix("sqlite:///"))
        else:
            name = _name(made)
            _execute(_server(), f"DROP DATABASE {name}")
            _execute(_server(), f"CREATE DATABASE {name} TEMPLATE {initial.read_text()}")


@contextmanager
def _initial(settings: str) -> Iterator[Path]:
    """Where the tables of these settings are kept, for one of the processes of a test run at a time."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir()) / f"jobs-initial-{run}"
    folder.mkdir(exist_ok=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = folder / f"{settings}-{_identity_of_server()}"
    with Path(f"{file}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield file


def _keep(made: Service, initial: Path) -> None:
    """Keep a copy of the SQLite file, or the name of a copy of the database."""
    if made.database_url.startswith("sqlite"):
        shutil.copyfile(made.database_url.removeprefix("sqlite:///"), initial)
        return
    name = f"initial_{uuid.uuid4().hex}"
    _execute(_server(), f"CREATE DATABASE {name} TEMPLATE {_name(made)}")
    atexit.register(_drop, _server(), name)
    initial.write_text(name)


def _drop(server: str, name: str) -> None:
    """Drop a database, unless its server has gone already."""
    with suppress(psycopg.OperationalError):
        _execute(server, f"DROP DATABASE {name}")


def _name(made: Service) -> str:
    return urlsplit(made.database_url).path.strip("/")


def _execute(server: str, statement: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement.encode())
