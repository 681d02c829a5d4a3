"""Calendars: named sets of days and times that schedules leave out, or to which they are limited. Pure.

A ``Calendar`` is written as lines of text (``entries``); ``CalendarUse`` is what a schedule makes of
calendars. Everything here is about local time: a day is a day in the schedule's time zone.
"""
