"""Trials of reliability: counts that a share of the full ones makes quick, and the figures that each leaves.

``make reliability`` runs the full counts and writes ``benchmarks/results/reliability/<trial>.json``; ``.ci/run`` runs a tenth.
"""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("broken_runs")
from broken_runs import Forks  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results/reliability"


class Trial:
    """One trial: how many attempts it makes, and what it found.

    ``full`` counts are those of ``make reliability``; ``random.Random(seed)`` of a trial is seeded by the trial alone, so that the
    attempts of a tenth are the first of the full ones.
    """

    def __init__(self, name: str, share: float) -> None:
        self.name, self.share = name, share
        self.figures: dict[str, object] = {}

    def count(self, full: int) -> int:
        """How many of ``full`` attempts this run makes, at least one."""
        return max(1, math.ceil(full * self.share - 1e-9))

    def record(self, **figures: object) -> None:
        """Figures for the table at the end and, of a full run, for the committed results."""
        self.figures |= figures


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", type=float, default=0.1, help="share of the full counts of the reliability trials (default: 0.1)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.reliability)


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Iterator[Trial]:
    """The trial of a test, named like the test; a full one that passed is written down."""
    made = Trial(request.node.name.removeprefix("test_"), request.config.getoption("--share", default=0.1))
    begin = time.monotonic()
    yield made
    outcome = request.node.stash.get(_PASSED, False)
    made.record(minutes=round((time.monotonic() - begin) / 60, 1))
    request.config.stash.setdefault(_TRIALS, []).append((made, outcome))
    if outcome and made.share >= 1:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / f"{made.name}.json").write_text(json.dumps(made.figures, indent=1) + "\n")


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Runs without the seconds of their start."""
    with Forks() as made:
        yield made


_PASSED = pytest.StashKey[bool]()
_TRIALS = pytest.StashKey[list]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[_PASSED] = report.passed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    trials = config.stash.get(_TRIALS, [])
    if trials:
        terminalreporter.section("reliability")
    for trial, passed in trials:
        told = "  ".join(f"{name}={value}" for name, value in trial.figures.items())
        terminalreporter.write_line(f"{'held' if passed else 'BROKEN'}  {trial.name}: {told}")
