"""Runs a line of a crontab that is still in charge, and records it: ``manage.py jobledger wrap -- LINE``.

For cron, nothing changes: the line gets the same standard input, environment and working directory, cron gets
the same bytes and the same exit code or signal, and signals are passed on. Three processes share the work:

- The *relay* (``relay``) is the one that cron has started. It starts the line first, and then only passes on
  what the line writes. It imports nothing but a few modules of the standard library, so whatever is wrong
  with the project's settings or its database, the line runs.
- The *recorder* (``recording``) is forked from it. It imports Django, creates the run, and saves output,
  heartbeats and the end. What goes wrong there is reported to syslog: cron would mail whatever is printed.
- The line is a child of the relay, in its process group, as if cron had started it.

A job on the line (``manage.py JOB``) finds the relay among its ancestors (``enclosing``) and continues the
same run, instead of creating another one.
"""
