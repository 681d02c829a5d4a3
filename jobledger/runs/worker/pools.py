"""Which of Celery's pools can execute jobs: prefork, with a process for each job at a time, and threads.

With ``prefork``, it is Celery's own pool, which may also send a child its next message before that has
returned the result of the previous one (``messages.ahead``). With ``threads``, a worker gets a pool of this
service, in which the runs share a process (``thread_pool``). With any other pool it does not start. ``solo``
executes jobs in the main process: it would neither be there to record the death of a job's process, nor see
messages, a shutdown or remote control before the job has ended. In greenlets, a job that computes would keep
the heartbeats of all others from being sent, and what their monkey patches change is more than can be kept
apart.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from celery.apps.worker import Worker
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool
from celery.concurrency.thread import TaskPool as CeleryThreadPool
from celery.signals import worker_init, worker_shutdown

from jobledger.runs.processes import shared_process
from jobledger.runs.worker import pool_internals

USE_PREFORK = "Use --pool prefork, which is the default"
ONE_AT_A_TIME = f"{USE_PREFORK}; for one job at a time, add --concurrency 1."
FOR_WAITING = f"{USE_PREFORK}, or --pool threads for jobs that mostly wait."
REASONS = {
    "solo": f"in which it could neither end a job nor record its death. {ONE_AT_A_TIME}",
    "gevent": f"in which one job that computes would stop the heartbeats of all others. {FOR_WAITING}",
    "eventlet": f"in which one job that computes would stop the heartbeats of all others. {FOR_WAITING}",
}
UNKNOWN = f"which is not known to be able to end a job without its worker. {FOR_WAITING}"
REFUSAL = "This worker would execute jobs with the pool {pool}, {reason}"


def connect() -> None:
    worker_init.connect(choose_pool, dispatch_uid="jobledger.pools.choose")


def choose_pool(sender: Any = None, **kwargs: object) -> None:
    """Have a worker use this service's pools; with one that cannot execute jobs, exit with code 1.

    Workers that tests embed, by Celery's ``start_worker``, are no ``celery worker``, and may use any.
    """
    if not isinstance(sender, Worker):
        return
    worker: Any = sender
    pool: Any = get_implementation(getattr(worker, "pool_cls", TaskPool))
    if issubclass(pool, CeleryThreadPool):
        _execute_in_threads(sender)
    elif pool is TaskPool:
        worker.pool_cls = pool_internals.TaskPool
    elif not issubclass(pool, TaskPool):
        name = pool.__module__.rpartition(".")[2]
        sys.exit(REFUSAL.format(pool=name, reason=REASONS.get(name, UNKNOWN)))
    worker.terminate = partial(_terminate, worker, worker.terminate)


def _execute_in_threads(worker: Any) -> None:
    # Not before: what it imports, a worker with processes does not need.
    from jobledger.runs.worker.thread_pool import TaskPool as ThreadPool

    ThreadPool.hostname = str(worker.hostname)
    worker.pool_cls = ThreadPool
    shared_process.begin()


def _terminate(worker: Any, terminate: Callable[..., None], **options: Any) -> None:
    """Shut down as on SIGQUIT, and send the signal that Celery sends in all other cases.

    Otherwise, the ledger would not hear that the worker has ended. A pool of threads waits for it: only then
    may the process exit, whatever threads there are.
    """
    try:
        terminate(**options)
    finally:
        worker_shutdown.send(sender=worker)
