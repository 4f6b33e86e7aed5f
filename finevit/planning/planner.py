"""Makes the plan of a run: real records go through the dataset, FLOPs are counted, a few real steps give time and memory.

Everything happens in a Runner of its own, whose work dir is thrown away: the run that comes later is not touched.
"""

import datetime
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from finevit.contracts import SampleRequest
from finevit.datasets.samplers import NativeBatchSampler
from finevit.planning.askable import check_asked
from finevit.planning.flops import step_flops
from finevit.planning.plan import Plan, Point, device_name, key_of
from finevit.planning.scheduled import check_schedules, knots, schedule_hooks, scheduled
from finevit.planning.step_cost import Calibration, Line, Trial, calibrate, fit, same_parts

RECORDS = 64
"""They tell how many patches and tokens a step has."""


class Sampled(NamedTuple):
    """Per image: mean patches and text tokens, and the seconds that loading it takes."""

    samples: list[dict]
    patches: float
    tokens: float
    seconds: float


def sample(loader: DataLoader, step: int) -> Sampled:
    """Load the images of a step; where a batch has fewer than ``RECORDS``, those that follow as if they were of the same step."""
    batches = loader.batch_sampler
    assert isinstance(batches, NativeBatchSampler)
    requests = _requests(batches, step)
    loader.dataset[requests[0]]  # opens what is opened once
    begin = time.perf_counter()
    samples = [loader.dataset[request] for request in requests]
    seconds = time.perf_counter() - begin
    sums = (sum(_patches(each) for each in samples), sum(_tokens(each) for each in samples), seconds)
    return Sampled(samples, *(total / len(samples) for total in sums))


def typical(samples: Sequence[dict], count: int) -> list[dict]:
    """As many samples with patches as in the middles of equal parts of all; their tokens, independently, likewise."""
    places = [(2 * part + 1) * len(samples) // (2 * count) for part in range(count)]
    by_patches, by_tokens = sorted(samples, key=_patches), sorted(samples, key=_tokens)
    pairs = [(by_patches[place], by_tokens[place]) for place in places]
    return [{**image, "tokens": text["tokens"]} if "tokens" in text else image for image, text in pairs]


def _requests(batches: NativeBatchSampler, step: int) -> list[SampleRequest]:
    requests = batches.requests(step)
    first, later = requests[0], step
    while len(requests) < RECORDS:
        later += 1
        requests += [first._replace(record=each.record, position=each.position) for each in batches.requests(later)]
    return requests[:RECORDS]


def _patches(sample: dict) -> int:
    return len(sample["patches"])


def _tokens(sample: dict) -> int:
    """Of the caption, or of the dialogue with its visual tokens."""
    return len(sample["dialogue"][0] if "dialogue" in sample else sample.get("tokens", ()))


COUNTED = 4
"""Typical images of a step, whose FLOPs are counted."""


def make_plan(cfg: Config, *, name: str, progress: Callable[[str], None]) -> Plan:
    """The plan of the config that is called ``name``, for one rank on this device. Raises ``ValueError`` where training would."""
    with tempfile.TemporaryDirectory() as folder:
        private = Config(cfg.to_dict())
        private.merge_from_dict({"work_dir": folder, "launcher": "none", "resume": False, "load_from": None, "log_level": "ERROR"})
        return _Planner(Runner.from_cfg(private), progress).plan(name, key_of(cfg))


class _Planner:
    """The parts of a plan, in the order in which they are made."""

    def __init__(self, runner: Runner, progress: Callable[[str], None]) -> None:
        self.runner, self.model, self.steps = runner, runner.model, runner.train_loop.max_iters
        self.loader, batches = runner.train_dataloader, runner.train_dataloader.batch_sampler
        if not isinstance(batches, NativeBatchSampler):
            raise ValueError(f"--plan: batch_sampler.type={type(batches).__name__!r} has no schedules; use NativeBatchSampler")
        self.batch, self.progress, self.device = batches.batch_size, progress, next(self.model.parameters()).device
        for hook in schedule_hooks(runner):
            hook.before_run(runner)
        check_schedules(runner)
        check_asked("train_dataloader", self.loader, steps=self.steps)

    def plan(self, config: str, key: str) -> Plan:
        """All of it."""
        schedules = scheduled(self.runner)
        steps = knots(schedules.values(), self.steps)
        states = {step: {name: schedule(step) for name, schedule in schedules.items()} for step in steps}
        samples, flops = self.samples(states)
        calibration, parts = self.calibration(samples, flops)
        rates = self.rates(states)
        seconds, memory = self.lines(calibration, parts)
        points = [
            Point(
                step=step,
                values=state,
                lr=rates[step],
                patches=self.batch * samples[step].patches,
                tokens=self.batch * samples[step].tokens,
                flops=self.batch * flops[step],
                seconds=self.with_loader(seconds(self.batch * flops[step]), self.batch * samples[step].seconds),
                memory=memory(self.batch * flops[step]),
            )
            for step, state in states.items()
        ]
        return Plan(
            config=config,
            key=key,
            device=device_name(self.device),
            made=datetime.datetime.now().isoformat(timespec="seconds"),
            steps=self.steps,
            batch=self.batch,
            points=tuple(points),
            parts=parts,
            calibration=tuple(measured._asdict() for measured in calibration.measured),
            notes=tuple(self.notes(calibration)),
        )

    def samples(self, states: dict[int, dict]) -> tuple[dict[int, Sampled], dict[int, float]]:
        """Of each step the records, and the FLOPs per image; steps in the same state share both."""
        known: dict[tuple, tuple[Sampled, float]] = {}
        for number, (step, state) in enumerate(states.items(), 1):
            if (same := tuple(state.values())) not in known:
                self.progress(f"records and FLOPs of step {step:,} ({number} of {len(states)})")
                found = sample(self.loader, step)
                known[same] = found, self.flops(step, typical(found.samples, COUNTED))
        both = {step: known[tuple(state.values())] for step, state in states.items()}
        return {step: found for step, (found, _) in both.items()}, {step: flops for step, (_, flops) in both.items()}

    def flops(self, step: int, samples: list[dict]) -> float:
        """FLOPs of an image, forward and backward."""
        self.prepare(step)
        with same_parts(self.model, len(samples), self.batch):
            return step_flops(self.model, self.loader.collate_fn(samples)) / len(samples)

    def calibration(self, samples: dict[int, Sampled], flops: dict[int, float]) -> tuple[Calibration, dict[str, int]]:
        """Real steps, and the exact bytes of what does not depend on the batch."""
        wrapper = self.runner.optim_wrapper = self.runner.build_optim_wrapper(self.runner.optim_wrapper)
        wrapper.initialize_count_status(self.model, 0, self.steps)
        trials = sorted((Trial(step, self.batches_of(samples[step]), flops[step]) for step in samples), key=lambda t: t.flops)
        found = calibrate(
            self.model,
            wrapper,
            trials[0],
            trials[-1],
            batch_size=self.batch,
            prepare=self.prepare,
            progress=self.progress,
        )
        states = (value for state in wrapper.optimizer.state.values() for value in state.values() if torch.is_tensor(value))
        return found, {
            "parameters": _bytes(self.model.parameters()),
            "gradients": _bytes(parameter for parameter in self.model.parameters() if parameter.requires_grad),
            "optimiser states": _bytes(states),
        }

    def batches_of(self, found: Sampled) -> Callable[[int], dict[str, Any]]:
        """Batches of any size, made of the records again and again."""
        samples = found.samples
        return lambda images: self.loader.collate_fn([samples[index % len(samples)] for index in range(images)])

    def lines(self, calibration: Calibration, parts: dict[str, int]) -> tuple[Line, Line]:
        """Seconds of computing, and bytes at the peak, over the FLOPs of a step; without images, memory holds ``parts``."""
        flops = [each.flops for each in calibration.measured]
        always = calibration.resting + parts["gradients"] + parts["optimiser states"]
        activations = fit(flops, [max(0, each.memory - always) for each in calibration.measured], base=False)
        return fit(flops, [each.seconds for each in calibration.measured]), Line(always, activations.slope)

    def with_loader(self, computing: float, loading: float) -> float:
        """Seconds of a step: workers load while the step before computes, as far as there are cores for both."""
        if not self.loader.num_workers:
            return computing + loading
        threads = 0 if self.device.type == "cuda" else torch.get_num_threads()
        return max(computing, loading / self.loader.num_workers, (computing * threads + loading) / _cores())

    def rates(self, steps: Iterable[int]) -> dict[int, float]:
        """Learning rates: the run's own schedulers, run ahead on an optimiser of a single number."""
        real = self.runner.optim_wrapper
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=real.optimizer.defaults["lr"], momentum=0.5)
        wrapper = self.runner.optim_wrapper = OptimWrapper(optimizer)
        configs = self.runner.cfg.get("param_scheduler")
        schedulers = self.runner.build_param_scheduler(configs) if configs else []
        self.runner.optim_wrapper = real
        found = []
        for _ in range(self.steps):
            found.append(optimizer.param_groups[0]["lr"])
            wrapper.step()
            for scheduler in schedulers:
                scheduler.step()
        return {step: found[step] for step in steps}

    def prepare(self, step: int) -> None:
        """Bring the model into the state of a step."""
        for hook in schedule_hooks(self.runner):
            hook.apply(self.model, step)

    def notes(self, calibration: Calibration) -> list[str]:
        """Where the figures come from."""
        tried = max(each.images for each in calibration.measured)
        notes = [
            f"Patches and tokens: of {RECORDS} real records for each state of the schedules.",
            f"FLOPs: counted forward and backward, operation by operation, on {COUNTED} typical images of each state.",
            f"Time and memory: {len(calibration.measured)} kinds of real steps on this device and a line over their FLOPs; "
            "evaluation and checkpoints come on top. On a CPU, memory is of the whole process, and a lower "
            "bound for a long run: in bfloat16 oneDNN keeps compiled kernels (ONEDNN_PRIMITIVE_CACHE_CAPACITY of them).",
        ]
        less = f"EXTRAPOLATED: time and memory, from steps of at most {tried} of {self.batch} images."
        return notes if tried == self.batch else [*notes, less]


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
