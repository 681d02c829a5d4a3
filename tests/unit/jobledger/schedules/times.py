"""Builders for tests: concise times and rules."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.interval import Interval


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cron(expression: str, zone: str = "UTC") -> Cron:
    return Cron(expression=expression, zone=ZoneInfo(zone))


def every(*, anchor: str = "2026-01-01", **duration: int) -> Interval:
    return Interval(every=timedelta(**duration), anchor=utc(anchor))


def local_times(times: list[datetime], zone: str) -> list[str]:
    """Local times in the zone, with their offsets."""
    return [time.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes") for time in times]
