"""The service's tables."""

from tasks_app.jobs.models.run import Run, RunOutput, Status, Stream, Trigger
from tasks_app.jobs.models.schedule import DeclaredSchedule

__all__ = ["DeclaredSchedule", "Run", "RunOutput", "Status", "Stream", "Trigger"]
