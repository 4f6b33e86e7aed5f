"""Checkpoints of earlier code, with MMEngine's histories pickled as objects and no SHA-256 beside them, load as they are.

They were written by ``tools/train.py`` of commit b7c8b07 after two steps of small Stages I, II and III; the configs are in them.
"""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import HistoryBuffer
from readers import ARCH, CONFIG, answers, roads

from finevit.backbones import FineViT
from finevit.engine.checkpoints import check_resumable
from finevit.evaluation.probes.features import load_encoder, open_checkpoint
from finevit.export.source import read_source
from finevit.hub.trust import VARIABLE
from finevit.hub.weights import read_checkpoint, weights_of
from finevit.plugins import load_plugins

GOLDEN = Path(__file__).parent / "golden"
STAGES = {"I": "stage1_before.pth", "II": "stage2_before.pth", "III": "stage3_before.pth"}
REFUSED = {
    "test": r"stage3_before\.pth: box style 'letters25' is no longer there: .*load_from, exports and probes; .* train them",
    "resume": r"PaintRegions|batch_sampler\.painted",
}
"""Where a language model of before, which wrote boxes as letters, should answer or go on learning so."""
ROADS = ("resume", "load_from", "Pretrained", "test", "export")


@pytest.mark.parametrize("stage", STAGES)
def test_a_checkpoint_of_before_loads_without_the_flag(stage):
    load_plugins()
    file = GOLDEN / STAGES[stage]
    content = read_checkpoint(file, setting="checkpoint", remedy="")
    loss = content["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(loss, HistoryBuffer)
    assert len(loss.data[0]) == 2
    assert loss.mean() == sum(loss.data[0]) / 2
    assert check_resumable(str(file)) == 2
    encoder = FineViT(arch=ARCH, init_cfg={"type": "Pretrained", "checkpoint": str(file), "prefix": "backbone."})
    encoder.init_weights()
    assert (encoder.embed.weight == weights_of(content)["backbone.embed.weight"]).all()
    assert read_source(file).stage == stage
    probed = load_encoder(open_checkpoint(str(file), None, {}))
    assert torch.equal(probed.backbone.embed.weight, encoder.embed.weight)


def test_what_people_put_into_a_checkpoint_of_their_own_loads_by_the_flag(tmp_path, monkeypatch):
    content = read_checkpoint(GOLDEN / STAGES["II"], setting="checkpoint", remedy="")
    torch.save({**content, "arguments": SimpleNamespace(lr=0.1)}, tmp_path / "mine.pth")
    with pytest.raises(ValueError, match=r"would run code when it is read \(types\.SimpleNamespace\): .*--trust-checkpoint"):
        check_resumable(str(tmp_path / "mine.pth"))
    monkeypatch.setenv(VARIABLE, "1")
    assert check_resumable(str(tmp_path / "mine.pth")) == 2
    assert read_checkpoint(tmp_path / "mine.pth", setting="checkpoint", remedy="")["arguments"].lr == 0.1


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.filterwarnings("ignore")  # of tools that are called in this process
def test_every_road_reads_a_checkpoint_of_before(stage, tmp_path):
    load_plugins()
    file, own, other = GOLDEN / STAGES[stage], tmp_path / "own.py", tmp_path / "other.py"
    content = read_checkpoint(file, setting="checkpoint", remedy="")
    own.write_text(content["meta"]["cfg"].replace("max_iters=2", "max_iters=4"))
    other.write_text(CONFIG.replace("dim=16, heads=2", "dim=8, heads=2"))  # with the data that that of Stage III lacks
    for name in ROADS:
        code, said = roads(other if (stage, name) in (("III", "load_from"), ("III", "test")) else own, tmp_path)[name](file)
        if stage == "III" and name in REFUSED:
            assert code == 2
            assert re.search(REFUSED[name], said), said
            continue
        assert code == 0, (name, said)
        if name in ("resume", "load_from"):
            weights = torch.load(tmp_path / "out/iter_4.pth")["state_dict"]
            assert weights.keys() == content["state_dict"].keys()
            assert all(value.isfinite().all() for value in weights.values())
            assert ("Resuming at iteration 2" in said) == (name == "resume")
            assert "begin anew" not in said
            shutil.rmtree(tmp_path / "out")
    if stage == "III":
        code, said = answers(other, file)
        assert code == 2
        assert re.search(REFUSED["test"], said), said
