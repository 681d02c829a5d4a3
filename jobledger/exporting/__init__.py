"""Exports schedules, so that nobody is locked in: to a crontab, or to systemd's timers.

``schedules`` says what is to be started when, and what of a schedule neither can express; ``crontabs`` and
``units`` write it. Whatever is left out is listed, with the reason.
"""
