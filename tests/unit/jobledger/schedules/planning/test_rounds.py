"""Which ends of predecessors belong together follows from when they were due, not from when anybody looks."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from jobledger.schedules.planning.rounds import End, PredecessorEnds, Round, rounds, superfluous
from tests.unit.jobledger.schedules.times import utc

START = utc("2026-03-02 00:00")
HOUR = timedelta(hours=1)


def end(hour: int, *, counts: bool = True, slot: int | None = None, after: int = 0) -> End:
    """The end of what was due at this hour, so many hours later."""
    due = START + hour * HOUR
    return End(
        due=due,
        slot=due if slot is None else START + slot * HOUR,
        counts=counts,
        ended_at=due + after * HOUR,
    )


def ends(*hours: int, open_since: int | None = None) -> PredecessorEnds:
    is_open = None if open_since is None else START + open_since * HOUR
    return PredecessorEnds(ends=[end(hour) for hour in hours], open_since=is_open)


def hours(found: Sequence[Round]) -> list[tuple[int, ...]]:
    """The hours at which the deciding runs of each round were due."""
    return [tuple((each.due - START) // HOUR for each in one.deciding) for one in found]


def test_with_one_predecessor_each_end_is_a_round() -> None:
    assert hours(list(rounds([ends(1, 2, 5)]))) == [(1,), (2,), (5,)]


def test_with_no_predecessor_there_is_none() -> None:
    assert list(rounds([])) == []


def test_equal_times_belong_together() -> None:
    assert hours(list(rounds([ends(1, 2), ends(1, 2, 3)]))) == [(1, 1), (2, 2)]


def test_a_round_waits_for_each_predecessor() -> None:
    assert list(rounds([ends(1), ends()])) == []


def test_a_round_waits_for_what_was_due_up_to_its_time_and_has_not_ended() -> None:
    assert list(rounds([ends(1, open_since=3), ends(3)])) == []
    assert hours(list(rounds([ends(1, open_since=4), ends(3)]))) == [(1, 3)]


def test_of_a_predecessor_that_is_due_more_often_the_last_end_decides() -> None:
    hourly, daily = ends(*range(1, 30)), ends(3, 27)
    assert hours(list(rounds([hourly, daily]))) == [(3, 3), (27, 27)]


def test_different_times_are_matched_by_the_later_one() -> None:
    found = list(rounds([ends(3, 27), ends(4, 28)]))
    assert hours(found) == [(3, 4), (27, 28)]
    assert [each.slot for each in found] == [START + 4 * HOUR, START + 28 * HOUR]


def test_a_failure_ends_its_round_without_a_start_and_leaves_the_next_one_alone() -> None:
    failed = PredecessorEnds(ends=[end(1, counts=False), end(2)])
    assert [each.starts for each in rounds([failed, ends(1, 2)])] == [False, True]


def test_an_earlier_failure_of_a_frequent_predecessor_decides_nothing() -> None:
    hourly = PredecessorEnds(ends=[end(1, counts=False), end(2), end(3)])
    assert [each.starts for each in rounds([hourly, ends(3)])] == [True]


def test_a_round_is_complete_with_its_last_end() -> None:
    late = PredecessorEnds(ends=[end(1, after=7)])
    assert [each.completed_at for each in rounds([late, ends(1)])] == [START + 8 * HOUR]


def test_a_moved_run_counts_when_it_was_due_and_passes_on_its_own_slot() -> None:
    moved = PredecessorEnds(ends=[end(30, slot=6)])
    (found,) = rounds([moved, ends(29)])
    assert (found.due, found.slot) == (START + 30 * HOUR, START + 6 * HOUR)


# Properties

HOURS = st.lists(st.integers(0, 12), unique=True, max_size=8).map(sorted)
HISTORIES = st.lists(
    HOURS.flatmap(lambda due: st.tuples(st.just(due), st.integers(0, 2**8))), min_size=1, max_size=3
)
many = settings(max_examples=80)


def history(case: tuple[list[int], int]) -> list[End]:
    due, bits = case
    return [end(hour, counts=bool(bits >> place & 1)) for place, hour in enumerate(due)]


@many
@given(HISTORIES)
def test_each_end_belongs_to_one_round_at_most_and_rounds_are_in_order(
    cases: list[tuple[list[int], int]],
) -> None:
    known = [PredecessorEnds(ends=history(case)) for case in cases]
    found = list(rounds(known))
    for place, each in enumerate(known):
        deciding = [one.deciding[place] for one in found]
        assert deciding == sorted(set(deciding), key=lambda one: one.due)
        assert set(deciding) <= set(each.ends)
    times = [each.due for each in found]
    assert times == sorted(set(times))


@many
@given(HISTORIES)
def test_nothing_that_was_due_by_a_rounds_time_is_left_for_the_next(
    cases: list[tuple[list[int], int]],
) -> None:
    known = [PredecessorEnds(ends=history(case)) for case in cases]
    for one in rounds(known):
        for each, deciding in zip(known, one.deciding, strict=True):
            assert deciding.due == max(end.due for end in each.ends if end.due <= one.due)


class Watcher:
    """Looks at predecessors again and again while their runs end, and remembers what beat stores."""

    def __init__(self, histories: list[list[End]]) -> None:
        self.histories = histories
        self.ended: list[set[datetime]] = [set() for _ in histories]
        self.counted: list[datetime | None] = [None] * len(histories)
        self.rounds: list[Round] = []

    def known(self) -> list[PredecessorEnds]:
        found = []
        for place, all_ends in enumerate(self.histories):
            counted, ended = self.counted[place], self.ended[place]
            rest = [each for each in all_ends if counted is None or each.due > counted]
            is_open = [each.due for each in rest if each.due not in ended]
            done = [each for each in rest if each.due in ended]
            found.append(PredecessorEnds(ends=done, open_since=min(is_open, default=None)))
        return found

    def look(self, now: datetime) -> None:
        known = self.known()
        found = list(rounds(known))
        self.rounds += found
        if found:
            self.counted = [each.due for each in found[-1].deciding]
            return
        for place, until in enumerate(superfluous(known, now)):
            self.counted[place] = until or self.counted[place]


@many
@given(HISTORIES, st.randoms(use_true_random=False), st.floats(0, 1))
def test_rounds_depend_neither_on_the_order_of_ends_nor_on_when_beat_looks(
    cases: list[tuple[list[int], int]], random: Random, share: float
) -> None:
    histories = [history(case) for case in cases]
    expected = list(rounds([PredecessorEnds(ends=each) for each in histories]))
    watcher = Watcher(histories)
    order = [(place, each.due) for place, one in enumerate(histories) for each in one]
    random.shuffle(order)
    for place, due in order:
        watcher.ended[place].add(due)
        if random.random() < share:
            # Nothing that has not been recorded is due before this.
            watcher.look(START + 13 * HOUR)
    watcher.look(START + 13 * HOUR)
    assert watcher.rounds == expected


def test_what_a_frequent_predecessor_did_before_its_last_end_need_not_be_kept() -> None:
    now = START + 5 * HOUR
    assert superfluous([ends(1, 2, 3, 4), ends(open_since=28)], now) == [START + 3 * HOUR, None]
    assert superfluous([ends(1, 2, 3, 4), ends(open_since=2)], now) == [START + HOUR, None]
    assert superfluous([ends(1, 2, open_since=3), ends(3)], now) == [None, None]
