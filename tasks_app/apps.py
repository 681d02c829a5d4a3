"""The place for your jobs: commands, and the models that they use."""

from django.apps import AppConfig


class TasksAppConfig(AppConfig):
    """The sample domain, to be replaced by your own."""

    name = "tasks_app"
    verbose_name = "Sample data"
