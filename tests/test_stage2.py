"""Stage II as a model: its losses, exact accumulation in micro-batches, the frozen text tower, predictions, what it learns."""

import pytest
import torch
from mmengine.optim import OptimWrapper

from finevit.packing.packs import PackedTexts
from finevit.registry import MODELS
from finevit.stages.contrastive import ContrastiveLearning
from finevit.testing import random_pack, random_texts

GRIDS = ((2, 3), (4, 2), (1, 1), (3, 3), (2, 2))
ARCH = {"depth": 2, "dim": 32, "heads": 2, "mlp_dim": 48}


def stage(head: str = "SigmoidHead", logit_scale: float = 4.0, **options: object) -> ContrastiveLearning:
    torch.manual_seed(0)
    return MODELS.build(
        {
            "type": "finevit.ContrastiveLearning",
            "backbone": {"type": "FineViT", "arch": ARCH},
            "text_encoder": {"type": "TextTransformer", "tokenizer": "scenes", "depth": 1, "dim": 16, "heads": 2, "context": 32},
            "head": {"type": head, "embed_dim": 8, "logit_scale": logit_scale},
            "_scope_": "finevit",
            **options,
        }
    ).double()


def texts(lengths: tuple[int, ...] = (3, 7, 1, 4, 2)) -> PackedTexts:
    return random_texts(lengths, max_seq_len=8)


def gradients(model: ContrastiveLearning) -> dict[str, torch.Tensor]:
    model.zero_grad()
    losses = model(random_pack(GRIDS), texts(), mode="loss")
    sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("head", ["SigmoidHead", "SoftmaxHead"])
@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_micro_batches_change_nothing_but_memory(head, size):
    """The loss sees all pairs of the batch, whatever is run at a time: values and gradients to rounding."""
    whole, cut = stage(head), stage(head, micro_batch=size)
    expected, found = gradients(whole), gradients(cut)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-12, msg=name)


def test_every_parameter_learns():
    """No parameter is without a gradient, none has a gradient of zeros."""
    model = stage()
    found = gradients(model)
    assert found.keys() == dict(model.named_parameters()).keys()
    assert [name for name, value in found.items() if not value.abs().max() > 0] == []


def test_a_frozen_text_tower_keeps_still():
    """It gets no gradients, but its projection and the image tower do; its embeddings do not change."""
    model = stage()
    before = model.embed_texts(texts())
    model.text_frozen = True
    found = gradients(model)
    assert not any(name.startswith("text_encoder.") for name in found)
    assert {"head.text.weight", "head.image.weight", "backbone.embed.weight"} <= found.keys()
    torch.testing.assert_close(model.embed_texts(texts()), before)
    assert not model.text_encoder.training


@pytest.mark.parametrize("size", [None, 2])
def test_a_frozen_encoder_keeps_still(size):
    """It gets no gradients and is run as in evaluation; all the rest gets those that it would get beside a trained encoder."""
    options = {"backbone": {"type": "FineViT", "arch": ARCH, "drop_path": 0.9}, "micro_batch": size}
    model = stage(backbone_frozen=True, **options)
    found, expected = gradients(model), gradients(stage())
    assert found.keys() == {name for name in expected if not name.startswith("backbone.")}
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-12, msg=name)
    assert not model.backbone.training
    model.backbone_frozen = False  # as a schedule does
    assert gradients(model).keys() == expected.keys()
    assert model.backbone.training


def test_the_value_is_siglips():
    """``-1/n sum log sigmoid`` of all pairs, from the stage's own embeddings."""
    model = stage()
    z = (
        model.head.tau * model.embed_images(random_pack(GRIDS)).double() @ model.embed_texts(texts()).double().T
        + model.head.logit_bias
    )
    sign = 2 * torch.eye(len(GRIDS), dtype=torch.float64) - 1
    expected = -torch.nn.functional.logsigmoid(sign * z).sum() / len(GRIDS)
    found = model(random_pack(GRIDS), texts(), mode="loss")
    torch.testing.assert_close(found["loss_sigmoid"].double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(found["temperature"].double(), torch.tensor(0.25, dtype=torch.float64))
    assert found["logit_bias"].item() == -10


def test_predictions_of_an_image():
    """One dict an image: unit vectors, tokens, the batch's further entries; several captions an image are told apart."""
    model = stage().eval()
    found = model(random_pack(GRIDS), texts(), mode="predict", id=list("abcde"))
    assert [sample["id"] for sample in found] == list("abcde")
    assert [len(sample["tokens"]) for sample in found] == [6, 8, 1, 9, 4]
    assert [sample["length"] for sample in found] == [3, 7, 1, 4, 2]
    for name in ("image", "text"):
        norms = torch.stack([sample[name] for sample in found]).norm(dim=-1)
        torch.testing.assert_close(norms.double(), torch.ones(5, dtype=torch.float64))
    several = model(random_pack(GRIDS[:2]), texts(), mode="predict", caption_counts=(2, 3))
    assert [sample["lengths"] for sample in several] == [[3, 7], [1, 4, 2]]
    torch.testing.assert_close(several[1]["texts"][2], found[4]["text"])


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"ContrastiveLearning\.micro_batch=0: give a whole number"):
        stage(micro_batch=0)
    with pytest.raises(ValueError, match="is no text encoder"):
        stage(text_encoder={"type": "FineViT", "arch": ARCH})
    with pytest.raises(ValueError, match=r"SigmoidHead\.logit_scale=0: give a number above 0, at most 100"):
        stage("SigmoidHead", logit_scale=0)


def test_the_recorded_loss_curve():
    """Twenty steps on five pairs: a refactoring may not move them."""
    model = stage(backbone={"type": "FineViT", "arch": ARCH, "locality": 4.0})
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-2))
    curve = []
    for _ in range(20):
        loss = model(random_pack(GRIDS), texts(), mode="loss")["loss_sigmoid"]
        wrapper.update_params(loss)
        curve.append(loss.item())
    assert curve[::5] == pytest.approx([8.709744, 5.904224, 5.529618, 5.229055], abs=1e-4)


def test_temperature_comes_back_from_its_bound():
    """The inverse temperature is held at 100, where its gradient is that of the loss and not nothing."""
    head = MODELS.build({"type": "SigmoidHead", "image_dim": 8, "text_dim": 8, "embed_dim": 8, "logit_scale": 100.0}).double()
    with torch.no_grad():
        head.logit_scale.add_(1)
    image, text = torch.eye(4, 8, dtype=torch.float64), torch.eye(4, 8, dtype=torch.float64).flip(0)
    head.loss(image, text)["loss_sigmoid"].backward()
    assert head.tau.item() == pytest.approx(100.0, rel=1e-6)
    assert head.logit_scale.grad.item() > 10
    torch.optim.SGD([head.logit_scale], lr=1e-3).step()
    assert head.tau.item() < 99.0


@pytest.mark.parametrize("kind", ["SigmoidHead", "SoftmaxHead"])
def test_head_keeps_double_precision(kind):
    head = MODELS.build({"type": kind, "image_dim": 8, "text_dim": 6, "embed_dim": 5}).double()
    vectors = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = head.embed_images(vectors)
    assert found.dtype == torch.float64
    assert (found.norm(dim=1) - 1).abs().max() < 1e-15
    assert head.half().embed_images(vectors.half()).dtype == torch.float32
