"""The report of a run: evaluates before the first step and after the last, and writes ``results.json`` and ``report.html``."""

import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from pydantic import PositiveInt
from torch import Tensor

from finevit.console import say
from finevit.engine.eval_caveats import LeftOut, seen
from finevit.engine.loop import evaluated, validate
from finevit.evaluation.results import NAME, Results
from finevit.hub.locate import first_line
from finevit.registry import HOOKS, REPORT_PAGES
from finevit.storage.durable import write_file
from finevit.storage.places import Spared
from finevit.storage.regular import open_regular
from finevit.unwrap import unwrapped

if TYPE_CHECKING:
    from finevit.visualization.report import Page, ReportPage

BEFORE, PAGE = "report_before.pt", "report.html"


@HOOKS.register_module()
class ReportHook(Hook):
    """Shows what a run has learned, on the :class:`~finevit.visualization.report.ReportPage` of its stage.

    The untrained model is evaluated right after the first step, on a copy of the initial weights, so that training starts without
    waiting and goes on exactly as it would have. A resumed run takes the first evaluation from the work dir.

    Args:
        images: how many images of the validation set the page shows.
        before: whether to evaluate the untrained model, which costs one validation and, until the second step, a copy of the
            weights; None does so where they take less than a gigabyte.
    """

    priority = "LOWEST"

    def __init__(self, *, images: PositiveInt = 6, before: bool | None = None) -> None:
        self.images, self.before = images, before
        self.results: Results | None = None
        self.lost = ""
        self._views: list[Any] = []
        self._initial: list[Tensor] = []
        self._evaluated = -1
        self._left_out = LeftOut()

    def before_train(self, runner: Runner) -> None:
        self.results = Results(runner.work_dir)
        if runner.iter:
            self.results.resume(runner.iter)
            if runner.val_loop is not None and self._wants_before(runner) and not self.results.at(0):
                say(f"{NAME} has no validation of the untrained model, so the report will show none", runner.logger)
        elif runner.val_loop is not None and self._wants_before(runner):
            self._initial = [tensor.detach().clone() for tensor in _state(runner)]

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        if not self._initial:
            return
        with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
            _swap(runner, self._initial)
            try:
                validate(runner)
            finally:
                _swap(runner, self._initial)
        self._initial = []
        if is_main_process():
            views = [view._asdict() for view in self._views]
            with Spared("the untrained model's answers for the report").writing(runner.logger):
                write_file(Path(runner.work_dir) / BEFORE, lambda file: torch.save(views, file))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence[dict] | None = None
    ) -> None:
        if batch_idx == 0:
            self._views, self._left_out = [], LeftOut()
        self._left_out.add(data_batch)
        page = _page_of(runner)
        if self.results and page and data_batch and outputs and page.reads.issubset(outputs[0]):
            page.collect(self._views, data_batch["images"], outputs, self.images)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._evaluated = runner.iter
        self._left_out.gather()
        if self.results is None or not is_main_process():
            return
        loop = runner.val_loop
        protocols = {type(metric).__name__: metric.protocol for metric in loop.evaluator.metrics if hasattr(metric, "protocol")}
        dataset, left_out = loop.dataloader.dataset, self._left_out
        data, images = dataset.describe() + left_out.said(), len(dataset) - len(left_out.unusable)
        if told := seen(runner.train_dataloader.dataset, dataset):
            data += f"; {told}"
        self.results.add(runner.iter, metrics or {}, protocols=protocols, data=data, images=images)

    def after_train(self, runner: Runner) -> None:
        if self._evaluated != runner.iter:
            if self._is_done(runner):
                return
            if runner.val_loop is not None:
                validate(runner)
        page = _page_of(runner)
        if is_main_process() and self.results and page:
            self._report(runner, self.results, page)

    @staticmethod
    def _is_done(runner: Runner) -> bool:
        """Whether an earlier start has come to the end: its last result is written, and its page after that."""
        results, page = (Path(runner.work_dir) / name for name in (NAME, PAGE))
        drawn = [
            _page_of(runner) is None or (page.exists() and results.exists() and page.stat().st_mtime >= results.stat().st_mtime)
        ]
        broadcast_object_list(drawn)
        return evaluated(runner) and drawn[0]

    def _wants_before(self, runner: Runner) -> bool:
        return sum(tensor.nbytes for tensor in _state(runner)) < 1e9 if self.before is None else self.before

    def _report(self, runner: Runner, results: Results, page: "ReportPage") -> None:
        """Writes the page; a failure to do so is logged, costs nobody the trained model, and is told by :func:`check_told`."""
        from finevit.visualization.report import write

        try:
            path = write(self._page(runner, results, page), Path(runner.work_dir) / PAGE)
            say(f"report: {path}", runner.logger)
        except Exception as error:
            self.lost = f"the report could not be written: {error!r}; the training itself is complete"
            runner.logger.error(self.lost)
            runner.logger.debug(traceback.format_exc())

    def _page(self, runner: Runner, results: Results, page: "ReportPage") -> "Page":
        from finevit.engine.run_record import changes, left_out, made, planned
        from finevit.visualization.report import Run, run_sections

        before = _before(runner, page) if results.at(0) else []
        scalars = _scalars(runner)
        told = Run(
            scalars=scalars,
            results=results,
            steps=runner.iter,
            batch=runner.train_dataloader.batch_sampler.batch_size * runner.world_size,
            parameters=sum(parameter.numel() for parameter in unwrapped(runner.model).backbone.parameters()),
            facts=_facts(runner, results),
            before=before,
            after=self._views,
            config=runner.cfg.pretty_text,
        )
        seconds = float(sum(scalars.get("time", ())))
        sections = run_sections(changes(runner.cfg), planned(runner, seconds), left_out(runner))
        return replace(page.page(told), about=made(runner), run=sections)


def _before(runner: Runner, page: "ReportPage") -> list[Any]:
    """What the untrained model made of the images; where that was lost, the page goes without, and that is said."""
    file = Path(runner.work_dir) / BEFORE
    try:
        with open_regular(file) as opened:
            return [page.view(**view) for view in torch.load(opened, weights_only=True)]
    except FileNotFoundError:
        return []
    except Exception as error:  # damaged files raise nearly anything
        runner.logger.warning(f"{file} cannot be read ({first_line(error)}); the report goes without the untrained model's answers")
        return []


def check_told(runner: Runner) -> None:
    """``ValueError`` where a run that came to its end could not write its report."""
    for hook in runner.hooks:
        if isinstance(hook, ReportHook) and hook.lost:
            path = Path(runner.work_dir) / PAGE
            raise ValueError(f"{path}: {hook.lost}. See to its place, then the same command with --resume writes it")


def _page_of(runner: Runner) -> "ReportPage | None":
    """The page of the stage; one without a page gets ``results.json`` alone."""
    found = (REPORT_PAGES.get(kind.__name__) for kind in type(unwrapped(runner.model)).__mro__)
    return next((page() for page in found if page), None)


def _state(runner: Runner) -> list[Tensor]:
    return [*runner.model.parameters(), *runner.model.buffers()]


@torch.no_grad()
def _swap(runner: Runner, stored: list[Tensor]) -> None:
    """Exchanges the model's values with the stored ones, in place; done twice, nothing has changed, to the last bit."""
    for live, kept in zip(_state(runner), stored, strict=True):
        current = live.clone()
        live.copy_(kept)
        kept.copy_(current)


def _scalars(runner: Runner) -> dict[str, list[float]]:
    """The training's logged values of every step; MMEngine keeps them in checkpoints, so they reach back before a resume."""
    histories = {name: buffer.data[0] for name, buffer in runner.message_hub.log_scalars.items()}
    return {name.removeprefix("train/"): values.tolist() for name, values in histories.items() if name.startswith("train/")}


def _facts(runner: Runner, results: Results) -> list[tuple[str, str]]:
    lines = [*unwrapped(runner.model).describe(), f"data: {runner.train_dataloader.dataset.describe()}"]
    facts = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    if results.data:
        facts.append(("unseen images", f"{results.data} ({results.images:,} evaluated)"))
    device = next(runner.model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return [*facts, ("made with", f"PyTorch {torch.__version__}, {runner.world_size} x {name}, seed {runner.seed}")]
