"""Signals of a worker's main process: every two seconds while it is connected to its broker, and per message.

Celery has similar ones, but does not send ``heartbeat_sent`` with ``--without-heartbeat``, and
``task_received`` only for tasks that the worker knows.
"""

from celery.utils.dispatch import Signal

SECONDS = 2.0

pulse = Signal(name="jobledger.pulse")
message_taken = Signal(name="jobledger.message_taken")
