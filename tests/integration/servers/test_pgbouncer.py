"""The whole service with PostgreSQL behind PgBouncer in transaction mode, whose few connections all share."""

import getpass
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.integration.database import is_sqlite, rows
from tests.integration.ledger import call, call_lasting, let_end, output_of, wait_for_end, wait_for_status
from tests.integration.schedules.beats import settled, this_second
from tests.integration.service import Service, service
from tests.integration.slots import SECOND, Span, newest_slot, perfect, schedule_every_second
from tests.ports import free_port
from tests.requirements import pgbouncer_or_skip
from tests.waiting import wait_until
from tests.with_postgres import answers

pytestmark = pytest.mark.every_database

POOL_SIZE = 3


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    """A service whose worker keeps more connections than the pool has."""
    if not os.environ.get("DATABASE_URL", "").startswith("postgres"):
        pytest.skip("only PostgreSQL has a pooler")
    with service(WORKER_CONCURRENCY="5", HEARTBEAT_SECONDS="0.3") as started:
        assert not is_sqlite(started)
        with pgbouncer(started) as url:
            started.variables.update(DATABASE_URL=url, TRANSACTION_POOLING="true")
            started.start_worker()
            started.start_beat()
            yield started
            started.stop_all()


@contextmanager
def pgbouncer(running: Service) -> Iterator[str]:
    """Start it in front of the service's database; yields the database's URL there."""
    server, port = conninfo_to_dict(running.database_url), free_port()
    configuration = running.folder / "pgbouncer.ini"
    configuration.write_text(f"""\
[databases]
* = host={server["host"]} port={server["port"]} user={server["user"]} password={server["password"]}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {POOL_SIZE}
""")
    # It refuses to run as root, but reads its configuration first.
    user = ("-u", "nobody") if getpass.getuser() == "root" else ()
    running.start("pgbouncer", pgbouncer_or_skip(), "--quiet", *user, str(configuration))
    url = f"postgres://{server['user']}:any@127.0.0.1:{port}/{server['dbname']}"
    wait_until(lambda: answers(url), what="PgBouncer answers")
    yield url


def sessions(running: Service) -> int:
    """How many connections to the service's database the server has, apart from this one."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = ? AND pid <> pg_backend_pid()"
    return int(rows(running, others, conninfo_to_dict(running.database_url)["dbname"])[0][0])


def test_slots_run_once_and_the_pool_is_shared(running: Service) -> None:
    schedule_every_second(running, "pooled", count=2)
    since = wait_until(lambda: newest_slot(running, "pooled"), what="a run succeeds") + SECOND
    wait_until(lambda: this_second() > since + 3 * SECOND, what="more slots are due")
    busiest = sessions(running)
    span = Span(since=since, until=since + 3 * SECOND)
    assert settled(running, "pooled", span) == perfect(len(span) * 2)
    assert 1 <= busiest <= POOL_SIZE


def test_runs_are_recorded_with_their_output_and_listed(running: Service) -> None:
    run = call(running, "probe", words=["hello"])
    assert wait_for_end(running, run).status == "succeeded"
    assert "hello" in output_of(running, run)
    listed = running.manage("jobledger", "runs", "--json", "--job", "probe")
    assert str(run) in listed.stdout, listed.stderr


def test_a_job_that_is_running_is_not_started_again(running: Service) -> None:
    first = call_lasting(running, "lasting")
    wait_for_status(running, first, "running")
    second = running.manage("lasting")
    with let_end(running, "lasting"):
        assert wait_for_end(running, first).status == "succeeded"
    assert second.returncode != 0
    assert str(first)[:8] in second.stderr


def test_nothing_that_a_worker_does_to_its_connection_reaches_others(running: Service) -> None:
    """Where it has one for itself, it has PostgreSQL prepare statements, and prefer indexes."""
    assert wait_for_end(running, call(running, "probe")).status == "succeeded"
    left = "SELECT current_setting('enable_seqscan'), (SELECT count(*) FROM pg_prepared_statements)"
    with ExitStack() as stack:
        for _ in range(POOL_SIZE):
            pooled = stack.enter_context(psycopg.connect(running.variables["DATABASE_URL"]))
            pooled.prepare_threshold = None
            # Its transaction keeps the server's connection, so that the next one gets another.
            assert pooled.execute(left).fetchall() == [("on", 0)]
            # By this, a worker knows a pooler also if the project does not tell.
            assert pooled.execute("SELECT pg_backend_pid()").fetchall() != [(pooled.info.backend_pid,)]
