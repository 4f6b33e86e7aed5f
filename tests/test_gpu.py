"""What only a GPU computes, against what a CPU computes in float32: skipped where there is none."""

from collections import Counter

import pytest
import torch
from sample_steps import model_and_batch

from finevit.backbones import FineViT
from finevit.ops import attention
from finevit.ops.attention import path
from finevit.packing.packs import PackedImages
from finevit.testing import random_pack

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GRIDS = [(2, 2), (12, 18), (1, 9), (30, 24), (6, 6), (3, 5)]
ARCH = {"depth": 3, "dim": 384, "heads": 4, "mlp_dim": 512}  # heads of 96, as those of L


def encoder(**options) -> FineViT:
    torch.manual_seed(0)
    return FineViT(arch=ARCH, **options)


def images() -> PackedImages:
    found = random_pack(GRIDS)
    return found._replace(pixels=found.pixels.float())


def learn(made: FineViT, pack: PackedImages, device: str, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """Tokens, pooled vectors and gradients of all weights."""
    made = made.to(device)
    pack = PackedImages(*(each.to(device) if isinstance(each, torch.Tensor) else each for each in pack))
    with torch.autocast("cuda", dtype or torch.float32, enabled=dtype is not None):
        output = made(pack)
        probe = torch.linspace(-1, 1, output.tokens.numel(), device=device).view_as(output.tokens).sin()
        loss = (output.tokens.float() * probe).sum() + output.pooled.float().square().sum()
    loss.backward()
    return {"tokens": output.tokens, "pooled": output.pooled, **{name: p.grad for name, p in made.named_parameters()}}


def distances(found: dict, true: dict) -> dict[str, float]:
    """Of each value: the norm of the error over that of the truth."""
    pairs = {name: (found[name].detach().double().cpu(), true[name].detach().double().cpu()) for name in true}
    return {name: float((here - there).norm() / there.norm()) for name, (here, there) in pairs.items()}


@pytest.fixture(scope="module")
def truth() -> dict[str, torch.Tensor]:
    return learn(encoder(), images(), "cpu")


def test_float32_is_that_of_the_cpu(truth):
    """FlexAttention, with the mask of the pack."""
    assert path(torch.device("cuda"), torch.float32).startswith("one flexible kernel")
    assert max(distances(learn(encoder(), images(), "cuda"), truth).values()) < 1e-4


@pytest.fixture(scope="module")
def rounding(truth) -> dict[str, float]:
    """How far the slow path, image after image, is from the truth in bfloat16."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_in_one_kernel", lambda *_: False)
        return distances(learn(encoder().train(), images(), "cuda", torch.bfloat16), truth)


@pytest.mark.parametrize(
    "options", [{}, {"compile": True}, {"activation_checkpointing": True}, {"compile": True, "activation_checkpointing": True}]
)
def test_bfloat16_is_as_near_the_truth_as_the_slow_path(truth, rounding, options):
    """The kernel of variable length, block by block, compiled and computed twice."""
    assert path(torch.device("cuda"), torch.bfloat16).startswith("one kernel of variable length")
    found = distances(learn(encoder(**options).train(), images(), "cuda", torch.bfloat16), truth)
    assert rounding["tokens"] < 0.02
    assert all(found[name] < 1.3 * rounding[name] for name in found)


def test_one_graph_serves_packs_of_any_size():
    from torch._dynamo.utils import counters

    made = encoder(compile=True).cuda().train()
    counts = []
    for grids in ([(4, 6)], GRIDS, GRIDS[:3], [(20, 20), (10, 4)]):
        pack = random_pack(grids)
        learn(made, pack._replace(pixels=pack.pixels.float()), "cuda", torch.bfloat16)
        counts.append(Counter(counters["stats"])["unique_graphs"])
    assert counts[-1] == counts[1] > 0


def test_float8_is_near_the_cpu(truth):
    pytest.importorskip("torchao")
    found = distances(learn(encoder(float8=True, compile=True).train(), images(), "cuda", torch.bfloat16), truth)
    assert found["tokens"] < 0.1
    assert max(found.values()) < 0.3


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_no_step_waits_for_the_device(stage):
    """From the batch on the device to the gradients; CUDA itself raises where the host would wait."""
    teacher = {"teacher": {"type": "RandomFeatureTeacher"}} if stage == "stage1" else {}
    model, batch = model_and_batch(stage, 4, **teacher)
    model = model.cuda().train()
    for watched in (False, True):  # what is loaded once may wait
        data = model.data_preprocessor(batch, True)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error" if watched else "default")
        try:
            with torch.autocast("cuda", torch.bfloat16):
                loss = model.parse_losses(model(**data, mode="loss"))[0]
            loss.backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert loss.isfinite()
