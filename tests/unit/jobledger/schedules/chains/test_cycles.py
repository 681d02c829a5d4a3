"""A cycle is found wherever it is, and is named by its path."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from jobledger.schedules.chains.cycles import cycle_in, path_of

NAMES = st.sampled_from("abcdef")
EDGES = st.dictionaries(NAMES, st.lists(NAMES, max_size=3), max_size=6)


def test_a_chain_is_no_cycle() -> None:
    assert cycle_in({"c": ["a", "b"], "b": ["a"]}) == []


def test_the_path_of_a_cycle_is_named() -> None:
    edges = {"z": ["a"], "a": ["x", "b"], "b": ["c"], "c": ["a"]}
    assert path_of(cycle_in(edges)) == "'a' after 'b' after 'c' after 'a'"


def test_what_starts_after_itself_is_a_cycle() -> None:
    assert cycle_in({"a": ["a"]}) == ["a", "a"]


def test_a_cycle_elsewhere_is_not_reached_from_the_start() -> None:
    assert cycle_in({"a": ["b"], "x": ["y"], "y": ["x"]}, start="a") == []


def test_a_long_chain_is_followed_to_its_end() -> None:
    edges = {str(number): [str(number + 1)] for number in range(5000)}
    assert cycle_in(edges) == []
    assert len(cycle_in({**edges, "5000": ["0"]})) == 5002


@settings(max_examples=100)
@given(EDGES)
def test_a_cycle_is_found_if_and_only_if_there_is_one(edges: dict[str, list[str]]) -> None:
    found = cycle_in(edges)
    assert bool(found) == any(name in reachable(name, edges) for name in edges)
    assert all(after in edges[name] for name, after in pairwise(found))
    assert found[:1] == found[-1:]


def reachable(name: str, edges: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    rest = list(edges.get(name, ()))
    while rest:
        each = rest.pop()
        if each not in found:
            found.add(each)
            rest += edges.get(each, ())
    return found
