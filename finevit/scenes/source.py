"""``Scenes``: the embedded data as a source of records."""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from annotated_types import Ge
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from finevit.contracts import Record, Source
from finevit.registry import DATASETS
from finevit.scenes.backgrounds import listed, photographs
from finevit.scenes.captions import write_captions
from finevit.scenes.ground_truth import Truth, find_truth, make_facts, make_regions
from finevit.scenes.layout import Planner
from finevit.scenes.levels import find_level
from finevit.scenes.painting import Painting, paint
from finevit.scenes.rng import SPLITS, Dice
from finevit.scenes.sprites import SIDE, have_drawings, load_atlas, mip
from finevit.scenes.vocabulary import things
from finevit.suggest import did_you_mean

_PICTURE, _WORDING = 0, 1


@DATASETS.register_module()
class Scenes(Source):
    """Drawn scenes that know everything about themselves, made on the fly.

    Scene ``index`` is a pure function of (``level``, ``split``, ``seed``, ``index``, ``max_side``) and of the
    installed OpenMoji; the splits never share a scene. Images are RGB ``uint8 [height, width, 3]`` with sides in
    ratios from 1 : 3 to 3 : 1.

    Boxes and ``label_map`` tell what is *visible*: a box is the tight extent of an object's visible pixels. Every
    object that is painted is listed; those that would be nearly hidden are never painted.

    Args:
        level: a name in ``LEVELS``.
        split: ``train``, ``val`` or ``test``.
        length: how many scenes there are.
        seed: another seed gives another set of scenes.
        max_side: no image side is longer than this many pixels; None leaves the level's sizes.
        captioners: which captions count (``long``, ``short``), and with what weight one is drawn, where the transforms do not say;
            None: all, alike.
    """

    def __init__(
        self,
        *,
        level: str = "easy",
        split: str = "train",
        length: PositiveInt = 100_000,
        seed: NonNegativeInt = 0,
        max_side: Annotated[int, Ge(64), "a side in pixels"] | None = None,
        captioners: Mapping[str, NonNegativeFloat] | None = None,
    ) -> None:
        if split not in SPLITS:
            hint = did_you_mean(str(split), SPLITS)
            raise ValueError(f"split={split!r} is not a split of the scenes{hint}: choose one of {', '.join(SPLITS)}.")
        self.level, self.split, self.seed, self.max_side, self.captioners = level, split, seed, max_side, captioners
        self._level, self._length = find_level(level), length
        self._things = things(self._level.classes, drawings=have_drawings())
        self.classes = [thing.name for thing in self._things]
        if self._level.photos:
            photographs()  # those that are missing are told here, not in each worker
        self._atlas: np.ndarray | None = load_atlas(self._things)
        self._planner = Planner(level=self._level, things=self._things, extents=_extents(self._atlas), max_side=max_side)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Record:
        if not -self._length <= index < self._length:
            raise IndexError(f"scene {index} of {self._length}")
        index %= self._length
        painting, truth = self.look(index)
        return Record(
            id=f"{self.level}-{self.split}-{self.seed}-{index}",
            image=painting.image,
            captions=write_captions(self._dice(index, _WORDING), truth),
            regions=make_regions(truth, painting),
            label_map=painting.label_map,
            instance_map=painting.instance_map,
            facts=make_facts(truth, painting),
        )

    def look(self, index: int) -> tuple[Painting, Truth]:
        """A painted scene, and what is true of it: what a record is made of."""
        if self._atlas is None:
            self._atlas = load_atlas(self._things)
        plan = self._planner(self._dice(index, _PICTURE))
        painting = paint(plan, self._atlas, self._level.visible)
        return painting, find_truth(plan, painting, self._things)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a scene that is not drawn."""
        return self._planner.canvas(self._dice(index, _PICTURE))

    def _dice(self, index: int, purpose: int) -> Dice:
        return Dice(seed=self.seed, level=self.level, split=self.split, index=index, purpose=purpose)

    def __getstate__(self) -> dict:
        """Worker processes map the atlas from disk again rather than receive a copy."""
        return {**self.__dict__, "_atlas": None}

    def describe(self) -> str:
        """One line for people."""
        parts = "OpenMoji drawings" if have_drawings() else "procedural shapes"
        if self._level.photos:
            parts += f", {listed()}"
        scenes = f"embedded scenes, level {self.level}, {self.split}"
        return f"{scenes}: {self._length} scenes of {len(self.classes)} classes, {parts}"


def _extents(atlas: np.ndarray) -> np.ndarray:
    """Widths and heights of sprites relative to the longer side: ``[things, 2]``."""
    alpha = np.stack([mip(sprite, SIDE // 4)[..., 3] for sprite in atlas]) >= 128
    sizes = np.stack([alpha.any(axis=1).sum(axis=1), alpha.any(axis=2).sum(axis=1)], axis=1)
    return sizes / sizes.max(axis=1, keepdims=True)
