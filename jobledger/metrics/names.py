"""The values of labels that do not come from the code, such as the names of lines of crontabs.

Each is a series that Prometheus keeps, and anybody can name a line by its date. So only the first ones are
values of their own, and all others are one.
"""

from collections.abc import Container, Iterable

MAX_OTHERS = 100
OTHERS = "(others)"


class Names:
    def __init__(self, declared: Container[str], taken: Iterable[str] = ()) -> None:
        """``declared`` names do not count towards the limit; ``taken`` ones do, and are kept in any case."""
        self._declared, self.taken = declared, frozenset(taken)
        self._others = {name for name in self.taken if name not in declared} - {OTHERS}

    def of(self, name: str) -> str:
        """The name, which is then taken, or OTHERS if too many are."""
        if name not in self._declared and name not in self._others:
            if len(self._others) >= MAX_OTHERS:
                return OTHERS
            self._others.add(name)
        return name
