"""Streams for commands."""

import io


class Terminal(io.StringIO):
    """A stream that claims to be a terminal, and keeps what is written to it."""

    def isatty(self) -> bool:
        """Always."""
        return True
