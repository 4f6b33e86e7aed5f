"""Captions on their way to the model: drawn by weight, cleaned, cut, counted; and the schedules that travel with the index."""

import json
import logging
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from torch.utils.data import DataLoader

from finevit.config.loading import load_config
from finevit.config.validation import check_config
from finevit.contracts import BadSample, ImageBudget, Record, SampleRequest, Source
from finevit.datasets import JsonLines, NativeImages
from finevit.datasets.samplers import NativeBatchSampler, StatelessSampler
from finevit.datasets.transforms.caption_transforms import PickCaption, Tokenize, cleaned, fault, loops
from finevit.datasets.transforms.image_transforms import DropPatches, RandomFlip
from finevit.engine.data_preprocessor import PackedPreprocessor
from finevit.engine.hooks.bad_samples_hook import BadSamplesHook
from finevit.engine.hooks.captions_hook import CaptionHook, summary
from finevit.hub.tokenizers import load_tokenizer
from finevit.packing.collate import pack_samples
from finevit.packing.images import check_whole
from finevit.packing.packs import PackedTexts
from finevit.packing.texts import pack_texts
from finevit.printable import printable
from finevit.registry import MODELS

pytestmark = pytest.mark.usefixtures("scope")

ROOT = Path(__file__).parent.parent
WORDS = [
    "red",
    "blue",
    "dog",
    "cat",
    "tree",
    "house",
    "sits",
    "stands",
    "above",
    "below",
    "near",
    "large",
    "small",
    "with",
    "of",
    "the",
]


def prose(words: int, seed: int = 0) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


# Schedules that travel with the index


SCHEDULED = ["CropToRegion", "Patchify", "DropPatches"]


def sampler(start: int = 0, **schedules: object) -> NativeBatchSampler:
    transforms = [*({"type": name} for name in SCHEDULED), {"type": "Tokenize", "tokenizer": "scenes"}]
    batches = NativeBatchSampler(
        sampler=StatelessSampler(dataset=NativeImages(source={"type": "Scenes", "length": 50}, transforms=transforms), seed=3),
        batch_size=2,
        resolution={"type": "ConstantResolution", "side": 56},
        schedules=schedules,
    )
    batches.start_step = start
    return batches


LENGTHS = {"type": "Linear", "begin_value": 64, "end_value": 256, "begin": 10, "end": 30}
DROPS = {"type": "Milestones", "milestones": [(0, 0.5), (20, 0.25), (25, 0)]}


def test_requests_carry_the_values_of_their_step():
    batches = sampler(Tokenize={"max_seq_len": LENGTHS}, DropPatches={"ratio": DROPS})
    requests = {step: batches.requests(step)[1] for step in (0, 10, 11, 20, 29, 30, 1000)}
    found = {
        step: (each.budget, *(each.scheduled["Tokenize"].values()), *each.scheduled["DropPatches"].values())
        for step, each in requests.items()
    }
    size = ImageBudget(56 * 56)
    assert found == {
        0: (size, 64, 0.5),
        10: (size, 64, 0.5),
        11: (size, 74, 0.5),  # 73.6
        20: (size, 160, 0.25),
        29: (size, 246, 0.0),  # 246.4
        30: (size, 256, 0.0),
        1000: (size, 256, 0.0),
    }
    assert sampler().requests(7)[0][2:] == (size, {})


def test_shares_of_images_travel_with_the_requests_of_their_step():
    batches = sampler(CropToRegion={"probability": {"type": "Milestones", "milestones": [(0, 1.0), (20, 0.25)]}})
    assert [batches.requests(step)[0].scheduled["CropToRegion"]["probability"] for step in (0, 19, 20)] == [1.0, 1.0, 0.25]


def test_a_resumed_sampler_asks_for_the_same():
    whole, resumed = (iter(sampler(start, Tokenize={"max_seq_len": LENGTHS}, DropPatches={"ratio": DROPS})) for start in (0, 17))
    batches = [next(whole) for _ in range(30)]
    assert [next(resumed) for _ in range(13)] == batches[17:]


@pytest.mark.parametrize(
    ("name", "schedule", "said"),
    [
        ("Tokenize.max_seq_len", {"type": "Constant", "value": 0}, r"Tokenize.max_seq_len is 0 at step 0: .*at least 1"),
        ("Tokenize.max_seq_len", {"type": "ConstantResolution", "side": 56}, "schedules.Tokenize.max_seq_len is ImageBudget"),
        ("Tokenize.max_seq_len", 64, r"schedules.Tokenize.max_seq_len=64: .*dict\(type='Constant', value=64\)"),
        (
            "Tokenize.max_seq_len",
            {"type": "Milestones", "milestones": [("0", 64)]},
            r"schedules.Tokenize.max_seq_len: Milestones.milestones.0.0='0': give a whole number",
        ),
        ("DropPatches.ratio", {"type": "Constant", "value": -0.1}, r"schedules.DropPatches.ratio is -0.1 at step 0: .*below 1"),
        ("CropToRegion.probability", {"type": "Constant", "value": 1.1}, r"probability is 1.1 at step 0: .*from 0 to 1"),
        ("CropToRegion.probability", {"type": "Constant", "value": -1}, r"probability is -1 at step 0: .*from 0 to 1"),
    ],
)
def test_schedules_of_no_use_are_refused_before_the_run(name, schedule, said):
    transform, argument = name.split(".")
    with pytest.raises(ValueError, match=said):
        sampler(**{transform: {argument: schedule}})


# Which caption


def sample(captions: dict, *, seed: int = 0, **more: object) -> dict:
    start = {"id": "a.jpg", "captions": captions, "counts": Counter(), "max_seq_len": 64, "rng": np.random.default_rng(seed)}
    return {**start, **more}


def test_captioners_are_drawn_by_weight():
    captions = {"long": "A long one.", "short": "Short.", "alt": "one", "alt-2": "two", "alt-3": "three"}
    pick = PickCaption(weights={"long": 5, "alt": 3, "short": 2, "absent": 9})
    drawn = [pick(sample(captions, seed=seed)) for seed in range(2000)]
    shares = {name: count / 2000 for name, count in Counter(each["captioner"] for each in drawn).items()}
    assert shares == pytest.approx({"long": 0.5, "alt": 0.3, "short": 0.2}, abs=0.035)
    texts = Counter(each["caption"] for each in drawn)
    assert [texts[text] / 2000 for text in ("one", "two", "three")] == pytest.approx([0.1] * 3, abs=0.025)
    again = [pick(sample(captions, seed=seed))["caption"] for seed in range(100)]
    assert again == [each["caption"] for each in drawn[:100]]


def test_without_weights_all_captioners_weigh_the_same():
    captions = {"long": "l", "alt": "x", "alt-2": "y", "model-7": "m"}  # model-7 is a name, no further text of a "model"
    drawn = Counter(PickCaption()(sample(captions, seed=seed))["captioner"] for seed in range(1500))
    assert set(drawn) == {"long", "alt", "model-7"}
    assert [count / 1500 for count in drawn.values()] == pytest.approx([1 / 3] * 3, abs=0.04)


def test_one_captioner_alone_is_the_same_every_time():
    pick = PickCaption(weights={"long": 1})
    assert {pick(sample({"short": "s", "long": "l"}, seed=seed))["caption"] for seed in range(50)} == {"l"}


REFUSED_WEIGHTS = ({}, {"long": 0}, {"long": -1, "alt": 2}, {"long": float("nan")}, {"long": "much"}, "long", [("long", 1)], [])


@pytest.mark.parametrize("weights", REFUSED_WEIGHTS)
def test_weights_of_no_use_are_refused(weights):
    with pytest.raises(ValueError, match=r"PickCaption\.weights=.*at least 0, and one above 0"):
        PickCaption(weights=weights)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  A\tdog\n\n runs ", "A dog runs"),
        ("r\0e\0d\0 \x07cat\x7f", "red cat"),
        ("half \ud83d a pair", "half \ufffd a pair"),
        ("\U0001f469\u200d\U0001f680 on \u05d9\u05e8\u05d7 \u0627\u0644\u0642\u0645\u0631", None),
    ],
)
def test_cleaning(raw, clean):
    assert cleaned(raw) == (raw if clean is None else clean)


def test_what_is_wrong_with_a_caption():
    assert [fault(text) for text in ("", "\u200b", " ... ", "x", "7", "\U0001f600", "\u732b")] == ["empty"] * 3 + [""] * 4
    assert fault("A Dog", {"a dog"}) == "repeated"
    assert loops("a dog is red and " * 4)  # 20 words, 17 runs, 5 of them different
    assert not loops("a dog is red and " * 3)
    assert not loops(f"{prose(60)} a dog is red and a dog is red and")
    assert not loops(prose(5000).replace(" ", "  "))
    assert fault("the " * 300) == "looping"


def test_captions_of_no_use_are_dropped_and_counted():
    captions = {"a": "\0", "b": "A Dog.", "c": "a dog. ", "d": "so it goes on and on " * 9, "e": "  ", "f": "left out"}
    picked = PickCaption(weights=dict.fromkeys("abcde", 1.0))(sample(captions))
    assert (picked["captioner"], picked["caption"]) == ("b", "A Dog.")
    assert picked["counts"] == {"empty captions": 2, "repeated captions": 1, "looping captions": 1}
    kept = PickCaption(weights={"c": 1})(sample(captions))
    assert (kept["caption"], kept["counts"]) == ("a dog.", {})  # a captioner that nobody wants repeats nothing


def test_a_record_without_a_usable_caption_is_a_bad_sample():
    wanted = (
        r"a\.jpg: no usable caption of the captioners long, mid \(PickCaption\.weights\); it has long \(empty\), alt \(unwanted\)"
    )
    with pytest.raises(BadSample, match=wanted):
        PickCaption(weights={"long": 1, "mid": 1})(sample({"long": "\0", "alt": "x"}))
    with pytest.raises(BadSample, match=r"a\.jpg: no usable caption; it has none at all"):
        PickCaption()(sample({}))


def test_flips_follow_the_caption_that_was_drawn():
    image = np.arange(12, dtype=np.uint8).reshape(1, 4, 3)
    captions = {"long": "A cat to the right-hand side.", "short": "A bright cat."}

    def flipped(**more: object) -> bool:
        turned = RandomFlip(probability=1.0)(sample(captions, image=image, label_map=None, regions=(), **more))
        return np.array_equal(turned["image"], image[:, ::-1])

    assert flipped(caption="A bright cat beside a copyright sign.")
    assert not flipped(caption=captions["long"])
    assert not flipped(caption="The Leftmost of three.")
    assert not flipped()


# Tokens


def test_tokens_are_cut_at_the_length_of_the_request_and_counted():
    tokenizer, tokenize = load_tokenizer("scenes"), Tokenize(tokenizer="scenes")
    text = prose(40)
    length = len(tokenizer([text], 10_000)[0][0])
    for limit, truncated in ((length, False), (length - 1, True), (8, True)):
        out = tokenize(sample({}, caption=text, max_seq_len=limit))
        assert len(out["tokens"]) == min(limit, length)
        assert out["truncated"] is truncated
        assert out["counts"]["truncated"] == truncated


def test_a_missing_length_or_tokenizer_is_named():
    with pytest.raises(
        ValueError, match=r"Tokenize.max_seq_len is not set, .*train_dataloader.batch_sampler.schedules .* dataset.max_seq_len"
    ):
        Tokenize(tokenizer="scenes")(sample({}, caption="x", max_seq_len=0))
    with pytest.raises(ValueError, match=r"Tokenize\.tokenizer is not set"):
        Tokenize()
    with pytest.raises(ValueError, match=r"NativeImages\.max_seq_len=-1: give the most tokens"):
        NativeImages(source={"type": "Scenes"}, transforms=[], max_seq_len=-1)


def test_texts_are_packed_without_padding():
    texts = pack_texts([[5, 6, 7], [], [9]], 4)
    assert texts.tokens.tolist() == [5, 6, 7, 9]
    assert texts.cu_seqlens.tolist() == [0, 3, 3, 4]
    assert (texts.tokens.dtype, texts.cu_seqlens.dtype) == (torch.int64, torch.int32)
    assert texts[2:] == ((3, 0, 1), 4)
    assert pack_texts([[], []], 4).tokens.shape == (0,)


# Dropped patches


class Pictures(Source):
    """Seven pictures of 4 x 6 patches with captions of 3, 13, 23, ... words."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> Record:
        image = np.random.default_rng(index).integers(0, 256, (56, 84, 3), dtype=np.uint8)
        labels = np.repeat(np.repeat(np.arange(24, dtype=np.int16).reshape(4, 6), 14, 0), 14, 1)
        return Record(f"{index}.png", image, captions={"long": prose(3 + 10 * index, index)}, label_map=labels)

    def describe(self) -> str:
        return "pictures"


CUT = [{"type": name} for name in ("PickCaption", "ResizeToBudget", "Patchify", "DropPatches")]


@pytest.mark.parametrize(("drop", "kept"), [(0.0, 24), (0.25, 18), (0.5, 12), (0.9, 2), (0.999, 1)])
def test_dropping_keeps_its_share_of_patches_with_their_places(drop, kept):
    dataset = NativeImages(source=Pictures(), transforms=CUT)
    request = SampleRequest(2, 40, ImageBudget(10**6), {"DropPatches": {"ratio": drop}})
    whole, out = dataset[request._replace(scheduled={})], dataset[request]
    index = out["positions"] @ [6, 1]
    assert len(index) == kept
    assert index.tolist() == sorted(set(index.tolist()))
    assert np.array_equal(out["patches"], whole["patches"][index])
    assert out["labels"].tolist() == index.tolist()
    assert out["shape"] == (4, 6)
    assert np.array_equal(dataset[request]["positions"], out["positions"])
    others = [dataset[request._replace(position=position)]["positions"].tolist() for position in range(20)]
    assert kept == 24 or len({str(each) for each in others}) > 5
    batch = pack_samples([out, whole], keys=["labels"])
    assert batch["images"].seqlens == (kept, 24)
    assert batch["images"].shapes == ((4, 6), (4, 6))
    assert batch["images"].positions[:kept].tolist() == out["positions"].tolist()
    assert batch["images"].positions[kept:].tolist() == [[row, col] for row in range(4) for col in range(6)]
    assert batch["labels"].tolist() == [*index.tolist(), *range(24)]


def test_patches_are_dropped_evenly():
    left = np.zeros(24)
    for seed in range(1000):
        patches = np.arange(24)[:, None]
        out = DropPatches(ratio=0.5)(sample({}, seed=seed, patches=patches, labels=None, shape=(4, 6)))
        left[out["patches"][:, 0]] += 1 / 1000
    assert left == pytest.approx(0.5, abs=0.06)


def test_what_needs_whole_images_says_so():
    dataset = NativeImages(source=Pictures(), transforms=CUT)
    check_whole(pack_samples([dataset[0]])["images"])
    with pytest.raises(ValueError, match=r"12 of an image's 4 x 6 patches are left.*leave DropPatches out"):
        check_whole(pack_samples([dataset[SampleRequest(0, 0, ImageBudget(10**6), {"DropPatches": {"ratio": 0.5}})]])["images"])


# Whole batches


TOKENS = [*CUT[:3], {"type": "Tokenize", "tokenizer": "scenes"}]


def test_a_batch_holds_texts_ids_and_counts_and_the_model_gets_what_is_its_own():
    dataset = NativeImages(source=Pictures(), transforms=TOKENS, max_seq_len=30)
    batch = pack_samples([dataset[index] for index in range(7)], keys=["caption", "truncated"])
    full = [len(ids) for ids in load_tokenizer("scenes")([prose(3 + 10 * index, index) for index in range(7)], 10_000)[0]]
    assert isinstance(batch["texts"], PackedTexts)
    assert batch["texts"].seqlens == tuple(min(30, length) for length in full)
    assert batch["texts"].max_seq_len == 30
    assert batch["truncated"] == [length > 30 for length in full]
    assert 0 < batch["counts"]["truncated"] == sum(batch["truncated"]) < 7
    assert batch["id"] == [f"{index}.png" for index in range(7)]
    preprocess = PackedPreprocessor()
    assert set(preprocess(batch, training=True)) == {"images", "texts", "caption", "truncated"}
    tested = preprocess(batch)
    assert set(tested) == {"images", "texts", "caption", "truncated", "id"}
    assert torch.equal(tested["texts"].tokens, batch["texts"].tokens)
    assert tested["texts"][2:] == batch["texts"][2:]


LONG = prose(5000)
STRANGE = {
    "one": "Cat",
    "huge": LONG,
    "emoji": "A \U0001f469\u200d\U0001f680 and a \U0001f600 in a red house",
    "rtl": "\u05d7\u05ea\u05d5\u05dc \u05d9\u05d5\u05e9\u05d1 \u0642\u0637\u0629 \u062d\u0645\u0631\u0627\u0621",
    "null": "a \0red\0 dog\x07",
    "surrogate": "half \ud83d of it",
}


@pytest.fixture
def jsonl(tmp_path) -> Path:
    """A captions file with everything that goes wrong in one, beside twenty lines without fault."""
    cv2.imwrite(str(tmp_path / "ok.png"), np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8))
    entries = [{"id": f"fine-{n}", "image": "ok.png", "caption": prose(12, n)} for n in range(20)]
    entries += [{"id": name, "image": "ok.png", "caption": text} for name, text in STRANGE.items()]
    entries += [{"id": "empty", "image": "ok.png", "caption": ""}, {"id": "nulls", "image": "ok.png", "caption": "\0\0"}]
    entries += [{"id": "loop", "image": "ok.png", "caption": "and so on and " * 50}]
    entries += [{"id": "gone", "image": "missing.png", "caption": "A dog."}, {"id": "one", "image": "ok.png", "caption": "again"}]
    path = tmp_path / "captions.jsonl"
    path.write_text("\n".join([*map(json.dumps, entries), '{"image": "ok.png", "caption']))
    return path


def runner(work_dir: Path) -> SimpleNamespace:
    return SimpleNamespace(
        work_dir=work_dir, rank=0, logger=logging.getLogger("captions"), message_hub=MessageHub.get_instance(str(work_dir))
    )


def test_a_captions_file_full_of_faults_trains_on(jsonl, tmp_path, caplog):
    source = JsonLines(data_root=jsonl, split="all")
    assert len(source) == 30
    assert source.skipped.count == 2
    assert "id 'one' was in captions.jsonl line 21 already" in source.skipped.listed[0]
    assert source.skipped.listed[1].startswith("captions.jsonl line 32: not valid JSON")
    dataset = NativeImages(source=source, transforms=[{"type": "PickCaption"}, *TOKENS[1:]])
    batches = NativeBatchSampler(
        sampler=StatelessSampler(dataset=dataset),
        batch_size=5,
        resolution={"type": "ConstantResolution", "side": 56},
        schedules={"Tokenize": {"max_seq_len": {"type": "Constant", "value": 48}}},
    )
    loader = iter(DataLoader(dataset, batch_sampler=batches, collate_fn=pack_samples, num_workers=1))
    bad, captions, this = BadSamplesHook(max_share=0.2, after=20), CaptionHook(), runner(tmp_path)
    seen, truncated = set(), 0
    for step, batch in zip(range(6), loader, strict=False):  # one epoch
        bad.before_train_iter(this, step, batch)
        captions.after_train_iter(this, step, batch)
        assert len(batch["texts"].seqlens) == len(batch["images"].seqlens) == 5
        assert max(batch["texts"].seqlens) <= 48
        seen |= set(batch["id"])
        truncated += batch["counts"].get("truncated", 0)
    assert seen == {*(f"fine-{n}" for n in range(20)), *STRANGE}
    named = {message.split(":")[0] for message in bad.bad}
    lines = {f"captions.jsonl line {line}, {name}" for line, name in ((27, "empty"), (28, "nulls"), (29, "loop"))}
    assert named == {*lines, "captions.jsonl line 30 (missing.png)"}
    assert (tmp_path / "bad_samples.txt").read_text().splitlines() == bad.bad
    totals = this.message_hub.get_info("captions")["totals"]
    assert totals["seen"] == 30
    assert totals["truncated"] == truncated >= 1
    with caplog.at_level(logging.INFO, "captions"):
        captions.after_train(this)
    assert f"captions: 30 seen, 0 empty, 0 repeated, 0 looping, {truncated / 30:.1%} truncated at 48 tokens" in caplog.text


def test_too_many_records_without_captions_stop_the_run_with_the_list(jsonl, tmp_path):
    dataset = NativeImages(source=JsonLines(data_root=jsonl, split="all"), transforms=TOKENS, max_seq_len=48)
    hook = BadSamplesHook(max_share=0.1, after=20)
    with pytest.raises(
        BadSample, match=r"4 of 34 samples could not be used[\s\S]*line 27, empty: no usable caption; it has alt \(empty\)"
    ):
        hook.before_train_iter(runner(tmp_path), 0, pack_samples([dataset[index] for index in range(30)]))


def test_the_hook_adds_up_and_logs_each_batch(tmp_path, caplog):
    hook, this = CaptionHook(), runner(tmp_path)
    hook.after_train_iter(this, 0, {"images": None, "counts": {}})
    hook.after_train(this)
    assert not caplog.records
    batches = [([[1] * 64] * 3 + [[1] * 8], 64, {"truncated": 3, "empty captions": 1200}), ([[1] * 100] * 4, 256, {})]
    for step, (ids, limit, counts) in enumerate(batches):
        hook.after_train_iter(this, step, {"texts": pack_texts(ids, limit), "counts": counts})
    shares, tokens = (this.message_hub.get_scalar(f"train/{name}").data[0] for name in ("truncated_share", "text_tokens"))
    assert shares.tolist() == [0.75, 0.0]
    assert tokens.tolist() == [50.0, 100.0]
    with caplog.at_level(logging.INFO, "captions"):
        hook.after_train(this)
    said = "captions: 8 seen, 1,200 empty, 0 repeated, 0 looping, 37.5% truncated at 64 to 256 tokens, 75.0 tokens each"
    assert caplog.messages == [said]


# Captions that many images share


def test_captions_that_many_images_share_are_dropped(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "links").mkdir()
    for n in range(5):
        (tmp_path / f"links/{n}.png").symlink_to(tmp_path / "0.png")
    entries = [
        {"image": f"links/{n}.png", "captions": {"long": f"Picture {n}.", "alt": "IMAGE" if n else "image"}} for n in range(5)
    ]
    entries += [{"image": "0.png", "id": n, "caption": "one image, many entries"} for n in range(9)]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, entries)))
    dropping, keeping, never = (JsonLines(data_root=path, split="all", repeated=most) for most in (4, 5, None))
    assert dropping.describe().endswith("; 1 captions dropped that more than 4 images share (repeated=4)")
    assert "dropped" not in keeping.describe() + never.describe()
    assert dropping[2].captions == {"long": "Picture 2."}
    assert keeping[2].captions == never[2].captions == {"long": "Picture 2.", "alt": "IMAGE"}
    assert dropping[7].captions == {"alt": "one image, many entries"}
    with pytest.raises(ValueError, match="repeated=0: give the most images"):
        JsonLines(data_root=path, repeated=0)


def test_a_shared_caption_is_a_reason_of_its_own(tmp_path):
    entries = [{"image": f"{n}.png", "caption": ["untitled", f"Picture {n}."] if n % 2 else "Untitled"} for n in range(6)]
    for n in range(6):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.zeros((28, 28, 3), np.uint8))
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, entries)))
    source = JsonLines(data_root=tmp_path / "x.jsonl", split="all", repeated=4)
    sample = NativeImages(source=source, transforms=[{"type": "PickCaption"}])[0]
    assert sample["caption"].startswith("Picture")
    assert sample["skipped"][0] == ("x.jsonl line 1, 0.png: no usable caption; it has alt (more than 4 images share it)")
    assert NativeImages(source=source, transforms=[{"type": "PickCaption"}])[1]["counts"] == {"shared captions": 1}
    every = NativeImages(source=source, transforms=[{"type": "AllCaptions", "tokenizer": "scenes"}], max_seq_len=16)
    assert every[0]["skipped"][0] == "x.jsonl line 1, 0.png: has no caption; alt: more than 4 images share it"
    totals = Counter({"seen": 4, "tokens": 40, "shared captions": 3})
    assert (
        summary(totals, {16})
        == "captions: 4 seen, 0 empty, 0 repeated, 0 looping, 3 shared, 0.0% truncated at 16 tokens, 10.0 tokens each"
    )


# Settings that do not fit the data or the text encoder


@pytest.fixture
def told(tmp_path) -> JsonLines:
    """600 entries with captions of ``qwen`` and ``short``, a single one of them with one of ``human``."""
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 4, 3), np.uint8))
    entries = [{"image": "0.png", "id": n, "captions": {"qwen": f"long {n}", "short": f"s {n}"}} for n in range(600)]
    entries[301]["captions"]["human"] = "By hand."
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, entries)))
    return JsonLines(data_root=tmp_path / "x.jsonl", split="all")


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (
            {"type": "PickCaption", "weights": {"qwne": 1, "short": 1}},
            r"PickCaption.weights names qwne, .*\(did you mean 'qwen'\?\)",
        ),
        (
            {"type": "PickCaption", "weights": {"gpt": 1}},
            "names gpt, which none of 200 records has; they have qwen, short. Correct",
        ),
        ({"type": "AllCaptions", "tokenizer": "scenes", "names": ["lnog"]}, "AllCaptions.names names lnog, which none of 200"),
        ({"type": "AllCaptions", "tokenizer": "scenes", "names": "qwen"}, "AllCaptions.names='qwen': give a list"),
        (
            {"type": "Tokenize", "tokenizer": 5},
            "Tokenize.tokenizer=5: give a text",
        ),
        ({"type": "Tokenize", "tokenizer": ["scenes"]}, r"Tokenize.tokenizer=\['scenes'\]: give a text"),
    ],
)
def test_captioners_and_tokenizers_that_are_not_there_are_named(told, transform, said):
    with pytest.raises(ValueError, match=said):
        NativeImages(source=told, transforms=[transform])


def test_a_captioner_that_may_be_rare_is_warned_of(told, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("finevit.datasets.transforms.caption_transforms.print_log", lambda message, **_: said.append(message))
    NativeImages(source=told, transforms=[{"type": "PickCaption", "weights": {"qwen": 1, "human": 1, "gone": 0}}])
    assert [message.partition(";")[0] for message in said] == ["PickCaption.weights names human, which none of 200 records has"]


def about_to_train(length: dict | None, *, tokenizer: str = "scenes", **encoder: object) -> SimpleNamespace:
    """A runner of 100 steps, just before the first."""
    dataset = NativeImages(source=Pictures(), transforms=[*CUT[:3], {"type": "Tokenize", "tokenizer": tokenizer}])
    loader = SimpleNamespace(dataset=dataset, batch_sampler=sampler(Tokenize={"max_seq_len": length}))
    towers = torch.nn.Module()
    towers.text_encoder = MODELS.build({"type": "TextTransformer", "dim": 12, "depth": 1, **encoder})
    return SimpleNamespace(train_dataloader=loader, model=towers, max_iters=100)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"length": None}, "Tokenize.max_seq_len is not set, the most tokens of a caption: give a number, at most"),
        ({"length": {"type": "Constant", "value": 1}}, "max_seq_len is 1 at step 0: 'scenes' needs 2 tokens at least"),
        (
            {"length": {"type": "Milestones", "milestones": [(0, 64), (83, 300), (84, 64)]}},
            "max_seq_len is 300 at step 83, but the text encoder reads 256 tokens; set model.text_encoder.context=300, or end",
        ),
        ({"length": LENGTHS, "vocab": 1023}, "'scenes' has 1,024 ids, .* embeds 1,023; leave out model.text_encoder.vocab"),
        (
            {"length": LENGTHS, "tokenizer": "minilm"},
            "has 30,522 ids, .* embeds 1,024; leave out Tokenize.tokenizer, .*'scenes'",
        ),
    ],
)
def test_what_the_text_encoder_cannot_read_is_named_before_the_run(settings, said):
    with pytest.raises(ValueError, match=said):
        CaptionHook().before_train(about_to_train(**settings))
    CaptionHook().before_train(about_to_train(LENGTHS, vocab=1024))


def test_halves_of_surrogate_pairs_reach_no_log_or_batch(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 4, 3), np.uint8))
    entries = [{"image": "0.png", "id": "a\ud83d", "caption": "x"}, {"image": "b\ud83d.png", "caption": "y"}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, entries)))
    dataset = NativeImages(source=JsonLines(data_root=tmp_path, split="all"), transforms=CUT[:3], seed=1)
    assert dataset[0]["id"] == "a\\ud83d"
    message = dataset[1]["skipped"][0]
    assert message.startswith("x.jsonl line 2 (b\\ud83d.png): ")
    assert (dataset[1]["id"] + message).encode()


def test_nothing_in_a_name_reaches_a_terminal_as_a_command(tmp_path):
    assert printable("a\0b\nc\x1b[31md\ud83d") == "a\\x00b\\nc\\x1b[31md\\ud83d"
    assert printable("caf\xe9 \u65e5\u672c \U0001f600.jpg") == "caf\xe9 \u65e5\u672c \U0001f600.jpg"
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "x.jsonl").write_text(json.dumps({"image": "0.png", "id": "a\x1b[2J\n\0", "caption": "x"}))
    dataset = NativeImages(source=JsonLines(data_root=tmp_path, split="all"), transforms=CUT[:3])
    assert dataset[0]["id"] == "a\\x1b[2J\\n\\x00"


def test_dropped_captions_of_own_data_are_counted(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 4, 3), np.uint8))
    captions = {"qwen": " ", "short": "A dog.", "alt": ["a dog.", "...", "A cat."], "none": None}
    (tmp_path / "x.jsonl").write_text(json.dumps({"image": "0.png", "captions": captions, "text": "A dog."}))
    out = NativeImages(source=JsonLines(data_root=tmp_path, split="all"), transforms=CUT[:3])[0]
    assert out["counts"] == {"empty captions": 2, "repeated captions": 1}
    assert out["caption"] in ("A dog.", "A cat.")


# Configs


def config(encoder: dict, tmp_path: Path, **tokenize: str) -> Path:
    transforms = [*CUT[:3], {"type": "Tokenize", **tokenize}]
    path = tmp_path / "config.py"
    path.write_text(
        f'_base_ = ["{ROOT}/configs/_base_/runtime.py", "{ROOT}/configs/_base_/embedded_scenes.py"]\n'
        f"model = dict(type='ContrastiveLearning', text_encoder=dict({encoder}))\n"
        f"train_dataloader = dict(dataset=dict(transforms={transforms}),"
        " batch_sampler=dict(schedules=dict(Tokenize=dict(max_seq_len=dict(type='Constant', value=64)))))\n"
        f"val_dataloader = dict(dataset=dict(transforms={transforms}, max_seq_len=64))\n"
    )
    return path


@pytest.mark.parametrize(
    ("encoder", "options", "tokenizer"),
    [
        ({"type": "TextTransformer", "tokenizer": "folder"}, {}, "folder"),
        ({"type": "TextTransformer", "tokenizer": "folder"}, {"model.text_encoder.tokenizer": "other"}, "other"),
        ({"type": "HuggingFaceText", "model": "some/model"}, {}, "some/model"),
        ({"type": "TextTransformer"}, {}, "scenes"),
        ({"type": "TextTransfromer"}, {}, None),
    ],
)
def test_loaders_take_the_tokenizer_of_the_text_encoder(encoder, options, tokenizer, tmp_path):
    cfg = load_config(config(encoder, tmp_path), options)
    found = [cfg[f"{part}_dataloader"].dataset.transforms[-1].get("tokenizer") for part in ("train", "val")]
    assert found == [tokenizer] * 2


def test_a_tokenizer_that_is_named_stays(tmp_path):
    cfg = load_config(config({"type": "TextTransformer"}, tmp_path, tokenizer="mine"))
    assert cfg.train_dataloader.dataset.transforms[-1].tokenizer == "mine"


def test_a_length_may_be_a_number_in_a_dataset_and_a_schedule_in_a_sampler(tmp_path):
    path = config({"type": "TextTransformer"}, tmp_path)
    with pytest.raises(ValueError, match="cannot be used") as caught:  # it is no whole one
        check_config(load_config(path))
    assert "max_seq_len" not in str(caught.value)
