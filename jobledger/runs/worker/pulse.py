"""A signal that a worker's main process sends every two seconds while it is connected to its broker.

Celery has one as well, ``heartbeat_sent``, but does not send it with ``--without-heartbeat``.
"""

from celery.utils.dispatch import Signal

SECONDS = 2.0

pulse = Signal(name="jobledger.pulse")
