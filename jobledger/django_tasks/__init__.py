"""A backend for Django's tasks: ``{"BACKEND": "jobledger.django_tasks.JobledgerBackend"}`` in ``TASKS``.

Each ``enqueue`` is a run of the function's job, and each result is made from a run. ``jobs.functions`` finds
the functions; here are the backend, which models may import before Django is set up, and what it needs later:
``enqueueing`` makes runs, ``execution`` calls functions for them, and ``results`` reads them.

Importing this raises ImportError if there is neither ``django.tasks`` nor the backport.
"""

from jobledger.django_tasks.backend import JobledgerBackend
from jobledger.jobs.functions import declare

__all__ = ["JobledgerBackend", "declare"]
