"""What the report says of a run besides its results: how it was made, what its config changes, what was planned and left out."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from finevit.config.loading import load_config
from finevit.engine.hooks.bad_samples_hook import BadSamplesHook
from finevit.engine.hooks.plan_hook import PlanHook
from finevit.planning.memory import GIB, peak
from finevit.planning.plan import device_name
from finevit.provenance import provenance
from finevit.visualization.report import Changes, SkippedSamples

OF_THE_RUN = ("work_dir", "resume", "launcher")
"""Settings that tell where and how a run was started, which the head of the page does."""


def made(runner: Runner) -> list[tuple[str, str]]:
    """The head of the page."""
    device = next(runner.model.parameters()).device
    begun = f"{Path(runner.work_dir).absolute().name}, started as {runner.timestamp}"
    return [("run", begun), *provenance(f"{runner.world_size} x {device_name(device)}")]


def changes(cfg: Config) -> Changes:
    """What the command line changed of the config file, and the file of its bases; nothing of a config that is in no file."""
    file = Path(cfg.filename) if cfg.filename else None
    if not file or not file.is_file():
        return Changes((), ())
    here = {name: value for name, value in cfg.to_dict().items() if name not in OF_THE_RUN}
    return Changes(_differ(load_config(file).to_dict(), here), _differ(_bases(file), Config.fromfile(file).to_dict()))


def _differ(before: Mapping, after: Mapping) -> Sequence[tuple[str, str, str]]:
    return [change for name in after for change in _changed(name, before.get(name), after[name])]


def _changed(path: str, before: Any, after: Any) -> Iterator[tuple[str, str, str]]:
    """The smallest parts that differ; what one side lacks is a whole."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in {**before, **after}:
            yield from _changed(f"{path}.{name}", before.get(name), after.get(name))
    elif before != after:
        yield path, "" if before is None else str(before), "" if after is None else str(after)


def _bases(file: Path) -> dict:
    """What the bases of a config file say together, as MMEngine merges them."""
    names = [name if "::" in name else str((file.parent / name).resolve()) for name in Config._get_base_files(str(file))]
    with TemporaryDirectory() as folder:
        alone = Path(folder) / "bases.py"
        alone.write_text(f"_base_ = {names!r}\n", encoding="utf-8")
        return Config.fromfile(alone).to_dict()


def planned(runner: Runner, seconds: float) -> list[list[str]]:
    """Rows: what was planned of the run and what happened; ``seconds`` is the time of all steps."""
    plan, found = next(((hook.plan, hook.found) for hook in runner.hooks if isinstance(hook, PlanHook)), (None, {}))
    batch, steps = runner.train_dataloader.batch_sampler.batch_size * runner.world_size, runner.max_iters
    time = f"{plan.totals['seconds'] / 60:,.1f} min" if plan else "no plan: finevit train --plan"
    memory = f"{plan.totals['memory'] / GIB:.2f} GiB" if plan else ""
    rows = [
        ["", "planned", "happened"],
        ["steps", f"{steps:,}", f"{runner.iter:,}"],
        ["images", f"{steps * batch:,}", f"{runner.iter * batch:,}"],
        ["time of the steps", time, f"{seconds / 60:,.1f} min"],
        ["memory at the peak", memory, f"{peak(next(runner.model.parameters()).device) / GIB:.2f} GiB"],
    ]
    for name, told in (("patches", "patches a step"), ("tokens", "text tokens a step"), ("seconds", "seconds a step")):
        if name in found:
            form = ",.3f" if name == "seconds" else ",.0f"
            rows.append([told, *(format(found[name][side], form) for side in ("predicted", "seen"))])
    return rows


def left_out(runner: Runner) -> SkippedSamples:
    """What could not be used of the data: by reason, and the first ones by name."""
    counted, named = Counter[str](), list[str]()
    loops = (runner.train_loop, runner.val_loop)
    for skipped in (getattr(getattr(loop.dataloader.dataset, "source", None), "skipped", None) for loop in loops if loop):
        if skipped and skipped.count:
            named += skipped.listed
            counted["an entry was left out when the data was opened, and is not in the list"] += skipped.count - len(skipped.listed)
    for hook in runner.hooks:
        if isinstance(hook, BadSamplesHook):
            named += [*hook.bad, *hook.held_out]
    named = list(dict.fromkeys(named))
    counted.update(map(reason, named))
    return SkippedSamples(tuple((why, count) for why, count in counted.most_common() if count > 0), tuple(named))


def reason(message: str) -> str:
    """Why a sample was skipped, without what is of this sample alone: names and numbers."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d[\d,.]*", "…", message.partition(": ")[2] or message)
