"""Streams as commands find them."""

import io


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and keeps what is written to it."""

    def isatty(self) -> bool:
        """Always."""
        return True
