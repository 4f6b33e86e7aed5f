"""docs/extending.md: each of its files, put where the page says, is found, held to its contract and used, in a copy of the code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from finevit.config.loading import ConfigError, load_config
from finevit.config.validation import check_config
from finevit.plugins import load_plugins
from finevit.registry import BENCHMARKS, DATASETS, HOOKS, MODELS, TASKS, TRANSFORMS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/extending.md").read_text()
BLOCKS = {first: code for _, first, code in re.findall(r"^(`{3,})python\n# (.*?)\n(.*?)\n\1$", PAGE, re.DOTALL | re.MULTILINE)}
PLUGINS = (ROOT / "docs/plugins.md").read_text()
(TEACHER,) = re.findall(r"```python\n# my_teacher\.py.*?\n(.*?)```", PLUGINS, re.DOTALL)
FILES = {"plugins/teachers/my_teacher.py": TEACHER} | {name: code for name, code in BLOCKS.items() if name.endswith(".py")}

CONFIG = f"""
_base_ = ["finevit::finevit_tiny_stage1.py"]
{BLOCKS["config"]}
train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
train_dataloader["dataset"]["source"] = dict(_delete_=True, type="CaptionTable", data_root="table.tsv", holdout=0.2)
train_dataloader["batch_sampler"]["resolution"] = dict(type="ConstantResolution", side=56)
val_dataloader = dict(dataset=dict(source=dict(length=4), pixels=56 * 56))
model = dict(teacher=dict(_delete_=True, type="MyTeacher"), head=dict(_delete_=True, type="CosineHead"))
default_hooks = dict(checkpoint=dict(type="WeightsTooHook"))
custom_hooks = []
train_cfg = dict(max_iters=3)
val_evaluator = [dict(type="ExplainedVariance")]
"""
CHECKS = """
import numpy as np, sys, torch
from pathlib import Path
from safetensors.torch import load_file
from finevit.commands import train
from finevit.config.loading import load_config
from finevit.datasets import open_source
from finevit.datasets.schedules import build_schedules
from finevit.export.run import export
from finevit.evaluation.benchmarks import parse
from finevit.plugins import load_plugins
from finevit.registry import DATASETS, HOOKS, MODELS, TASKS, TRANSFORMS
from finevit.scenes import Scenes
from finevit.tasks.task import default_weights
from finevit.testing import *
import finevit

assert Path(finevit.__file__).is_relative_to(Path.cwd()), finevit.__file__
load_plugins()
head = MODELS.build({"type": "CosineHead", "dim": 8, "target_dim": 2})
check_head(head, torch.ones(3, 8), torch.ones(3, 2), torch.tensor([True, False, True]))
check_transform(TRANSFORMS.build({"type": "Blur", "sigma": 2.0}), {"image": np.eye(8, dtype=np.uint8)})
check_source(DATASETS.build({"type": "CaptionTable", "data_root": "table.tsv", "split": "all"}))
assert type(open_source(data_root="table.tsv", split="all")).__name__ == "CaptionTable"
check_task(TASKS.get("presence")(name="presence"), Scenes(level="easy", split="train")[0])
assert default_weights()["presence"] == 1.0
check_teacher(MODELS.build({"type": "MyTeacher"}))
check_hook(HOOKS.build({"type": "WeightsTooHook", "by_epoch": False}))
label, source = parse("pairs=pairs.json")
assert (label, source["type"]) == ("pairs", "finevit.Pairs")
pairs = DATASETS.build(source)
check_source(pairs)
assert pairs[1].captions == {"alt": "image 1"} and len(pairs) == 10

sys.argv = ["finevit train", "config.py", "--work-dir", "run"]
train.main()
loader = load_config("config.py").train_dataloader
assert build_schedules(loader.batch_sampler.schedules)["Blur.sigma"](0) == 4.0
assert DATASETS.build(loader.dataset).transforms_at({"Blur": {"sigma": 3.0}})[0].sigma == 3.0
saved = load_file("run/weights_3.safetensors")
assert saved.keys() == torch.load("run/iter_3.pth", weights_only=False)["state_dict"].keys()
export("run/iter_3.pth", "npz", "exported")
with np.load("exported/encoder.npz") as arrays:
    assert all(np.array_equal(arrays[name], saved["backbone." + name].numpy()) for name in arrays) and len(arrays) > 5
assert 'numpy.load("encoder.npz")' in Path("exported/README.md").read_text()
"""


def data(folder: Path) -> None:
    """Ten images, as the reader and the benchmark of the page have them; one line of the table is broken."""
    names = [f"{number}.png" for number in range(10)]
    for number, name in enumerate(names):
        Image.new("RGB", (56, 84), (20 * number, 0, 0)).save(folder / name)
    (folder / "table.tsv").write_text("".join(f"{name}\timage {n}\n" for n, name in enumerate(names)) + "alone.png\n")
    entries = ", ".join(f'{{"image": "{name}", "caption": "image {n}"}}' for n, name in enumerate(names))
    (folder / "pairs.json").write_text(f"[{entries}]")


def test_the_page_has_the_ten_changes():
    assert len(FILES) == 8
    assert len(re.findall(r"^## ", PAGE, re.MULTILINE)) == 10
    assert len(PAGE.splitlines()) <= 200


@pytest.mark.slow
def test_every_file_of_the_page_serves_where_the_page_says(tmp_path):
    data(tmp_path)
    for package, source in (("finevit", "finevit"), ("finevit_plugins", "plugins")):
        shutil.copytree(ROOT / source, tmp_path / package)
    for name, code in FILES.items():
        file = tmp_path / name.partition(":")[0].replace("plugins/", "finevit_plugins/")
        assert file.parent.is_dir()
        assert not file.exists()
        file.write_text(code)
    (place,) = [name for name in BLOCKS if name.startswith("finevit/engine/progress.py: in ConsoleHook._told, before the return")]
    file = tmp_path / "finevit/engine/progress.py"
    last = '        return "  ".join(parts)\n'
    added = "".join(f"        {line}\n" for line in BLOCKS[place].splitlines())
    assert file.read_text().count(last) == 1
    file.write_text(file.read_text().replace(last, added + last))
    (tmp_path / "config.py").write_text(CONFIG)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", CHECKS], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\[3/3\]  loss: \d\.\d{4}  .* grad_norm: \d+\.\d\d", done.stdout), done.stdout
    assert "left out 1: table.tsv, line 11: 1 columns; give image and caption" in done.stdout + done.stderr
    log = next((tmp_path / "run").glob("*/*.log")).read_text()
    assert "loss_cosine: " in log


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """Puts files of the page beside a config, which imports them; forgets afterwards what they registered."""
    path = list(sys.path)
    load_plugins()

    def put(name: str, settings: str, code: str = ""):
        file = Path(name)
        (tmp_path / f"my_{file.name}").write_text(code or FILES[name])
        config = tmp_path / "config.py"
        config.write_text(
            f"_base_ = ['finevit::finevit_tiny_stage1.py']\ncustom_imports = dict(imports=['my_{file.stem}'])\n{settings}\n"
        )
        return config

    yield put
    for registry in (MODELS, DATASETS, TRANSFORMS, TASKS, HOOKS, BENCHMARKS):
        for name in [name for name, part in registry.module_dict.items() if part.__module__.startswith("my_")]:
            del registry.module_dict[name]
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]
    sys.path[:] = path


HEAD = "model = dict(head=dict(_delete_=True, type='CosineHead'{}))"
SOURCE = "train_dataloader = dict(dataset=dict(source=dict(_delete_=True, type='CaptionTable', data_root='table.tsv'{})))"
BLUR = BLOCKS["config"]
SAVER = "default_hooks = dict(checkpoint=dict(type='WeightsTooHook'{}))"


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("finevit/heads/cosine.py", HEAD.format(""), ""),
        ("finevit/heads/cosine.py", HEAD.format(", dimm=4"), "model.head.dimm: CosineHead has no argument 'dimm'"),
        ("finevit/heads/cosine.py", "model = dict(head=dict(_delete_=True, type='CosinHead'))", "did you mean 'CosineHead'"),
        ("finevit/datasets/transforms/blur.py", BLUR, ""),
        (
            "finevit/datasets/transforms/blur.py",
            BLUR.replace('"Blur"', '"Blur", sigma=-1.0'),
            "sigma=-1.0: give a finite number, at least 0",
        ),
        ("finevit/datasets/transforms/blur.py", BLUR.replace("sigma=", "sigmas="), "no argument of Blur that may be scheduled"),
        ("finevit/datasets/readers/table.py", SOURCE.format(""), ""),
        ("finevit/datasets/readers/table.py", SOURCE.format(", holdout='much'"), "source.holdout='much': give a number"),
        ("finevit/engine/hooks/weights_hook.py", SAVER.format(", minutes=1.0"), ""),
        ("finevit/engine/hooks/weights_hook.py", SAVER.format(", minutes=-1.0"), "checkpoint.minutes=-1.0: give "),
    ],
)
def test_a_file_beside_the_config_is_checked_like_everything_else(beside, tmp_path, monkeypatch, name, settings, said):
    data(tmp_path)
    monkeypatch.chdir(tmp_path)
    config = beside(name, settings)
    if not said:
        check_config(load_config(config))
        return
    with pytest.raises(ConfigError, match=said):
        check_config(load_config(config))


@pytest.mark.parametrize("taken", ["DistillationHead", "ImgDataPreprocessor"])
def test_a_name_that_is_taken_is_refused_with_who_has_it(beside, taken):
    code = FILES["finevit/heads/cosine.py"].replace("CosineHead", taken)
    with pytest.raises(
        ConfigError, match=rf"config.py cannot be read: .*the name '{taken}' of a model is claimed by my_cosine.{taken} and by "
    ):
        load_config(beside("finevit/heads/cosine.py", "", code))
    assert MODELS.get(taken).__module__ != "my_cosine"


def test_a_file_beside_a_base_of_the_config_is_found(beside, tmp_path):
    beside("finevit/heads/cosine.py", HEAD.format(""))
    leaf = tmp_path / "runs/leaf.py"
    leaf.parent.mkdir()
    leaf.write_text("_base_ = ['../config.py']\n")
    assert load_config(leaf).model.head.type == "CosineHead"
    assert MODELS.get("CosineHead").__module__ == "my_cosine"


def test_a_task_beside_the_config_is_asked(beside):
    config = beside("finevit/tasks/presence.py", "")
    config.write_text(config.read_text().replace("stage1", "stage3"))
    check_config(load_config(config))
    assert TASKS.get("presence").__module__ == "my_presence"
