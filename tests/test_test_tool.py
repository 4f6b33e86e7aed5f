"""tools/test.py as people use it: sets by name, the numbers that a loop over single images gives, and what it refuses."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from finevit.contracts import ImageBudget
from finevit.datasets.decoding.images import decode
from finevit.datasets.transforms.image_transforms import Patchify, ResizeToBudget
from finevit.evaluation.benchmarks import parse
from finevit.evaluation.zero_shot import prompts, protocols
from finevit.hub.tokenizers import load_tokenizer
from finevit.packing.images import pack_images
from finevit.packing.texts import pack_texts
from finevit.plugins import load_plugins
from finevit.registry import BENCHMARKS, MODELS
from finevit.scenes import Scenes
from finevit.testing import fill

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore:.*instance named of:UserWarning")  # MMEngine's, of two runs in a second
CONFIG = f"""
_base_ = ["{ROOT}/configs/_base_/runtime.py", "{ROOT}/configs/_base_/embedded_captions.py"]
model = dict(
    type="ContrastiveLearning",
    backbone=dict(type="FineViT", arch=dict(depth=1, dim=32, heads=2, mlp_dim=48)),
    text_encoder=dict(type="TextTransformer", tokenizer="scenes", depth=1, dim=16, heads=2, context=32),
    head=dict(type="SigmoidHead", embed_dim=8),
)
_length = dict(type="Constant", value=32)
train_dataloader = dict(batch_size=4, batch_sampler=dict(schedules=dict(Tokenize=dict(max_seq_len=_length))))
val_dataloader = dict(batch_size=4, dataset=dict(source=dict(length=8), pixels=84 * 84, max_seq_len=24))
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3))
train_cfg = dict(type="StatelessTrainLoop", max_iters=4)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="Retrieval")]
custom_hooks = []
"""
QUESTIONS = f"""
_base_ = ["{ROOT}/configs/_base_/runtime.py", "{ROOT}/configs/_base_/embedded_dialogues.py"]
model = dict(
    type="LLMAlignment",
    backbone=dict(type="FineViT", arch=dict(depth=1, dim=32, heads=2, mlp_dim=48)),
    connector=dict(type="MergeConnector", mlp_dim=16),
    llm=dict(type="PlainLLM", tokenizer="scenes-chat", depth=1, dim=16, heads=2, context=128),
    answer_length=2,
)
_length = dict(max_seq_len=dict(type="Constant", value=64))
train_dataloader = dict(batch_size=4, batch_sampler=dict(schedules=dict(TokenizeDialogue=_length)))
val_dataloader = dict(batch_size=4, dataset=dict(source=dict(length=8), pixels=84 * 84, max_seq_len=28))
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3))
train_cfg = dict(type="StatelessTrainLoop", max_iters=4)
val_cfg = dict(type="ValLoop")
val_evaluator = [dict(type="LocalTasks")]
custom_hooks = [dict(type="DialogueHook")]
"""
WORDS = ["red", "house", "seven", "behind", "yellow", "bird", "no", "corner", "small", "wall"]
CLASSES = {"n01440764": "tench", "n02099601": "golden retriever", "n04254680": "soccer ball"}


class Trained:
    """A small model with random weights, its config and its checkpoint; embeds one image or one text at a time."""

    def __init__(self, folder: Path) -> None:
        self.config, self.checkpoint = folder / "small.py", folder / "iter_4.pth"
        self.config.write_text(CONFIG)
        self.model = MODELS.build({**Config.fromfile(self.config).model, "_scope_": "finevit"}).eval()
        fill(self.model, scale=0.6)
        with torch.no_grad():  # what all images and all texts have in common is taken out, so that they differ
            self._centre(self.model.head.image, torch.stack([self.pooled(mosaic(seed)) for seed in range(8)]))
            self._centre(self.model.head.text, torch.stack([self.vector(sentence(seed)) for seed in range(8)]))
        torch.save({"meta": {"iter": 4}, "state_dict": self.model.state_dict()}, self.checkpoint)

    @torch.no_grad()
    def image(self, pixels: np.ndarray) -> torch.Tensor:
        return self.model.head.embed_images(self.pooled(pixels))

    @torch.no_grad()
    def text(self, text: str) -> torch.Tensor:
        return self.model.head.embed_texts(self.vector(text))

    def pooled(self, pixels: np.ndarray) -> torch.Tensor:
        sample = Patchify()(ResizeToBudget()({"image": pixels, "budget": ImageBudget(84 * 84), "label_map": None}))
        batch = self.model.data_preprocessor({"images": pack_images([sample["patches"]], [sample["shape"]])})
        return self.model.backbone(batch["images"]).pooled[0]

    def vector(self, text: str) -> torch.Tensor:
        ids, _ = load_tokenizer("scenes")([" ".join(text.split())], 24)
        return self.model.text_encoder(pack_texts(ids, 24))[0]

    @staticmethod
    def _centre(projection: torch.nn.Linear, vectors: torch.Tensor) -> None:
        mean = vectors.mean(0)
        projection.weight -= (projection.weight @ mean)[:, None] * mean / (mean @ mean)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    return Trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def tool(trained, tmp_path, monkeypatch, capsys):
    """Runs the tool; what it printed, its exit status and its results."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(
        *arguments: str, checkpoint: Path = trained.checkpoint, config: Path = trained.config, beside: bool = False
    ) -> tuple[str, int, dict]:
        work_dir = checkpoint.parent if beside else tmp_path / "work"
        where = [] if beside else ["--work-dir", str(work_dir)]
        monkeypatch.setattr(sys, "argv", ["test.py", str(config), str(checkpoint), *where, *arguments])
        status = 0
        try:
            runpy.run_path(str(ROOT / "tools/test.py"), run_name="__main__")
        except SystemExit as ended:
            status = int(ended.code or 0)
        said, results = capsys.readouterr(), work_dir / "results.json"
        return said.out + said.err, status, json.loads(results.read_text()) if results.exists() else {}

    return run


def mosaic(seed: int) -> np.ndarray:
    colours = np.random.default_rng(seed).integers(0, 256, (3, 2, 3), dtype=np.uint8)
    return colours.repeat(28, 0).repeat(28, 1)


def sentence(seed: int) -> str:
    return " ".join(np.random.default_rng(seed).permutation(WORDS)[: 3 + seed % 5])


def picture(path: Path, seed: int) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mosaic(seed)).save(path, "PNG" if path.suffix == ".png" else "JPEG", quality=95)
    return decode(path.read_bytes(), name=path.name)


def recall_at_1(images: torch.Tensor, texts: torch.Tensor, owner: list[int]) -> tuple[float, float]:
    """Image to text and text to image, by a plain loop."""
    scores = images @ texts.T
    to_text = [owner[int(row.argmax())] == i for i, row in enumerate(scores)]
    to_image = [int(column.argmax()) == owner[j] for j, column in enumerate(scores.T)]
    return sum(to_text) / len(to_text), sum(to_image) / len(to_image)


def write_coco(root: Path) -> tuple[Path, list[np.ndarray], list[list[str]]]:
    """Five images with five captions each, and a sixth that is missing."""
    pixels = [picture(root / f"images/val2014/{n}.jpg", n) for n in range(5)]
    texts = [[sentence(10 * n + k) for k in range(5)] for n in range(6)]
    images = [
        {"filepath": "val2014", "filename": f"{n}.jpg", "split": "test", "sentences": [{"raw": text} for text in own]}
        for n, own in enumerate(texts)
    ]
    path = root / "dataset_coco.json"
    path.write_text(json.dumps({"dataset": "coco", "images": images}))
    return path, pixels, texts[:5]


def test_retrieval_and_classification_equal_a_loop_over_single_images(trained, tool, tmp_path):
    annotations, pixels, texts = write_coco(tmp_path)
    folder = tmp_path / "imagenet/val"
    classes = [[picture(folder / f"{name}/{k}.JPEG", 20 + 2 * n + k) for k in range(2)] for n, name in enumerate(CLASSES)]
    (folder / "n01440764/torn.JPEG").write_bytes(b"torn")

    coco = f"coco-karpathy={annotations},image_root={tmp_path / 'images'}"
    output, status, results = tool("--benchmark", coco, f"imagenet={tmp_path / 'imagenet'}")
    assert status == 0, output

    entry = results["benchmarks"]["coco-karpathy"]
    images = torch.stack([trained.image(image) for image in pixels])
    embedded = torch.stack([trained.text(text) for own in texts for text in own])
    assert len(set((images @ embedded.T).argmax(1).tolist())) > 2  # the model tells images apart
    i2t, t2i = recall_at_1(images, embedded, [i for i in range(5) for _ in range(5)])
    assert entry["metrics"]["stage2/i2t_r1"] == pytest.approx(i2t)
    assert entry["metrics"]["stage2/t2i_r1"] == pytest.approx(t2i)
    assert (entry["iteration"], entry["checkpoint"], entry["data"]["images"]) == (4, "iter_4.pth", 5)
    assert "Karpathy's split 'test'" in entry["data"]["description"]
    assert "INCOMPLETE: 1 of 6 images left out" in entry["data"]["description"]
    assert entry["protocols"] == {"Retrieval": "retrieval/recall-v1"}

    entry = results["benchmarks"]["imagenet"]
    for name in ("openai80", "siglip81-canonical"):
        asked = prompts(protocols()[name], list(CLASSES.values()))
        weights = [torch.stack([trained.text(text) for text in own]).mean(0) for own in asked]
        scores = [[float(trained.image(image) @ w / w.norm()) for w in weights] for own in classes for image in own]
        assert len({int(np.argmax(row)) for row in scores}) > 1
        right = sum(int(np.argmax(row)) == i // 2 for i, row in enumerate(scores)) / 6
        assert entry["metrics"][f"stage2/{name}_top1"] == pytest.approx(right)
    assert entry["protocols"] == {"ZeroShot": "zero-shot/openai80-v1, zero-shot/siglip81-canonical-v1"}
    assert entry["data"]["images"] == 6
    assert "INCOMPLETE: 1 unusable images left out" in entry["data"]["description"]

    assert re.search(r"coco-karpathy: 5 images, iter_4\.pth", output)
    assert re.search(rf"stage2/i2t_r1 +{i2t:.4f}", output)
    assert "torn.JPEG" in output


def test_the_configs_own_validation_set_and_later_sets_share_a_file(trained, tool, tmp_path):
    output, status, results = tool()
    assert (status, "val: 8 images, iter_4.pth" in output) == (0, True), output
    scenes = Scenes(level="easy", split="val", length=8)
    images = torch.stack([trained.image(scenes[i].image) for i in range(8)])
    texts = torch.stack([trained.text(scenes[i].captions["long"]) for i in range(8)])
    i2t, t2i = recall_at_1(images, texts, list(range(8)))
    metrics = results["benchmarks"]["val"]["metrics"]
    assert (metrics["stage2/i2t_r1"], metrics["stage2/t2i_r1"]) == pytest.approx((i2t, t2i))

    for place in range(3):
        picture(tmp_path / f"Urban1k/image/{place}.jpg", place)
        (tmp_path / "Urban1k/caption").mkdir(exist_ok=True)
        (tmp_path / f"Urban1k/caption/{place}.txt").write_text(f"a {WORDS[place]} wall\nnot this")
    output, status, results = tool("--benchmark", f"urban-1k={tmp_path / 'Urban1k'}")
    assert status == 0, output
    assert list(results["benchmarks"]) == ["val", "urban-1k"]
    assert results["benchmarks"]["urban-1k"]["metrics"]["stage2/words_max"] == 3
    assert "val: 8 images" not in output


def test_results_go_beside_the_checkpoint_and_replace_no_other(trained, tool, tmp_path, monkeypatch):
    """The config that a run saved there stays what it was."""
    run, here = tmp_path / "my run", tmp_path / "here"
    run.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    (run / trained.config.name).write_text("the run's own")
    for iteration in (4, 8):
        torch.save({**torch.load(trained.checkpoint), "meta": {"iter": iteration}}, run / f"iter_{iteration}.pth")
        output, status, results = tool(checkpoint=run / f"iter_{iteration}.pth", beside=True)
        assert status == 0, output
    assert {name: entry["checkpoint"] for name, entry in results["benchmarks"].items()} == {
        "val#1": "iter_4.pth",
        "val": "iter_8.pth",
    }
    assert "'val' was of iter_4.pth, iteration 4, on " in output
    assert "it is kept as 'val#1'" in output
    assert list(here.iterdir()) == []
    assert (run / trained.config.name).read_text() == "the run's own"


def test_questions_that_were_not_asked_are_told(tool, tmp_path):
    load_plugins()
    config, checkpoint = tmp_path / "questions.py", tmp_path / "iter_4.pth"
    config.write_text(QUESTIONS)
    model = MODELS.build({**Config.fromfile(config).model, "_scope_": "finevit"})
    torch.save({"meta": {"iter": 4}, "state_dict": model.state_dict()}, checkpoint)
    whole = tool("--cfg-options", "val_dataloader.dataset.max_seq_len=128", config=config, checkpoint=checkpoint)
    cut = tool(config=config, checkpoint=checkpoint)
    asked, left = (
        sum(int(value) for key, value in results["benchmarks"]["val"]["metrics"].items() if key.endswith("_n"))
        for _, _, results in (whole, cut)
    )
    assert 0 < left < asked, cut[0]
    assert "INCOMPLETE" not in whole[2]["benchmarks"]["val"]["data"]["description"]
    description = cut[2]["benchmarks"]["val"]["data"]["description"]
    assert description.endswith(f"; INCOMPLETE: {asked - left} questions too long left out")
    output, status, _ = tool("--cfg-options", "val_dataloader.dataset.max_seq_len=129", config=config, checkpoint=checkpoint)
    assert status, output
    assert (
        "test_dataloader.dataset.max_seq_len (where not given, val_dataloader's) is 129, but the language model reads 128" in output
    )


def test_wrong_names_settings_and_paths_are_told_before_the_test(tool, tmp_path):
    annotations, _, _ = write_coco(tmp_path)
    for benchmark, told in (
        (
            "coco-karpaty=x",
            r"'coco-karpaty' is unknown \(did you mean 'coco-karpathy'\?\); known are clip-benchmark, coco-karpathy",
        ),
        ("dci", "give NAME=PATH, and further settings as ,SETTING=VALUE"),
        (f"coco-karpathy={annotations},image_rot={tmp_path}", r"no argument 'image_rot' \(did you mean 'image_root'\?\)"),
        (f"coco-karpathy={annotations}", "holds none of the 6 images"),
        (f"imagenet={tmp_path / 'imagenet'}", "does not exist"),
    ):
        output, status, results = tool("--benchmark", benchmark)
        assert (status, results) == (2, {}), output
        assert re.search(told, output), output


@pytest.mark.parametrize("stage", [1, 3])
def test_a_model_that_knows_no_texts_is_not_asked_for_them(stage, tool, tmp_path):
    annotations, _, _ = write_coco(tmp_path)
    for name in ("tench", "goldfish"):
        picture(tmp_path / f"classes/{name}/1.png", 1)
    config, images = ROOT / f"configs/finevit_tiny_stage{stage}.py", tmp_path / "images"
    for benchmark in (f"coco-karpathy={annotations},image_root={images}", f"imagenet={tmp_path / 'classes'}"):
        output, status, results = tool("--benchmark", benchmark, config=config)
        assert (status, results) == (2, {}), output
        assert f"--benchmark {benchmark}: this set compares images with texts, but model.type='" in output
        assert "test a checkpoint of Stage II, with its config, or what the encoder alone knows: finevit probe" in output


def test_a_checkpoint_of_another_model_is_refused(trained, tool, tmp_path):
    whole = torch.load(trained.checkpoint)
    images_alone = {name: value for name, value in whole["state_dict"].items() if name.startswith("backbone.")}
    torch.save({**whole, "state_dict": images_alone}, tmp_path / "stage1.pth")
    (tmp_path / "torn.pth").write_bytes(trained.checkpoint.read_bytes()[:1000])
    for checkpoint, options, told in (
        (
            tmp_path / "stage1.pth",
            [],
            r"(?s)checkpoint='.*': .* keys do not fit:.*text_encoder\.\S+: missing.*test it with the config that it was trained",
        ),
        (
            trained.checkpoint,
            ["--cfg-options", "model.head.embed_dim=16"],
            r"head\.image\.weight: is \[8, 32\], wanted \[16, 32\]",
        ),
        (tmp_path / "torn.pth", [], r"checkpoint='.*torn\.pth' cannot be read as a checkpoint \(.*\); give one that"),
        (tmp_path / "ton.pth", [], r"checkpoint='.*': '.*ton\.pth' does not exist \(did you mean 'torn\.pth'\?\); give one that"),
    ):
        output, status, results = tool(*options, checkpoint=checkpoint)
        assert (status, results) == (2, {}), output
        assert re.search(told, output), output


def test_names_of_results_keep_what_tells_protocols_apart():
    name, source = parse("flickr30k-karpathy=/data/dataset_flickr30k.json,image_root=/data/images,split=all")
    assert name == "flickr30k-karpathy,split=all"
    assert source == {
        "type": "finevit.Karpathy", "annotations": "/data/dataset_flickr30k.json", "image_root": "/data/images", "split": "all",
    }  # fmt: skip
    assert parse("dci=/data/dci") == ("dci", {"type": "finevit.DCI", "data_root": "/data/dci"})
    assert parse("clip-benchmark=/data/wds_pets,split=train")[0] == "clip-benchmark/wds_pets,split=train"
    name, source = parse("coco-karpathy=/my data/cats, dogs/1,2.json,image_root='/data/it,split=all',split=val")
    assert name == "coco-karpathy,split=val"
    assert (source["annotations"], source["image_root"]) == ("/my data/cats, dogs/1,2.json", "/data/it,split=all")
    assert parse("dci='/data/a,b=c'")[1]["data_root"] == "/data/a,b=c"


def test_the_page_lists_every_set():
    """A new reader has a line there."""
    BENCHMARKS.import_from_location()
    table = re.search(r"\| name \| PATH .*?\n\n", (ROOT / "docs/evaluation.md").read_text(), re.DOTALL)[0]
    listed = {name for row in table.strip().splitlines()[2:] for name in re.findall("`([^`]+)`", row.split("|")[1])}
    assert listed == {name for name, reader in BENCHMARKS.module_dict.items() if reader.__module__.startswith("finevit.")}
