"""Where a curriculum bends: the few steps that stand for all of them, as everything in between is nearly linear."""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice, pairwise
from typing import Any

COARSE, FINE = 8, 64
"""Parts into which a run is cut: where something moves all the time, and to notice that something does."""
MOST = 12
"""A schedule with more changes than this moves gradually."""

Schedule = Callable[[int], Any]


def knots(schedules: Iterable[Schedule], steps: int) -> list[int]:
    """Steps from 0 to ``steps - 1``, ascending, between which every schedule is constant or about a line.

    A jump at step ``s`` gives ``s - 1`` and ``s``; a ramp its begin, middle and end, beside the even grid that every run has.
    """
    last = steps - 1
    found = {0, last, *_grid(last, COARSE)}
    for schedule in schedules:
        found |= _bends(schedule, last)
    return sorted(found)


def turns(schedules: Collection[Schedule], steps: int) -> list[int]:
    """The knots, and each step before ``steps`` that a schedule names, however soon the next one follows.

    Milestones are constant in between and ramps monotone: no value of theirs lies outside of those at the turns.
    """
    named = {step for schedule in schedules for step in _named(schedule) if step < steps}
    return sorted({*knots(schedules, steps), *named})


def _named(schedule: Schedule) -> Iterator[int]:
    """What ``milestones``, ``begin`` and ``end`` of a schedule say."""
    pairs = getattr(schedule, "milestones", ())
    steps = [pair[0] for pair in pairs if isinstance(pair, list | tuple)]
    yield from (step for step in (*steps, *(getattr(schedule, end, None) for end in ("begin", "end"))) if isinstance(step, int))


def _bends(schedule: Schedule, last: int) -> set[int]:
    jumps = list(islice(_changes(schedule, last), MOST + 1))
    if len(jumps) <= MOST:
        return {near for step in jumps for near in (step - 1, step)}
    end = last - next(_changes(lambda step: schedule(last - step), last)) + 1  # the first change seen from the end
    begin = jumps[0] - 1
    return {begin, (begin + end) // 2, end}


def _changes(schedule: Schedule, last: int) -> Iterator[int]:
    """Steps at which the value is not that of the step before; equal ends of a fine part mean that nothing happens in it."""
    for begin, end in pairwise(_grid(last, FINE)):
        yield from _search(schedule, begin, end)


def _search(schedule: Schedule, begin: int, end: int) -> Iterator[int]:
    if schedule(begin) == schedule(end):
        return
    if end == begin + 1:
        yield end
        return
    middle = (begin + end) // 2
    yield from _search(schedule, begin, middle)
    yield from _search(schedule, middle, end)


def _grid(last: int, parts: int) -> list[int]:
    return sorted({last * part // parts for part in range(parts + 1)})
