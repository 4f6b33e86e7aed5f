"""What a checkpoint holds, changed in one place: other kinds, numbers out of range, parts that lack."""

import copy
import math
import random
from collections.abc import Iterator
from typing import Any

import torch

ODD: tuple[Any, ...] = (
    *(None, 5, -1, 2**70, math.nan, math.inf, True, "x", "", b"x", [], [1], {}, {"x": 1}, (), {1}),
    *(torch.zeros(0), torch.zeros(3), torch.zeros(2, 2, dtype=torch.int64)),
)
ABSENT = object()


def places(node: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where something stands in nested dicts and lists; of the weights and the state of parameters a few."""
    children = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    few = len(path) in (1, 2) and path[0] in ("state_dict", "optimizer") and len(children) > 4
    for key, child in children[:4] if few else children:
        yield (*path, key)
        yield from places(child, (*path, key))


def mutated(whole: dict, count: int, *, seed: int = 0) -> Iterator[tuple[str, dict]]:
    """``count`` pairs of what was done and what came of it: every odd value at the upper places, then at random."""
    chance = random.Random(seed)
    found = list(places(whole))
    upper = [(path, value) for path in found if len(path) == 1 for value in (ABSENT, 5, "x", [1], {"x": 1}, None)]
    chance.shuffle(upper)
    picked = (*upper[: count // 3], *((chance.choice(found), chance.choice((*ODD, ABSENT))) for _ in range(count)))
    for path, value in picked[:count]:
        yield f"{'.'.join(map(str, path))} {'absent' if value is ABSENT else repr(value)}", _changed(whole, path, value)


def _changed(whole: dict, path: tuple, value: Any) -> dict:
    content = copy.deepcopy(whole)
    node: Any = content
    for key in path[:-1]:
        node = node[key]
    if value is ABSENT:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return content
