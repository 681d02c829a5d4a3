"""The service's tables."""

from tasks_app.jobs.models.process import ProcessKind, ServiceProcess
from tasks_app.jobs.models.run import Run, RunAttempt, RunOutput, Status, Stream, Trigger
from tasks_app.jobs.models.schedule import DeclaredSchedule, NextSlot, Pause, SchedulePolicy

__all__ = [
    "DeclaredSchedule",
    "NextSlot",
    "Pause",
    "ProcessKind",
    "Run",
    "RunAttempt",
    "RunOutput",
    "SchedulePolicy",
    "ServiceProcess",
    "Status",
    "Stream",
    "Trigger",
]
