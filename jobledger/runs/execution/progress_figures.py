"""A run's progress in words. Pure: the figures are as old as the last heartbeat, and are read against it."""

from datetime import timedelta

from jobledger.models import Run, Status


def described(run: Run) -> str:
    """Such as ``30 of 120 (25%), 2.5 a second, 0:00:36 left``; empty when the job counts nothing."""
    if run.progress_done is None:
        return ""
    rate = _per_second(run)
    parts = [_counted(run.progress_done, run.progress_total)]
    if rate:
        parts.append(f"{rate:,.1f} a second")
    if rate and run.progress_total is not None and run.status == Status.RUNNING:
        parts.append(_left(max(run.progress_total - run.progress_done, 0) / rate))
    return ", ".join(parts)


def _counted(done: int, total: int | None) -> str:
    if total is None:
        return f"{done:,}"
    share = f" ({done / total:.0%})" if total > 0 else ""
    return f"{done:,} of {total:,}{share}"


def _per_second(run: Run) -> float:
    if not (run.progress_done and run.started_at and run.heartbeat_at):
        return 0.0
    seconds = (run.heartbeat_at - run.started_at).total_seconds()
    return run.progress_done / seconds if seconds > 0 else 0.0


def _left(seconds: float) -> str:
    if seconds > timedelta(days=100).total_seconds():
        return "more than 100 days left"
    return f"{timedelta(seconds=round(seconds))} left"
