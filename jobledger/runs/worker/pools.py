"""A worker needs a process for each job: Celery's prefork pool. With any other, it does not start.

In threads, and in greenlets, a job could be neither interrupted while it waits nor killed, and what it leaves
behind would reach the jobs beside it. With ``solo``, nobody would be left to record the death of a job.
"""

import sys
from typing import Any

from celery.apps.worker import Worker
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool
from celery.signals import worker_init

REFUSAL = (
    "This worker would execute jobs with the pool {pool}, in which a job cannot be ended without its worker. "
    "Use --pool prefork, which is the default; for one job at a time, add --concurrency 1."
)


def connect() -> None:
    worker_init.connect(refuse_other_pools, dispatch_uid="jobledger.pools.refuse")


def refuse_other_pools(sender: Any = None, **kwargs: object) -> None:
    """Exit with code 1. Workers that tests embed, by Celery's ``start_worker``, are no ``celery worker``."""
    if isinstance(sender, Worker):
        pool: Any = get_implementation(getattr(sender, "pool_cls", TaskPool))
        if not issubclass(pool, TaskPool):
            sys.exit(REFUSAL.format(pool=pool.__module__.rpartition(".")[2]))
