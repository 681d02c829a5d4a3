"""Sets up Django in the recorder.

Imports little, since the relay imports it.
"""

import gc
import os
import sys

from jobledger.wrap.relay import Task


def record(task: Task) -> None:
    """Set up Django as ``manage.py`` would, and record the run."""
    options = task.line.options
    if module := options.get("--settings"):
        os.environ["DJANGO_SETTINGS_MODULE"] = module
    if path := options.get("--pythonpath"):
        sys.path.insert(0, path)
    # What is loaded first is no garbage: see ``jobledger.management.command_line``.
    gc.disable()
    import django

    django.setup()
    from jobledger.wrap import recording

    gc.freeze()
    gc.enable()
    recording.record(task)
