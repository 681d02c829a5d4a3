"""Sentry: one event for each failed run, and check-ins for cron monitors.

What there is to report is a row, written in the transaction in which the run ends (``reports``), and sent by
beat in a thread of its own (``sending``). So no run waits for Sentry, and however a run ends, even if its
process was killed, there is exactly one event, from what is on record, without its secrets.
"""
