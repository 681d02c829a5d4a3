"""What the jobs write that are compared."""

import os
import time
from pathlib import Path

LINE = "a line of ordinary length, as jobs write them, number "


def note_time(kind: str, seconds: float | None = None) -> None:
    """Append a time, by default the current one, to the file of its kind beside ``TRACE_FILE``."""
    at = time.time() if seconds is None else seconds
    with Path(f"{os.environ['TRACE_FILE']}-{kind}").open("a") as file:
        file.write(f"{at!r}\n")
