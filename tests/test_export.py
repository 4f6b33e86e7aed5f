"""Exports, read back where finevit cannot be imported, give what FineViT gives."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors import safe_open
from sample_export_users import HF, TIMM
from sample_exports import ARCH, CODE, READ, make_checkpoint

from finevit.backbones import FineViT
from finevit.export.run import export
from finevit.hub.tokenizers import load_backend, load_tokenizer
from finevit.ops.patches import unpatchify
from finevit.packing.texts import pack_texts
from finevit.testing import random_pack

GRIDS = [(2, 2), (2, 4), (4, 2), (6, 6), (4, 10), (8, 6), (2, 12), (10, 4), (8, 8), (12, 2)]
"""Ten native sizes, in patches; sides are even, as the connector of Stage III wants them."""


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> SimpleNamespace:
    """Every export, read back in one process without finevit: ``results`` by target, ``expected`` by stage, ``folder``."""
    folder = tmp_path_factory.mktemp("exports")
    pack = random_pack(GRIDS)
    pack = pack._replace(pixels=pack.pixels.float())
    parts = pack.pixels.split(list(pack.seqlens))
    torch.save([unpatchify(part, grid, 14) for part, grid in zip(parts, GRIDS, strict=True)], folder / "images.pt")
    made = {stage: make_checkpoint(folder / f"stage{stage}", stage) for stage in (1, 2, 3)}
    for target in CODE:
        stage = {"open_clip": 2, "llava": 3}.get(target, 1)
        export(made[stage][0], target, folder / target)
    (folder / "code.json").write_text(json.dumps(CODE))
    (folder / "hf_users.py").write_text(HF)
    (folder / "timm_users.py").write_text(TIMM)
    environment = {**os.environ, "HF_MODULES_CACHE": str(folder / "modules")}
    command = [sys.executable, "-I", "-c", READ, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    with torch.no_grad():
        expected = {stage: model.backbone(pack) for stage, (_, model) in made.items()}
    results = torch.load(folder / "results.pt", weights_only=False)
    return SimpleNamespace(
        folder=folder, results=results, expected=expected, models={n: m for n, (_, m) in made.items()}, pack=pack
    )


def close(found, wanted) -> float:
    """The largest difference."""
    assert found.shape == wanted.shape
    return (found - wanted).abs().max().item()


@pytest.mark.slow
@pytest.mark.parametrize("target", list(CODE))
def test_an_export_gives_what_the_encoder_gives_on_ten_native_sizes(read, target: str) -> None:
    result = read.results[target]
    assert "error" not in result, result["error"]
    expected = read.expected[{"open_clip": 2, "llava": 3}.get(target, 1)]
    assert close(torch.cat(result["tokens"]), expected.tokens) < 1e-4
    if result["pooled"] is not None:
        assert close(torch.stack(result["pooled"]), expected.pooled) < 1e-4


@pytest.mark.slow
def test_safetensors_say_what_they_are(read) -> None:
    with safe_open(read.folder / "safetensors/model.safetensors", "pt") as file:
        metadata, keys = file.metadata(), set(file.keys())
    assert keys == set(FineViT(arch=ARCH).state_dict())
    assert (metadata["stage"], metadata["finevit_format"]) == ("I", "1")
    assert json.loads(metadata["config"]) == {**ARCH, "patch": 14, "pool": "mean", "rope_theta": 100.0}
    assert json.loads(metadata["image"])["pixels"] == 224 * 224


@pytest.mark.slow
def test_hugging_face_reads_packs_and_gives_hidden_states(read) -> None:
    said, expected = read.results["hf"]["said"], read.expected[1]
    tokens, pooled = said["packed"]
    assert close(tokens, expected.tokens) < 1e-4
    assert close(pooled, expected.pooled) < 1e-4
    assert said["hidden"] == [ARCH["depth"] + 1] * len(GRIDS)
    assert said["last"] < 1e-5
    assert list(said["square"]) == [2, 3, 56, 56]
    assert said["processed"]["grids"].tolist() == [[4, 4], [12, 20]]
    assert said["processed"]["pixel_values"].shape == (4 * 4 + 12 * 20, 588)


@pytest.mark.slow
def test_hugging_face_attention_and_checkpointing_are_those_of_transformers(read) -> None:
    said = read.results["hf"]["said"]
    assert said["kinds"] == ["sdpa", "softmax_attention", "scaled_dot_product_attention"]
    assert 0 < said["attention"][0] < 1e-5
    assert said["attention"][1] == 0
    assert "Flash Attention 2" in said["flash"]
    difference, runs = said["checkpointing"]
    assert difference < 1e-6
    assert runs == [1] * ARCH["depth"] + [0] + [1] * 2 * ARCH["depth"] + [0], "blocks are computed again in the backward pass"


@pytest.mark.slow
def test_hugging_face_processor_keeps_to_its_settings(read) -> None:
    said = read.results["hf"]["said"]
    shapes = {"size": [224, 224], "edge": [112, 154], "rounded": [98, 196], "longest": [84, 112], "cropped": [98, 98]}
    assert said["sizes"] == {name: [1, 3, *sides] for name, sides in shapes.items()}
    assert said["raw"] == 0
    assert said["floats"] < 1e-6
    assert said["types"] == ["Tensor", "ndarray", "ndarray"]
    assert said["arrays"] == [(3, 56, 56), (3, 84, 112), (3, 196, 112)]
    assert said["forms"] == [[2, 3, 56, 56]] * 2 + [[1, 3, 56, 56]]
    assert said["chosen"] == [[1, 3, 56, 84]] * 2
    expected = {
        "sides": "ValueError: do_resize=False: an image has 90 x 120 pixels, whose sides must be multiples of the patch, 14",
        "key": "ValueError: size={'side': 3}: give one of height and width",
        "argument": "TypeError: FineViTImageProcessor.preprocess() got an unexpected keyword argument 'resample'",
        "floats": "ValueError: images of float64: give uint8 of 0 to 255, or do_rescale=False",
        "empty": "ValueError: images: an empty list",
        "tensors": "ValueError: return_tensors='tf': give 'pt', 'np' or None",
    }
    assert said["errors"].keys() == expected.keys()
    assert all(said["errors"][name].startswith(text) for name, text in expected.items())


@pytest.mark.slow
def test_hugging_face_has_pipelines_backbones_and_classifiers(read) -> None:
    said = read.results["hf"]["said"]
    assert max(said["pipeline"] + said["pools"]) < 1e-5, "images of a batch have their own sizes"
    assert said["backbone"] == ([64, 64], ["stage1", "stage3"], [[1, 64, 4, 10]] * 2)
    assert max(said["maps"]) < 1e-5
    shape, beyond, difference = said["spread"]
    assert shape == [3, 64, 14, 8]
    assert beyond == 0
    assert difference < 1e-5
    assert max(said["loss"], said["logits"]) < 1e-5
    found, wanted = said["classes"]
    assert found == wanted
    assert said["exported"] < 1e-5


@pytest.mark.slow
def test_timm_has_its_methods(read) -> None:
    said = read.results["timm"]["said"]
    assert said["maps"] == [[[1, 64, 2, 2]] * 2, [[1, 64, 2, 4]] * 2]
    assert said["info"] == ([64, 64], [14, 14])
    assert said["pruned"] == []
    assert max(said["again"], said["last"], said["normed"]) < 1e-5
    assert said["logits"] == [1, 5, 1, 7, 64, 0]
    assert said["large"]
    assert said["config"] == (0.485, 0.456, 0.406)


@pytest.mark.slow
def test_timm_takes_its_settings(read) -> None:
    said = read.results["timm"]["said"]
    assert said["same"] == 0
    rates, differ = said["drop_path"]
    assert rates == pytest.approx([0, 0.25, 0.5])
    assert any(differ), "in training paths are dropped"
    assert said["sides"] == ((56, 84), 0)
    assert max(said["layers"]) < 1e-5
    assert said["dict"] == {"image_intermediates": 2, "image_features": 2}
    expected = {
        "img_size": "ValueError: img_size=225: give multiples of the patch, 14 pixels",
        "unknown": "TypeError: Encoder.__init__() got an unexpected keyword argument 'qkv_bias'",
        "fixed": "ValueError: images of 112 x 112 pixels: img_size=(28, 28) and dynamic_img_size=False",
        "patch": "patch_size=16: the weights are for patches of 14 pixels",
    }
    assert said["errors"] == expected


@pytest.mark.slow
def test_open_clip_embeds_images_and_texts_as_stage_two_does(read) -> None:
    said, model = read.results["open_clip"]["said"], read.models[2]
    tokenizer = load_tokenizer("scenes")
    ids, truncated = tokenizer(["a red circle", "", "Two cats on a blue table and a dog " * 9], 256)
    assert [row[row != 0].tolist() for row in said["ids"]] == ids
    assert said["ids"].shape == (3, 256)
    assert truncated == [False, False, False]
    assert said["short"].shape == (1, 4)
    assert [row[row != 0].tolist() for row in said["spelt"]] == tokenizer(["a dog</s>", "a <pad> cat<s>"], 256)[0]
    texts = pack_texts(ids, 256)
    with torch.no_grad():
        image, text = model.embed_images(read.pack), model.embed_texts(texts)
    assert close(said["image"], image) < 1e-4
    assert close(said["text"], text) < 1e-4
    assert (said["raw"] - 1).abs().min() > 0.01, "as in open_clip, unit vectors only where they are asked for"
    assert said["scale"] == (model.head.logit_scale.item(), model.head.logit_bias.item())
    *features, scale, bias = said["forward"]
    assert close(scale, model.head.tau.detach()) < 1e-5
    assert close(bias, model.head.logit_bias.detach()[0]) == 0
    assert close(features[0], image[:1]) < 1e-4
    assert close(features[1], text) < 1e-4
    assert list(said["dict"]) == ["image_features", "text_features", "logit_scale", "logit_bias"]
    assert all(torch.equal(a, b) for a, b in zip(said["dict"].values(), said["forward"], strict=True))
    assert said["half"][0] is None
    assert close(said["half"][1], text) < 1e-4
    assert said["length"] == (256, 256)
    wanted = model.head.tau.detach() * image @ text.T + model.head.logit_bias.detach()
    assert close(said["logits"], wanted) < 1e-3
    assert said["sizes"] == ((112, 112), (3, 112, 112), (3, 28, 56))


def open_clip_module(folder: Path):
    """The module of an export, read in this process."""
    assert "import finevit" not in (folder / "open_clip_finevit.py").read_text()
    spec = importlib.util.spec_from_file_location("open_clip_finevit", folder / "open_clip_finevit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["SiglipText", "CLIPText", "Bert"])
def test_text_towers_of_hugging_face_travel_along(kind: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 1024}
    special = {"eos_token_id": 2, "bos_token_id": 1} if kind == "CLIPText" else {}
    config = getattr(transformers, f"{kind}Config")(**sizes, max_position_embeddings=40, **special)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path / "tower")
    load_backend("scenes").save_pretrained(tmp_path / "tower")
    settings = {"type": "HuggingFaceText", "model": str(tmp_path / "tower"), "context": 48}
    path, model = make_checkpoint(tmp_path / "run", 2, settings)
    export(path, "open_clip", tmp_path / "out")
    shutil.rmtree(tmp_path / "tower")
    found, _, tokenizer = open_clip_module(tmp_path / "out").load(tmp_path / "out")
    captions = ["a red circle", "Two cats on a blue table and a dog", "a dog " * 60, ""]
    texts = pack_texts(load_tokenizer("scenes")(captions, 48)[0], 48)
    ids = tokenizer(captions)
    assert ids.shape == (4, 48)
    (spelt,), _ = load_tokenizer("scenes")(["a dog</s> <pad>"], 48)
    assert tokenizer("a dog</s> <pad>")[0].tolist() == [*spelt, *[tokenizer.pad] * (48 - len(spelt))]
    with torch.no_grad():
        wanted = model.embed_texts(texts)
        assert close(found.encode_text(ids, normalize=True), wanted) < 1e-4
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3


@pytest.mark.slow
def test_clip_benchmark_reads_the_export(read, clip_benchmark) -> None:
    model, preprocess, tokenizer = open_clip_module(read.folder / "open_clip").load(read.folder / "open_clip")
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)) for _ in range(4)]
    texts = [[f"{name} cats", f"a picture of {name}"] for name in ("one", "two", "three", "four")]
    batches = [(torch.stack([preprocess(picture) for picture in pictures]), texts)]
    found = clip_benchmark("zeroshot_retrieval").evaluate(model, batches, tokenizer, "cpu", amp=False, recall_k_list=[4])
    assert found == {"image_retrieval_recall@4": 1.0, "text_retrieval_recall@4": pytest.approx(1.0, abs=0.5)}


@pytest.mark.slow
def test_llava_has_its_tower_and_the_projector_of_stage_three(read) -> None:
    said, model = read.results["llava"]["said"], read.models[3]
    assert said["before"] == (False, 64)
    assert said["batch"] < 1e-5
    assert said["patches"] == (256, 16, {"height": 224, "width": 224}, torch.float32, "cpu")
    assert said["grad"] == [False, [1, 64]]
    with torch.no_grad():
        (second,) = model.backbone(read.pack, layers=[-2]).layers
        visual = model.connector(model.backbone(read.pack).tokens, read.pack)
    assert close(said["second"], second) < 1e-4
    assert close(said["visual"], visual) < 1e-4
    assert said["pixels"] == ((1, 3, 224, 224), (3, 28, 56))


@pytest.mark.slow
def test_onnx_has_free_batch_height_and_width(read) -> None:
    said = read.results["onnx"]["said"]
    assert said["pair"] < 1e-5
    assert said["shapes"] == [["batch", 3, "14*rows", "14*cols"], ["batch", 64], ["batch"]]
    assert said["config"]["image"]["mean"] == [0.485, 0.456, 0.406]
