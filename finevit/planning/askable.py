"""Whether the data has what the tasks of Stage III ask for, looked up before a run rather than found out in it."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from typing import NamedTuple, cast

from mmengine.logging import print_log
from torch.utils.data import DataLoader

from finevit.contracts import BadSample, Source
from finevit.datasets.transforms.dialogue_transforms import AskQuestions
from finevit.planning.scheduled import transforms_over
from finevit.scenes.source import Scenes
from finevit.tasks.task import asked_tasks

LOOKED_AT, ENOUGH = 200, 20
"""Records that are looked at, and how many are enough where each of them has questions at every step."""


class Seen(NamedTuple):
    """Of the records that were looked at: the tasks that each has a question of, and how many have each kind of annotation."""

    tasks: list[set[str]]
    kinds: Counter[str]

    def without(self, asked: Set[str]) -> int:
        """Records that have no question of these tasks."""
        return sum(not asked & tasks for tasks in self.tasks)

    def told(self) -> str:
        """What the data has, for people."""
        needed = dict.fromkeys(task.need.words for task in asked_tasks().values())
        kinds = ", ".join(f"{kind}: {self.kinds[kind]:,}" for kind in needed)
        return f"of {len(self.tasks):,} records looked at have {kinds}"


def check_asked(path: str, loader: DataLoader, *, steps: int = 1) -> None:
    """Looks at the data behind the ``AskQuestions`` of a loader, ``path`` in the config.

    ``ValueError`` where at some step no record has a question that is asked; a warning where single tasks or records have none.
    """
    over, source = transforms_over(loader, steps), getattr(loader.dataset, "source", cast(Source, None))
    for index, ask in enumerate(over.get(0, ())):
        if isinstance(ask, AskQuestions):
            asked = dict(_asked({step: transforms[index].task_weights for step, transforms in over.items()}))
            seen = look(source, ask, list(asked.values()))
            if seen.tasks:
                _judge(f"{path}.dataset.transforms.{index}.task_weights", source, asked, seen)


def look(source: Source, ask: AskQuestions, asked: list[Set[str]]) -> Seen:
    """Records from all over the source."""
    seen, most = Seen([], Counter()), min(ENOUGH if isinstance(source, Scenes) else LOOKED_AT, len(source))  # scenes are drawn
    for place in range(most):
        if len(seen.tasks) >= ENOUGH and not any(map(seen.without, asked)) and set().union(*asked) <= set().union(*seen.tasks):
            break
        with suppress(BadSample):
            record = source[place * len(source) // most]
            seen.tasks.append(ask.tasks_of(record))
            seen.kinds.update({task.need.words for task in asked_tasks().values() if task.need.has(record)})
    return seen


def _asked(over: Mapping[int, Mapping[str, float]]) -> Iterator[tuple[int, Set[str]]]:
    """The steps at which other tasks are asked, each with the tasks."""
    last = None
    for step, weights in over.items():
        tasks = frozenset(task for task, weight in weights.items() if weight)
        if tasks != last:
            yield step, tasks
        last = tasks


def _judge(setting: str, source: Source, asked: Mapping[int, Set[str]], seen: Seen) -> None:
    there = set().union(*seen.tasks)
    about = f"{source.describe()}: {seen.told()}"
    for step, tasks in asked.items():
        if not tasks & there:
            needed = ", ".join(f"{name} ({task.need.words})" for name, task in asked_tasks().items() if name in tasks)
            raise ValueError(
                f"{about}. At step {step:,} only {needed} is asked for, of which there is no question; {_remedy(setting, there)}"
            )
    absent = [task for task in asked_tasks() if task in set().union(*asked.values()) - there]
    if absent:
        _warn(f"{about}; no question is found of {', '.join(absent)} ({setting}): they are not asked")
    step, most = max(((step, seen.without(tasks)) for step, tasks in asked.items()), key=lambda each: each[1])
    if most:
        _warn(
            f"{about}; {most:,} of them have no question of {', '.join(sorted(asked[step]))}, which are asked at step {step:,}: "
            "such records are replaced by others and count as bad samples (BadSamplesHook.max_share)"
        )


def _warn(said: str) -> None:
    print_log(said, logger="current", level=logging.WARNING)


def _remedy(setting: str, there: Set[str]) -> str:
    """Options that ask for what there is."""
    if not there:
        return "nothing can be asked of this data: give captions, or regions with phrases or texts (docs/data.md)"
    weights = " ".join(f"{setting}.{task}=1" for task in asked_tasks() if task in there)
    schedule = "train_dataloader.batch_sampler.schedules.AskQuestions=None " if setting.startswith("train_dataloader") else ""
    return f"ask for what there is, by --cfg-options {schedule}{weights}, or give data that has the others (docs/data.md)"
