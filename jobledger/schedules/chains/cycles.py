"""Cycles among schedules that start after others. Pure."""

from collections.abc import Mapping, Sequence


def cycle_in(edges: Mapping[str, Sequence[str]], *, start: str = "") -> list[str]:
    """The names along a cycle, whose first is also its last; empty if there is none.

    ``edges`` has, for each name, those after which it starts. With ``start``, only cycles that can be reached
    from there are found.
    """
    done: set[str] = set()
    for name in [start] if start else edges:
        if found := _from(name, edges, done):
            return found
    return []


def _from(start: str, edges: Mapping[str, Sequence[str]], done: set[str]) -> list[str]:
    """Not recursive, since a chain may be longer than Python's stack."""
    path, rest = [start], [list(edges.get(start, ()))]
    while path:
        if not rest[-1]:
            done.add(path.pop())
            rest.pop()
            continue
        name = rest[-1].pop(0)
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            path.append(name)
            rest.append(list(edges.get(name, ())))
    return []


def path_of(cycle: Sequence[str]) -> str:
    """``a after b after a``; empty for no cycle."""
    return " after ".join(map(repr, cycle))
