"""A RabbitMQ server as a process of a service, with a folder and ports of its own."""

import signal
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from kombu import Connection
from kombu.exceptions import OperationalError

from tests.integration.ledger import run_row
from tests.integration.service import Service
from tests.ports import free_port
from tests.requirements import rabbitmq_or_skip
from tests.waiting import wait_until

USER, PASSWORD = "jobs", "only-for-rabbitmq"
CONFIGURATION = f"""\
listeners.tcp.1 = 127.0.0.1:{{port}}
default_user = {USER}
default_pass = {PASSWORD}
disk_free_limit.absolute = 50MB
log.file = false
log.console = true
log.console.level = warning
"""
# How often it looks for workers that have not acknowledged a message, in milliseconds.
ADVANCED_CONFIGURATION = "[{rabbit, [{channel_tick_interval, 500}]}].\n"
# One scheduler that does not spin while it waits, and only the loopback for what other nodes would use.
ERLANG = "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


@dataclass(kw_only=True)
class RabbitMQ:
    """The server, which can be killed and started again with its data."""

    running: Service
    folder: Path
    port: int
    epmd_port: int
    distribution_port: int
    keeps_calls: bool = True

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        self.running.start("rabbitmq", rabbitmq_or_skip(), **self._environment)
        wait_until(self._answers, what="RabbitMQ answers")

    def kill(self) -> None:
        self.running.stop("rabbitmq", signal.SIGKILL)

    def kill_and_start(self) -> None:
        self.kill()
        self.start()

    def is_empty(self) -> bool:
        """Whether no message is waiting: it does not tell what workers have."""
        return self._ready() == 0

    def has_waiting(self, pks: Collection[UUID]) -> bool:
        """Whether as many messages are waiting as were sent for these: it does not tell which ones."""
        found = (run_row(self.running, pk) for pk in pks)
        again = sum(max(row.publish_count - 1, 0) for row in found if row)
        return self._ready() == len(pks) + again

    @contextmanager
    def consumer_timeout(self, seconds: int) -> Iterator[None]:
        """Close the channel of a worker that connects in the block and acknowledges a message too late."""
        self._set_consumer_timeout(seconds)
        yield
        self._set_consumer_timeout(1800)

    def _set_consumer_timeout(self, seconds: int) -> None:
        cookie = (self.folder / ".erlang.cookie").read_text()
        address = f"localhost:{self.distribution_port}"
        change = f"application set_env [rabbit,consumer_timeout,{1000 * seconds}]"
        subprocess.run(
            ("erl_call", "-address", address, "-c", cookie, "-a", change), check=True, capture_output=True
        )

    def _ready(self) -> int:
        with Connection(self.url) as connection:
            channel: Any = connection.channel()
            return int(channel.queue_declare("celery", passive=True).message_count)

    def start_epmd(self) -> None:
        """Start the name server that Erlang needs; otherwise, RabbitMQ would start one that stays."""
        self.running.start("epmd", "epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port))

    @property
    def _environment(self) -> dict[str, str]:
        (self.folder / "rabbitmq.conf").write_text(CONFIGURATION.format(port=self.port))
        (self.folder / "advanced.config").write_text(ADVANCED_CONFIGURATION)
        (self.folder / "enabled_plugins").write_text("[].\n")
        return {
            "HOME": str(self.folder),
            "RABBITMQ_NODENAME": "jobs@localhost",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # The script is replaced by the server, instead of waiting for it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _answers(self) -> bool:
        assert self.running.is_running("rabbitmq"), self.running.log("rabbitmq")
        try:
            with Connection(self.url, connect_timeout=5) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0)
                return True
        except (OperationalError, OSError):
            return False


@contextmanager
def rabbitmq(running: Service) -> Iterator[RabbitMQ]:
    """Start it as the processes ``rabbitmq`` and ``epmd`` of the service, which uses it from then on."""
    folder = running.folder / "rabbitmq"
    folder.mkdir()
    made = RabbitMQ(
        running=running,
        folder=folder,
        port=free_port(),
        epmd_port=free_port(),
        distribution_port=free_port(),
    )
    made.start_epmd()
    try:
        made.start()
        running.variables.update(RABBITMQ_URL=made.url, REDIS_URL="")
        yield made
    finally:
        # It takes its time to stop in an orderly way, and nobody needs its data.
        if running.is_running("rabbitmq"):
            made.kill()
