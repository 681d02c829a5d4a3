"""Ends of ordinary tasks that workers without this service execute: read from Celery's result backend.

1. ``awaiting``: when the message is sent, ``look_at`` is set on its run, and the message leaves it to the
   task whether its result is stored. If no worker of this project knows the task, its run becomes ``sent``,
   and nobody is told of that yet.
2. ``looking``: beat looks for the results that are due, in a thread of its own
   (``alerts.sending.background``), many at a time and ever less often. If another beat looks as well, each
   run is claimed by one of them.
3. An end is recorded as that of any other run, by an update on the condition that the end is still awaited.
   So it does not matter if a worker of this project has begun the task after all.
4. After a day without a result, or if there can be none, the run remains ``sent``, and says why.

``backend`` reads the results. Nothing else waits for the result backend.
"""
