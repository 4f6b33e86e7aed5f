"""A checkpoint of earlier code, with MMEngine's histories pickled as objects, loads as it is."""

from pathlib import Path

from mmengine.logging import HistoryBuffer

from finevit.backbones import FineViT
from finevit.engine.checkpoints import check_resumable
from finevit.export.source import read_source
from finevit.plugins import load_plugins
from finevit.weights import read_checkpoint, weights_of

FILE = Path(__file__).parent / "golden/stage3_before.pth"


def test_a_checkpoint_of_before_loads_without_the_flag():
    load_plugins()
    content = read_checkpoint(FILE, setting="checkpoint", remedy="")
    loss = content["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(loss, HistoryBuffer)
    assert len(loss.data[0]) == 2
    assert loss.mean() == sum(loss.data[0]) / 2
    check_resumable(str(FILE))
    encoder = FineViT(
        arch={"depth": 1, "dim": 16, "heads": 1, "hidden": 16},
        init_cfg={"type": "Pretrained", "checkpoint": str(FILE), "prefix": "backbone."},
    )
    encoder.init_weights()
    assert (encoder.embed.weight == weights_of(content)["backbone.embed.weight"]).all()
    assert read_source(FILE).stage == "III"
