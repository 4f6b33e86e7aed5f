"""Plugins: one that is really installed, the bundled one, and every way in which a plugin can be wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from finevit.plugins import PluginError, load_plugins, loaded_plugins
from finevit.plugins.manager import _load
from finevit.registry import MODELS, SCHEDULES

ROOT = Path(__file__).parent.parent


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution with one plugin module and one entry point on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(code: str, *, name: str = "acme", version: str = "2.0", entry: str | None = None) -> None:
        head = "from finevit.plugins import hookimpl\nfrom finevit.contracts import *\n"
        (tmp_path / f"{name}_plugin.py").write_text(head + code)
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[finevit]\n{entry or name} = {name}_plugin\n")

    yield put
    for module in [module for module in sys.modules if module.endswith("_plugin")]:
        del sys.modules[module]


SCHEDULE = """
class {cls}(ResolutionSchedule):
    def __call__(self, step): return ImageBudget(step)
@hookimpl
def finevit_resolution_schedules(): return {{{name!r}: {cls}}}
"""


def failure(*parts: str) -> None:
    """Loading fails with a message that holds all the parts, and leaves the registries alone."""
    before = dict(SCHEDULES.module_dict), dict(MODELS.module_dict)
    with pytest.raises(PluginError) as caught:
        _load.__wrapped__()
    for part in parts:
        assert part in str(caught.value)
    assert before == (dict(SCHEDULES.module_dict), dict(MODELS.module_dict))


@pytest.fixture(scope="module", autouse=True)
def _bundled():
    load_plugins()


def test_bundled_plugin_registers_its_names():
    assert load_plugins() is load_plugins()
    (bundled,) = [plugin for plugin in loaded_plugins() if plugin.name == "bundled"]
    assert bundled.distribution == "finevit"
    assert bundled.contributes["resolution schedule"] == ["ConstantResolution", "LinearResolution", "StepResolution"]
    assert SCHEDULES.get("LinearResolution").__module__ == "finevit_plugins.schedules"
    assert all(name in MODELS for name in bundled.contributes["teacher"])


def test_import_of_the_library_loads_no_plugin():
    code = "import sys, finevit, finevit.registry; assert not {'finevit_plugins', 'pluggy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_contribution_is_reported(install):
    install(SCHEDULE.format(cls="Mine", name="AcmeSchedule"))
    try:
        manager, plugins = _load.__wrapped__()
        assert manager.has_plugin("acme")
        assert ("acme", "acme", "2.0", {"resolution schedule": ["AcmeSchedule"]}) in plugins
        assert SCHEDULES.build({"type": "AcmeSchedule"})(7).pixels == 7
    finally:
        SCHEDULES.module_dict.pop("AcmeSchedule", None)


def test_two_packages_claim_a_name(install):
    install(SCHEDULE.format(cls="Mine", name="Ramp"))
    install(SCHEDULE.format(cls="Theirs", name="Ramp"), name="bolt", version="0.3")
    failure("'Ramp'", "acme 2.0", "bolt 0.3", "uninstall one", "FINEVIT_BLOCK_PLUGINS")


def test_name_of_a_bundled_plugin(install):
    install(SCHEDULE.format(cls="Mine", name="LinearResolution"))
    failure("'LinearResolution'", "acme 2.0", "finevit 0.")


def test_name_of_an_own_component(install):
    install(SCHEDULE.format(cls="Mine", name="Cosine"))
    failure("'Cosine'", "acme 2.0", "finevit.curriculum.schedules.Cosine", "FINEVIT_BLOCK_PLUGINS")


def test_name_that_would_shadow_a_parent(install):
    install(
        "class Mine(Teacher):\n"
        "    def features(self, images): ...\n"
        "    def describe(self): ...\n"
        "@hookimpl\ndef finevit_teachers(): return {'BaseDataPreprocessor': Mine}"
    )
    failure("'BaseDataPreprocessor'", "acme 2.0", "mmengine")


def test_two_packages_with_one_plugin_name(install):
    install(SCHEDULE.format(cls="Mine", name="A"), entry="same")
    install(SCHEDULE.format(cls="Mine", name="B"), name="bolt", entry="same")
    failure("'same'", "acme 2.0", "bolt 2.0", "FINEVIT_BLOCK_PLUGINS=same")


def test_misspelt_hook(install):
    install("@hookimpl\ndef finevit_teacher(): return {}")
    failure("'finevit_teacher' does not exist", "did you mean 'finevit_teachers'?", "acme 2.0")


def test_class_that_is_not_of_the_contract(install):
    install("@hookimpl\ndef finevit_teachers(): return {'Mine': dict}")
    failure("teacher 'Mine'", "<class 'dict'>", "finevit.contracts.Teacher", "acme 2.0")


def test_abstract_class(install):
    install("class Mine(Teacher):\n    def describe(self): ...\n@hookimpl\ndef finevit_teachers(): return {'Mine': Mine}")
    failure("teacher 'Mine'", "lacks features", "acme 2.0")


def test_no_mapping(install):
    install("@hookimpl\ndef finevit_alignment_llms(): return ['x']")
    failure("'finevit_alignment_llms' must return a mapping", "not list", "acme 2.0")


def test_plugin_that_does_not_import(install, monkeypatch):
    install("import no_such_module")
    failure("'acme' of acme 2.0", "No module named 'no_such_module'", "FINEVIT_BLOCK_PLUGINS=acme")
    monkeypatch.setenv("FINEVIT_BLOCK_PLUGINS", "acme")
    assert not _load.__wrapped__()[0].has_plugin("acme")


def test_blocked_name_that_is_not_installed(install, monkeypatch):
    install("")
    monkeypatch.setenv("FINEVIT_BLOCK_PLUGINS", "acmee")
    failure("'acmee'", "did you mean 'acme'?", "bundled")


CONFIG = """
default_scope = "finevit"
model = dict(
    type="MaskedDistillation",
    backbone=dict(type="FineViT", arch="tiny"),
    teacher=dict(type="PackagedDinov2Small"),
    head=dict(type="DistillationHead"),
)
train_cfg = None
custom_hooks = [
    dict(type="ScheduleHook", schedules=dict(side=dict(type="SawtoothResolution", low=224, period=4)))
]
"""


def test_installed_package_contributes_a_schedule(tmp_path):
    """The sample package is installed by pip, listed by the tool, and its schedule is named by a config."""
    source, site, config = tmp_path / "source", tmp_path / "site", tmp_path / "config.py"
    shutil.copytree(ROOT / "tests/sample_plugin", source)
    config.write_text(CONFIG)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True)
    code = (
        "import sys; from finevit.plugins import load_plugins; from finevit.registry import SCHEDULES\n"
        "from finevit.config.loading import load_config; from finevit.config.validation import check_config\n"
        "load_plugins(); cfg = load_config(sys.argv[1]); check_config(cfg)\n"
        "schedule = SCHEDULES.build(cfg.custom_hooks[0].schedules.side)\n"
        "print([schedule(step).pixels for step in (0, 3, 4)])"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*arguments: str) -> str:
        done = subprocess.run([sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", code, str(config)).splitlines()[-1] == str([224**2, 308**2, 224**2])
    assert "sample  (finevit-sample-plugin 1.2.3)\n  resolution schedule: SawtoothResolution" in run("tools/plugins.py")
