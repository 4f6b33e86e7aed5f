"""Plugins: one that is really installed, the bundled one, and every way in which a plugin can be wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.hooks import Hook

from finevit.plugins import PluginError, load_plugins, loaded_plugins
from finevit.plugins.hookspecs import KINDS
from finevit.plugins.manager import _load
from finevit.registry import MODELS, SCHEDULES
from finevit.testing import check_hook, check_transform

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
_base_ = ["{configs}/runtime.py", "{configs}/embedded_scenes.py"]
model = dict(
    type="MaskedDistillation",
    backbone=dict(type="MeanEncoder", dim=12),
    teacher=dict(type="GreyTeacher"),
    head=dict(type="AbsoluteHead"),
)
_transforms = [dict(type="Negative"), dict(type="ResizeToBudget"), dict(type="Patchify")]
_dataset = dict(source=dict(_delete_=True, type="GreyImages", count=6), transforms=_transforms)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=_dataset,
    batch_sampler=dict(resolution=dict(_delete_=True, type="SawtoothResolution", low=28, period=2)),
)
val_dataloader = dict(dataset=dict(**_dataset, pixels=28 * 28), collate_fn=dict(type="finevit.pack_samples", keys=["id"]))
optim_wrapper = dict(type="GuardedOptimWrapper", optimizer=dict(type="AdamW", lr=1e-3))
custom_hooks = [*_base_.custom_hooks, dict(type="CountingHook")]
train_cfg = dict(type="StatelessTrainLoop", max_iters=3)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="TokenNorm")]
"""
CHECKS = """
import numpy as np, torch
from finevit.plugins import load_plugins
from finevit.registry import DATASETS, ENGINES, HOOKS, METRICS, MODELS, SCHEDULES, TASKS, TRANSFORMS
from finevit.testing import *
load_plugins()
model = lambda name, **values: MODELS.build({"type": name, **values})
check_image_encoder(model("MeanEncoder"))
check_text_encoder(model("BagOfWords"))
check_teacher(model("GreyTeacher"))
check_connector(model("LinearConnector", dim=8, llm_dim=4), dim=8, llm_dim=4)
check_head(model("AbsoluteHead", dim=8, target_dim=2), torch.ones(3, 8), torch.ones(3, 2), None)
check_resolution_schedule(SCHEDULES.build({"type": "SawtoothResolution", "low": 28, "period": 2}))
check_source(DATASETS.build({"type": "GreyImages"}))
check_transform(TRANSFORMS.build({"type": "Negative"}), {"image": np.zeros((4, 4, 3), np.uint8)})
check_task(TASKS.get("FirstWord")(name="FirstWord"), DATASETS.build({"type": "GreyImages"})[3])
check_metric(METRICS.build({"type": "TokenNorm"}), [{"tokens": torch.ones(4, 9)}])
check_hook(HOOKS.build({"type": "CountingHook"}))
check_captioner(ENGINES.build({"type": "BrightnessCaptioner"}))
check_phrase_extractor(ENGINES.build({"type": "TheWords"}))
check_grounder(ENGINES.build({"type": "DarkestBox", "white": 200}))
check_ocr_engine(ENGINES.build({"type": "NoText"}))
assert issubclass(MODELS.get("EchoLLM"), AlignmentLLM)
"""
TOOLS = """
import runpy, sys
for tool in (["tools/plugins.py"], ["tools/train.py", {config!r}, "--work-dir", {work_dir!r}]):
    sys.argv = tool
    runpy.run_path(tool[0], run_name="__main__")
"""


def test_a_pip_package_contributes_every_kind_of_component(tmp_path):
    """The sample package is installed by pip, listed, held to the contracts, and trained with: a config names its components."""
    source, site, config = tmp_path / "source", tmp_path / "site", tmp_path / "config.py"
    shutil.copytree(ROOT / "tests/sample_plugin", source)
    config.write_text(CONFIG.replace("{configs}", str(ROOT / "configs/_base_")))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    tools = TOOLS.format(config=str(config), work_dir=str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", CHECKS + tools], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    own = done.stdout.partition("sample  (finevit-sample-plugin 1.2.3)")[2]
    assert "\n  backbone: MeanEncoder\n" in own
    assert all(f"\n  {kind.name}: " in own for kind in KINDS.values())
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert [entry["iteration"] for entry in results["evaluations"]] == [0, 3]
    assert all(entry["token_norm"] > 0 for entry in results["evaluations"])


@pytest.mark.parametrize("name", ["before_train_step", "after_train_iter"])
def test_the_check_of_hooks_finds_methods_that_nobody_calls(name):
    methods = {name: lambda self, runner: None}
    with pytest.raises((AssertionError, TypeError), match=r"is never called|too many positional arguments"):
        check_hook(type("Own", (Hook,), methods)())


def test_the_check_of_transforms_finds_chance_that_no_seed_repeats():
    with pytest.raises(AssertionError, match="the same rng makes the same sample"):
        check_transform(lambda sample: {"x": os.urandom(8)}, {"image": 0})
