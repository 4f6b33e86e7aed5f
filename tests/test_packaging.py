"""The distribution: version, entry point, data files, extras, pins, and the set-up that heals."""

import importlib
import shutil
import subprocess
import sys
from importlib.metadata import entry_points, metadata, requires
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import finevit

ROOT = Path(__file__).parents[1]


def test_version_is_the_installed_one() -> None:
    assert metadata("finevit")["Version"] == finevit.__version__


def test_the_bundled_plugins_come_through_the_public_entry_point() -> None:
    (bundled,) = (point for point in entry_points(group="finevit") if point.dist and point.dist.name == "finevit")
    assert bundled.load().__name__ == "finevit_plugins"


def test_import_is_light() -> None:
    heavy = {"torch", "torchvision", "mmengine", "mmcv", "mmpretrain", "mmdet", "mmseg", "transformers", "timm"}
    code = f"import finevit, sys; print(*{heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == ""


def test_every_extra_parses_and_every_pin_is_inside_its_bound() -> None:
    parsed = [Requirement(text) for text in requires("finevit") or ()]
    extras = set(metadata("finevit").get_all("Provides-Extra") or ())
    assert extras == {"llm", "scenes", "serve", "downstream", "float8", "recaption", "ray", "slurm", "spacy", "paddle", "dev"}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    core = {canonicalize_name(each.name) for each in parsed if each.marker is None}
    assert core <= pins.keys()
    outside = [str(each) for each in parsed if pins.get(canonicalize_name(each.name), "") and not _allows(each, pins)]
    assert outside == []


def _allows(requirement: Requirement, pins: dict[str, str]) -> bool:
    return requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The set-up module, for a checkout and a cache of its own, whose build makes no network call."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    module = importlib.import_module("environment")
    checkout = tmp_path / "checkout"
    (checkout / "tools").mkdir(parents=True)
    for name in module.DEPENDENCY_FILES:
        shutil.copy(ROOT / name, checkout / name)
    monkeypatch.setattr(module, "ROOT", checkout)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def pretend(steps: Any, what: str, command: list[str], *, must: bool = True) -> bool:
        Path(steps.python).parent.mkdir(parents=True, exist_ok=True)
        return True

    monkeypatch.setattr(module.Steps, "do", pretend)
    return module


def test_setting_up_twice_builds_once(environment: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    environment.main()
    assert "Setting up once" in capsys.readouterr().out
    environment.main()
    assert capsys.readouterr().out == ""
    assert (environment.ROOT / ".venv" / "stamp").is_file()


@pytest.mark.parametrize("change", ["interrupted", "other dependencies"])
def test_an_unfinished_or_outdated_environment_is_made_anew(
    environment: ModuleType, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    environment.main()
    leftover = environment.ROOT / ".venv" / "leftover"
    leftover.touch()
    if change == "interrupted":
        (environment.ROOT / ".venv" / "stamp").unlink()
    else:
        (environment.ROOT / "constraints.txt").write_text("torch==2.16.0\n")
    environment.main()
    assert capsys.readouterr().out.count("Setting up once") == 2
    assert not leftover.exists()


def test_environments_of_removed_checkouts_are_removed(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.main()
    first = (environment.ROOT / ".venv").readlink()
    monkeypatch.setattr(environment, "ROOT", environment.ROOT.rename(environment.ROOT.with_name("moved")))
    environment.main()
    assert not first.exists()
    assert (environment.ROOT / ".venv" / "stamp").is_file()


def test_a_full_disk_is_reported_before_anything_is_downloaded(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "SPACE", 1e18)
    with pytest.raises(SystemExit, match=r"needs 1000000000\.0 GB .* are free\. Make room, or choose another place"):
        environment.main()


def test_a_folder_named_venv_is_left_alone(environment: ModuleType) -> None:
    (environment.ROOT / ".venv").mkdir()
    with pytest.raises(SystemExit, match="not of this set-up's making"):
        environment.main()
