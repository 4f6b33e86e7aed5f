"""Exports: read back where finevit cannot be imported, they give what FineViT gives; wrong checkpoints are refused with keys."""

import importlib.util
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import transformers
import yaml
from mmengine.config import Config
from PIL import Image
from safetensors import safe_open

from finevit.backbones import FineViT
from finevit.contracts import PackedTexts
from finevit.datasets.images import decode
from finevit.datasets.text import pack_texts
from finevit.engine.config import load_config
from finevit.export.run import export
from finevit.export.templates import pixels_finevit
from finevit.ops.patches import snapped_size, unpatchify
from finevit.plugins import load_plugins
from finevit.registry import MODELS
from finevit.testing import fill, random_pack
from finevit.tokenizers import load_backend, load_tokenizer

ROOT = Path(__file__).parents[1]
ARCH = {"depth": 3, "dim": 64, "heads": 4, "hidden": 96}
GRIDS = [(2, 2), (2, 4), (4, 2), (6, 6), (4, 10), (8, 6), (2, 12), (10, 4), (8, 8), (12, 2)]
"""Ten native sizes, in patches; sides are even, as the connector of Stage III wants them."""


def make_checkpoint(folder: Path, stage: int, text_encoder: dict | None = None) -> tuple[Path, torch.nn.Module]:
    """A checkpoint as tools/train.py leaves it, of random weights, and the model that is in it."""
    load_plugins()
    cfg = load_config(ROOT / f"configs/finevit_tiny_stage{stage}.py")
    cfg.model.backbone = {"type": "FineViT", "arch": ARCH, "pool": "attention" if stage == 2 else "mean"}
    if text_encoder:
        cfg.model.text_encoder = text_encoder
    model = MODELS.build(cfg.model)
    fill(model, scale=0.1)
    meta = {"cfg": cfg.pretty_text, "iter": 600, "seed": 0, "experiment_name": "tiny", "mmengine_version": "0"}
    folder.mkdir(exist_ok=True)
    torch.save({"meta": meta, "state_dict": model.state_dict()}, folder / "iter_600.pth")
    return folder / "iter_600.pth", model.eval()


READ = """
import json, sys, traceback
import torch
from pathlib import Path
sys.modules["finevit"] = sys.modules["mmengine"] = None  # importing them fails
folder = Path(sys.argv[1])
images = torch.load(folder / "images.pt")
results = {}
for name, code in json.loads((folder / "code.json").read_text()).items():
    space = {"folder": folder, "images": images, "torch": torch, "sys": sys, "json": json}
    try:
        with torch.no_grad():
            exec(code, space)
        results[name] = {"said": space.get("said"), "tokens": space.get("tokens"), "pooled": space.get("pooled")}
    except Exception:
        results[name] = {"error": traceback.format_exc()}
torch.save(results, folder / "results.pt")
"""
CODE = {
    "safetensors": """
import json
from safetensors import safe_open
sys.path.append(str(folder / "safetensors"))
from encoder_finevit import Encoder
with safe_open(folder / "safetensors/model.safetensors", "pt") as file:
    encoder = Encoder(**json.loads(file.metadata()["config"]))
    encoder.load_state_dict({key: file.get_tensor(key) for key in file.keys()})
outputs = [encoder.encode(image[None]) for image in images]
tokens, pooled = [o[0][0] for o in outputs], [o[1][0] for o in outputs]
sys.path.pop()
""",
    "hf": """
import numpy as np
from transformers import AutoImageProcessor, AutoModel
model = AutoModel.from_pretrained(folder / "hf", trust_remote_code=True)
outputs = [model(image[None], output_hidden_states=True) for image in images]
tokens, pooled = [o.last_hidden_state[0] for o in outputs], [o.pooler_output[0] for o in outputs]
patchify = sys.modules[type(model.encoder).__module__].patchify
patches = torch.cat([patchify(image[None], 14)[0] for image in images])
packed = model(patches, grids=torch.tensor([[image.shape[1] // 14, image.shape[2] // 14] for image in images]))
processor = AutoImageProcessor.from_pretrained(folder / "hf", trust_remote_code=True)
rng = np.random.default_rng(0)
photos = [rng.integers(0, 256, size, dtype=np.uint8) for size in ((50, 70, 3), (300, 500, 3))]
said = {
    "packed": (packed.last_hidden_state, packed.pooler_output),
    "hidden": [len(o.hidden_states) for o in outputs],
    "last": max((model.encoder.norm(o.hidden_states[-1])[0] - t).abs().max() for o, t in zip(outputs, tokens)),
    "processed": dict(processor(photos)),
    "square": processor(photos, square=True, pixels=56 * 56)["pixel_values"].shape,
}
""",
    "timm": """
import timm
sys.path.insert(0, str(folder / "timm"))
import timm_finevit
name = f"local-dir:{folder / 'timm'}"
model = timm.create_model(name, pretrained=True).eval()
maps = timm.create_model(name, pretrained=True, features_only=True, out_indices=(0, -1)).eval()
tokens = [model.forward_features(image[None])[0] for image in images]
pooled = [model(image[None])[0] for image in images]
again = timm.create_model(
    "finevit_custom", checkpoint_path=str(folder / "timm/model.safetensors"), depth=3, dim=64, heads=4, hidden=96
).eval()
last, found = model.forward_intermediates(images[3][None], indices=2)
tuned = timm.create_model(name, pretrained=True, num_classes=5, global_pool="avg").eval()
logits = tuned(images[1][None]).shape
before = model.head_hidden_size, model.num_classes
model.reset_classifier(7)
said = {
    "maps": [[list(m.shape) for m in maps(image[None])] for image in images[:2]],
    "info": (maps.feature_info.channels(), maps.feature_info.reduction()),
    "pruned": sorted(n for n, _ in maps.named_parameters() if "norm." in n and "blocks" not in n),
    "again": (again(images[2][None])[0] - pooled[2]).abs().max(),
    "last": (last[0] - tokens[3]).abs().max(),
    "normed": (model.norm(found[1].flatten(2).transpose(1, 2))[0] - tokens[3]).abs().max(),
    "logits": [*logits, *model(images[0][None]).shape, *before],
    "large": timm.models.is_model("finevit_large"),
    "config": timm.data.resolve_model_data_config(again)["mean"],
}
""",
    "open_clip": """
sys.path.insert(0, str(folder / "open_clip"))
from open_clip_finevit import load
model, preprocess, tokenizer = load(folder / "open_clip")
outputs = [model.visual.encoder.encode(image[None]) for image in images]
tokens, pooled = [o[0][0] for o in outputs], [o[1][0] for o in outputs]
texts = ["a red circle", "", "Two cats on a blue table and a dog " * 9]
picture = torch.arange(3 * 40 * 60).remainder(256).to(torch.uint8).reshape(3, 40, 60)
native = load(folder / "open_clip", native=True)[1]
said = {
    "image": model.encode_image(images, normalize=True),
    "batch": model.encode_image(images[0][None]),
    "ids": tokenizer(texts),
    "short": tokenizer("a red circle", context_length=4),
    "text": model.encode_text(tokenizer(texts), normalize=True),
    "raw": model.encode_text(tokenizer(texts)).norm(dim=-1),
    "scale": (model.logit_scale.item(), model.logit_bias.item()),
    "forward": model(images[0][None], tokenizer(texts)),
    "logits": model.get_logits(images, tokenizer(texts))[0],
    "sizes": (model.visual.image_size, preprocess(picture).shape, native(picture).shape),
}
""",
    "llava": """
sys.path.insert(0, str(folder / "llava"))
from types import SimpleNamespace
from llava_finevit import FineViTVisionTower, LlavaImages, load_projector
tower = FineViTVisionTower(folder / "llava", delay_load=True)
before = tower.is_loaded, tower.hidden_size
tower.load_model()
tokens, pooled = [o[0] for o in tower(images)], None
other = FineViTVisionTower(folder / "llava", SimpleNamespace(mm_vision_select_layer=-2))
projector = load_projector(folder / "llava")
picture = torch.arange(3 * 40 * 60).remainder(256).to(torch.uint8).reshape(3, 40, 60)
native = LlavaImages(folder / "llava", native=True)
said = {
    "before": before,
    "batch": (tower(images[0][None])[0] - tokens[0]).abs().max(),
    "second": torch.cat([other(image[None])[0] for image in images]),
    "patches": (tower.num_patches, tower.num_patches_per_side, tower.image_processor.crop_size, tower.dtype, tower.device.type),
    "grad": [any(p.requires_grad for p in tower.parameters()), list(tower.dummy_feature.shape)],
    "visual": torch.cat([projector(t[None], (i.shape[1] // 14, i.shape[2] // 14))[0] for t, i in zip(tokens, images)]),
    "pixels": (tower.image_processor(picture)["pixel_values"].shape, native([picture])["pixel_values"][0].shape),
}
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession(folder / "onnx/model.onnx", providers=["CPUExecutionProvider"])
outputs = [session.run(None, {"pixel_values": image[None].numpy()}) for image in images]
tokens, pooled = ([torch.from_numpy(o[k][0]) for o in outputs] for k in (0, 1))
pair = torch.stack([images[8], images[8].flip(2)])
both = session.run(None, {"pixel_values": pair.numpy()})[1]
said = {
    "pair": float(abs(both[0] - outputs[8][1][0]).max()),
    "shapes": [i.shape for i in session.get_inputs()] + [o.shape[::2] for o in session.get_outputs()],
    "config": json.loads((folder / "onnx/config.json").read_text()),
}
""",
}


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> SimpleNamespace:
    """Every export, read back in one process without finevit: ``results`` by target, ``expected`` by stage, ``folder``."""
    folder = tmp_path_factory.mktemp("exports")
    pack = random_pack(GRIDS)
    pack = pack._replace(pixels=pack.pixels.float())
    parts = pack.pixels.split(list(pack.lengths))
    torch.save([unpatchify(part, grid, 14) for part, grid in zip(parts, GRIDS, strict=True)], folder / "images.pt")
    made = {stage: make_checkpoint(folder / f"stage{stage}", stage) for stage in (1, 2, 3)}
    for target in CODE:
        stage = {"open_clip": 2, "llava": 3}.get(target, 1)
        export(made[stage][0], target, folder / target)
    (folder / "code.json").write_text(json.dumps(CODE))
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


@pytest.mark.parametrize("target", list(CODE))
def test_an_export_gives_what_the_encoder_gives_on_ten_native_sizes(read, target: str) -> None:
    result = read.results[target]
    assert "error" not in result, result["error"]
    expected = read.expected[{"open_clip": 2, "llava": 3}.get(target, 1)]
    assert close(torch.cat(result["tokens"]), expected.tokens) < 1e-4
    if result["pooled"] is not None:
        assert close(torch.stack(result["pooled"]), expected.pooled) < 1e-4


def test_safetensors_say_what_they_are(read) -> None:
    with safe_open(read.folder / "safetensors/model.safetensors", "pt") as file:
        metadata, keys = file.metadata(), set(file.keys())
    assert keys == set(FineViT(arch=ARCH).state_dict())
    assert (metadata["stage"], metadata["finevit_format"]) == ("I", "1")
    assert json.loads(metadata["config"]) == {**ARCH, "patch": 14, "pool": "mean", "rope_theta": 100.0}
    assert json.loads(metadata["image"])["pixels"] == 224 * 224


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


def test_timm_has_its_methods(read) -> None:
    said = read.results["timm"]["said"]
    assert said["maps"] == [[[1, 64, 2, 2]] * 2, [[1, 64, 2, 4]] * 2]
    assert said["info"] == ([64, 64], [14, 14])
    assert said["pruned"] == []
    assert max(said["again"], said["last"], said["normed"]) < 1e-5
    assert said["logits"] == [1, 5, 1, 7, 64, 0]
    assert said["large"]
    assert said["config"] == (0.485, 0.456, 0.406)


def test_open_clip_embeds_images_and_texts_as_stage_two_does(read) -> None:
    said, model = read.results["open_clip"]["said"], read.models[2]
    tokenizer = load_tokenizer("scenes")
    ids, truncated = tokenizer(["a red circle", "", "Two cats on a blue table and a dog " * 9], 256)
    assert [row[row != 0].tolist() for row in said["ids"]] == ids
    assert said["ids"].shape == (3, 256)
    assert truncated == [False, False, False]
    assert said["short"].shape == (1, 4)
    lengths = tuple(map(len, ids))
    offsets = torch.tensor(np.cumsum((0, *lengths)), dtype=torch.int32)
    texts = PackedTexts(torch.tensor([each for row in ids for each in row]), offsets, lengths, 256)
    with torch.no_grad():
        image, text = model.embed_images(read.pack), model.embed_texts(texts)
    assert close(said["image"], image) < 1e-4
    assert close(said["text"], text) < 1e-4
    assert (said["raw"] - 1).abs().min() > 0.01, "as in open_clip, unit vectors only where they are asked for"
    assert said["scale"] == (model.head.log_scale.item(), model.head.bias.item())
    assert close(said["forward"]["logit_scale"], model.head.scale.detach()) < 1e-5
    wanted = model.head.scale.detach() * image @ text.T + model.head.bias.detach()
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
    with torch.no_grad():
        wanted = model.embed_texts(texts)
        assert close(found.encode_text(ids, normalize=True), wanted) < 1e-4
    assert (wanted[0] - wanted[1]).abs().max() > 1e-3


def test_clip_benchmark_reads_the_export(read, clip_benchmark) -> None:
    model, preprocess, tokenizer = open_clip_module(read.folder / "open_clip").load(read.folder / "open_clip")
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)) for _ in range(4)]
    texts = [[f"{name} cats", f"a picture of {name}"] for name in ("one", "two", "three", "four")]
    batches = [(torch.stack([preprocess(picture) for picture in pictures]), texts)]
    found = clip_benchmark("zeroshot_retrieval").evaluate(model, batches, tokenizer, "cpu", amp=False, recall_k_list=[4])
    assert found == {"image_retrieval_recall@4": 1.0, "text_retrieval_recall@4": pytest.approx(1.0, abs=0.5)}


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


def test_onnx_has_free_batch_height_and_width(read) -> None:
    said = read.results["onnx"]["said"]
    assert said["pair"] < 1e-5
    assert said["shapes"] == [["batch", 3, "14*rows", "14*cols"], ["batch", 64], ["batch"]]
    assert said["config"]["image"]["mean"] == [0.485, 0.456, 0.406]


def test_targets_refuse_other_stages(read, tmp_path: Path) -> None:
    for target, stage in (("open_clip", "II"), ("llava", "III")):
        with pytest.raises(ValueError, match=f"is of Stage I; give a checkpoint of Stage {stage}"):
            export(read.folder / "stage1/iter_600.pth", target, tmp_path / "out")
    cut = change(read.folder / "stage3/iter_600.pth", tmp_path, lambda c: c["state_dict"].pop("connector.norm.bias"))
    with pytest.raises(ValueError, match=r"connector\.norm\.bias: missing"):
        export(cut, "llava", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_tool_prints_files_and_explains_what_it_refuses(read, tmp_path: Path, monkeypatch, capsys) -> None:
    arguments = ["export.py", str(read.folder / "stage1/iter_600.pth"), "--to", "safetensors", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(ROOT / "tools/export.py"), run_name="__main__")
    names = ["README.md", "encoder_finevit.py", "model.safetensors"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in names]
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(ROOT / "tools/export.py"), run_name="__main__")
    assert "is not empty; give a new folder" in capsys.readouterr().err


def test_images_are_resized_as_in_training() -> None:
    rng = np.random.default_rng(0)
    for height, width in [(300, 500), (31, 200), (20, 45), (224, 448), (97, 60), (1000, 56), (56, 84)]:
        image = cv2.blur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (3, 3))
        rows, cols = pixels_finevit.snapped_size(height, width, pixels=100 * 100)
        assert (rows, cols) == snapped_size(height, width, pixels=100 * 100)
        how = cv2.INTER_AREA if rows * cols < height * width else cv2.INTER_CUBIC
        wanted = torch.from_numpy(cv2.resize(image, (cols, rows), interpolation=how)).permute(2, 0, 1)
        found = pixels_finevit.resize(pixels_finevit.to_pixels(image), rows, cols)
        assert (found.int() - wanted.int()).abs().max() <= 1, (height, width)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright_and_opaque_as_in_training(orientation: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 4), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    image.save(tmp_path / "image.png", exif=image.getexif())
    wanted = torch.from_numpy(decode((tmp_path / "image.png").read_bytes(), name="image")).permute(2, 0, 1)
    found = pixels_finevit.to_pixels(Image.open(tmp_path / "image.png"))
    assert found.shape == wanted.shape
    assert (found.int() - wanted.int()).abs().max() <= 1
    with pytest.raises(ValueError, match="give RGB of 0 to 255 as uint8"):
        pixels_finevit.to_pixels(np.zeros((4, 4, 3), np.float32))


def change(path: Path, folder: Path, edit) -> Path:
    """A copy of a checkpoint after an edit of its content."""
    content = torch.load(path, weights_only=False)
    edit(content)
    torch.save(content, folder / "changed.pth")
    return folder / "changed.pth"


def test_wrong_checkpoints_are_refused_with_their_keys(read, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = read.folder / "stage1/iter_600.pth"

    def spoil(content: dict) -> None:
        weights = content["state_dict"]
        del weights["backbone.norm.bias"]
        weights["backbone.extra"] = torch.zeros(1)
        weights["backbone.embed.bias"] = torch.zeros(3)
        weights["backbone.norm.weight"][0] = float("nan")

    with pytest.raises(ValueError, match="4 keys do not fit") as caught:
        export(change(whole, tmp_path, spoil), "hf", tmp_path / "out")
    for line in (
        "backbone.norm.bias: missing",
        "backbone.extra: unexpected",
        "backbone.embed.bias: is [3], wanted [64]",
        "backbone.norm.weight: holds numbers that are not finite",
        "--config",
    ):
        assert line in str(caught.value)
    assert not (tmp_path / "out").exists()

    def forget(content: dict) -> None:
        content["state_dict"] = {k: v for k, v in content["state_dict"].items() if not k.startswith("backbone")}

    with pytest.raises(ValueError, match=r"and 11 more, all of them in changed_refused_keys\.txt"):
        export(change(whole, tmp_path, forget), "hf", tmp_path / "out")
    assert len((tmp_path / "changed_refused_keys.txt").read_text().splitlines()) == 31


def test_what_is_no_checkpoint_is_refused(read, tmp_path: Path) -> None:
    whole = read.folder / "stage1/iter_600.pth"
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"checkpoint=.*broken\.pth' cannot be read as a checkpoint"):
        export(tmp_path / "broken.pth", "hf", tmp_path / "out")
    with pytest.raises(ValueError, match="holds no config; give the one that it was trained with by --config"):
        export(change(whole, tmp_path, lambda content: content["meta"].clear()), "hf", tmp_path / "out")
    with pytest.raises(ValueError, match="did you mean 'onnx'"):
        export(whole, "onx", tmp_path / "out")
    with pytest.raises(ValueError, match="not empty"):
        export(whole, "hf", read.folder)

    def windows(content: dict) -> None:
        cfg = Config.fromstring(content["meta"]["cfg"], file_format=".py")
        cfg.model.backbone.window = 4
        content["meta"]["cfg"] = cfg.pretty_text

    with pytest.raises(ValueError, match=r"model\.backbone\.window=4"):
        export(change(whole, tmp_path, windows), "hf", tmp_path / "out")


def test_a_model_card_says_what_was_measured_under_which_protocol(read, tmp_path: Path) -> None:
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


def test_a_model_card_leaves_other_data_to_its_publisher(read, tmp_path: Path) -> None:
    def own_data(content: dict) -> None:
        cfg = Config.fromstring(content["meta"]["cfg"], file_format=".py")
        cfg.train_dataloader.dataset.source = {"type": "OpenData", "data_root": "/somewhere/private/photos"}
        content["meta"]["cfg"] = cfg.pretty_text

    export(change(read.folder / "stage1/iter_600.pth", tmp_path, own_data), "safetensors", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "license: other" in card
    assert "`OpenData` (data_root='photos')" in card
    assert "private" not in card
    assert "None: no `results.json`" in card
