"""The model card beside an export: what was measured under which protocol, and what it does not give away."""

import json
from pathlib import Path

import yaml
from mmengine.config import Config
from sample_exports import change, make_checkpoint

from finevit.export.run import export


def test_a_model_card_says_what_was_measured_under_which_protocol(tmp_path: Path) -> None:
    path, _ = make_checkpoint(tmp_path / "run", 1)
    results = {
        "data": {"description": "embedded scenes, val", "images": 256},
        "protocols": {"PatchProbe": "patch-probe-v1"},
        "evaluations": [{"iteration": 500, "probe": 0.1}, {"iteration": 600, "probe": 0.54321}],
        "benchmarks": {
            "other": {"checkpoint": "iter_500.pth", "iteration": 500, "data": {}, "protocols": {}, "metrics": {"probe": 0.9}},
        },
    }
    (path.parent / "results.json").write_text(json.dumps(results))
    export(path, "safetensors", tmp_path / "out")
    front, body = (tmp_path / "out/README.md").read_text().removeprefix("---\n").split("---\n", 1)
    (entry,) = yaml.safe_load(front)["model-index"]
    assert entry["results"][0]["metrics"] == [{"type": "probe", "value": 0.5432, "name": "probe (patch-probe-v1)"}]
    assert yaml.safe_load(front)["license"] == "apache-2.0"
    for said in ("after Stage I,", "embedded scenes (level easy)", "protocol `patch-probe-v1`", "| probe | 0.5432 |", "| 0.9 |"):
        assert (said in body) == (said != "| 0.9 |")
    for said in ("from encoder_finevit import Encoder", "--to safetensors", "PyTorch 2.", "teacher `PackagedDinov2Small`"):
        assert said in body
    assert str(tmp_path) not in body


def test_a_model_card_leaves_other_data_to_its_publisher(tmp_path: Path) -> None:
    def own_data(content: dict) -> None:
        cfg = Config.fromstring(content["meta"]["cfg"], file_format=".py")
        cfg.train_dataloader.dataset.source = {"type": "OpenData", "data_root": "/somewhere/private/photos"}
        content["meta"]["cfg"] = cfg.pretty_text

    export(change(make_checkpoint(tmp_path / "run", 1)[0], tmp_path, own_data), "safetensors", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "license: other" in card
    assert "`OpenData` (data_root='photos')" in card
    assert "private" not in card
    assert "None: no `results.json`" in card
