"""Crontabs: what their lines mean to Debian's cron, and which schedules can take their place.

``lines`` reads the file, ``shell`` and ``syntax`` read its commands as the shell would, and ``calls`` finds
the call of ``manage.py`` in them. They are pure: no database, no clock, no environment.
"""
