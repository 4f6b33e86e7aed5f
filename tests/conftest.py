"""What several test files need: plugins, a cache folder, the functions of CLIP_benchmark by pip, mmcv's operations by stand-ins."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):  # before torch is imported: tests side by side share the cores
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // workers)))

from finevit.hub.packages import Package, cached_folder

CLIP_BENCHMARK = Package(
    "clip-benchmark==1.6.2",
    "clip_benchmark/metrics/zeroshot_retrieval.py",
    "2c10f43e73a4ab31c0cf3c7a99a2da4652c05a52f210689c2ad1d4133aacfc04",
)
"""Without its dependencies, of which one is 100 MB of Java: its measures need none of these."""


@pytest.fixture(scope="session")
def clip_benchmark() -> Callable[[str], ModuleType]:
    """A module of ``clip_benchmark.metrics`` by name. Skips only where pip cannot bring the package."""
    try:
        folder = cached_folder(CLIP_BENCHMARK)
    except ValueError as error:
        if "could not download" not in str(error):
            raise
        pytest.skip(str(error))

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def plugins() -> None:
    """What plugins contribute has its names."""
    from finevit.plugins import load_plugins

    load_plugins()


@pytest.fixture
def scope(plugins: None) -> Iterator[None]:
    """The names of FineViT and its plugins need no prefix."""
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("finevit"):
        yield


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cache folder is one of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-ins serve ``mmcv.ops``, also where mmcv was compiled."""
    from finevit.downstream import ops

    for name, module in list(sys.modules.items()):
        if name.startswith("mmcv.ops.") and hasattr(module, "ext_module"):
            monkeypatch.setattr(module, "ext_module", ops)
