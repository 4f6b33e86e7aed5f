"""Grounders of Hugging Face: phrases by their own tokens, in fixed chunks; random weights, and scripted detectors."""

import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from finevit_plugins.grounders.grounding_dino import GroundingDINOGrounder
from finevit_plugins.grounders.owlv2 import OWLv2Grounder
from finevit_plugins.grounders.spans import Marks, best_phrases, chunked, found, span_scores
from PIL import Image
from transformers import (
    BertConfig,
    BertTokenizerFast,
    CLIPTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    GroundingDinoProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
    Owlv2Processor,
    SwinConfig,
)

from finevit.recaption.checking import check_grounder
from finevit.recaption.contracts import GroundRequest, Picture

MARKS = Marks(begin=101, stop=1012, end=102, pad=0)
NOUNS = ("dog", "lamp", "cup", "tree", "cat", "chair", "house", "sign", "door")
COLOURS = ("red", "blue", "green", "yellow")
WORDS = (*NOUNS, *COLOURS, "container", "number", "old", "tall", "car", "a", "an", "the", "square")


def picture(width=60, height=40):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)).save(file, "PNG")
    return Picture("noise", file.getvalue)


@pytest.fixture(scope="module")
def dino(tmp_path_factory):
    """A tiny Grounding DINO with random weights, and the vocabulary positions of BERT."""
    place = tmp_path_factory.mktemp("dino")
    vocabulary = [f"[unused{number}]" for number in range(1100)]
    for number, token in {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}.items():
        vocabulary[number] = token
    vocabulary[1030 : 1030 + len(WORDS)] = WORDS
    (place / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(0)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4, out_indices=[2, 3, 4]),
        text_config=BertConfig(vocab_size=1100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16),
        d_model=32,
        num_queries=12,
        encoder_layers=1,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(place)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    GroundingDinoProcessor(images, BertTokenizerFast(str(place / "vocab.txt"))).save_pretrained(place)
    return str(place)


@pytest.fixture(scope="module")
def owl(tmp_path_factory):
    """A tiny OWLv2 with random weights, whose tokens are letters."""
    place = tmp_path_factory.mktemp("owl")
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (place / "vocab.json").write_text(str({token: number for number, token in enumerate(tokens)}).replace("'", '"'))
    (place / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizerFast(str(place / "vocab.json"), str(place / "merges.txt"), pad_token="<|endoftext|>")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    text = {
        **small,
        "vocab_size": len(tokens),
        "max_position_embeddings": 16,
        "eos_token_id": 53,
        "bos_token_id": 52,
        "pad_token_id": 53,
    }
    config = Owlv2Config(text_config=text, vision_config={**small, "image_size": 64, "patch_size": 16}, projection_dim=16)
    Owlv2ForObjectDetection(config).save_pretrained(place)
    Owlv2Processor(Owlv2ImageProcessor(size={"height": 64, "width": 64}), tokenizer).save_pretrained(place)
    return str(place)


def test_phrases_are_chunked_with_their_own_spans():
    chunks, odd = chunked([[7], [7, 8], [], [5] * 20, [9, 9, 9]], MARKS, most=2, length=12)
    assert odd == [2, 3]
    assert [chunk.tokens for chunk in chunks] == [
        (101, 7, 1012, 7, 8, 1012, 102, 0, 0, 0, 0, 0),
        (101, 9, 9, 9, 1012, 102, 0, 0, 0, 0, 0, 0),
    ]
    assert [(chunk.phrases, chunk.spans) for chunk in chunks] == [((0, 1), ((1, 2), (3, 5))), ((4,), ((1, 4),))]
    full, odd = chunked([[1] * 4, [2] * 4, [3] * 9], MARKS, most=8, length=12)
    assert ([chunk.phrases for chunk in full], odd) == ([(0, 1), (2,)], [])
    assert all(len(chunk.tokens) == 12 for chunk in full)
    assert chunked([], MARKS, most=2, length=12) == ([], [])


def test_scores_are_those_of_a_phrases_own_tokens():
    inf = float("inf")
    logits = torch.tensor([[-inf, 2.0, -inf, -2.0, 0.0, -inf], [-inf, -2.0, -inf, 1.0, 1.0, -inf]])
    scores = span_scores(logits, [(1, 2), (3, 5)])
    expected = [[0.8808, (0.1192 + 0.5) / 2], [0.1192, 0.7311]]
    assert torch.allclose(scores, torch.tensor(expected), atol=1e-4)
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.9, 0.5, 0.4, 0.2]])
    many = torch.tensor([[2.0, -9.0, 1.0, 0.0, -9.0, -1.0, -9.0]])
    assert span_scores(many, [(0, 7)]).item() == pytest.approx((0.8808 + 0.7311 + 0.5 + 0.2689) / 4, abs=1e-4), "of a sentence"
    which = best_phrases(scores, [(1, 2), (3, 5)])
    assert found(scores, which, boxes, [4, 6], 0.5) == [
        {"phrase": 4, "box": [0.4, 0.3, 0.6, 0.7], "score": 0.880797},
        {"phrase": 6, "box": [0.7, 0.4, 1.0, 0.6], "score": 0.731059},
    ]
    assert found(scores, which, boxes, [4, 6], 0.8) == found(scores, which, boxes, [4, 6], 0.5)[:1]
    nowhere = torch.tensor([[1.5, 0.5, 0.2, 0.4], [0.5, 0.5, 0.0, 0.4]])
    assert found(scores, which, nowhere, [4, 6], 0.0) == [], "outside, and empty"


def test_a_box_goes_to_the_longer_of_phrases_that_fit_it_nearly_alike():
    spans = [(1, 2), (3, 5), (6, 7)]
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.5, 0.1], [0.4, 0.39, 0.7], [0.3, 0.3, 0.3], [0.5, 0.1, 0.6]])
    assert best_phrases(scores, spans).tolist() == [1, 0, 2, 1, 2]


class Scripted:
    """Finds each of its phrases in a box of its own, and lights up wherever a word of the phrase stands, in other phrases too."""

    config = SimpleNamespace(max_text_len=256)
    model = SimpleNamespace(special_tokens=torch.tensor([101, 102, 1012, 1029]))

    def __init__(self, tokenizer, world):
        self.asked = []
        self.words = [set(tokenizer(phrase, add_special_tokens=False)["input_ids"]) for phrase in world]
        self.boxes = torch.tensor(list(world.values()))

    def __call__(self, pixel_values, pixel_mask, input_ids, attention_mask):
        self.asked.append(input_ids[0].tolist())
        assert (attention_mask == (input_ids != 0)).all()
        logits = [[3.0 if token in words else -5.0 for token in self.asked[-1]] for words in self.words]
        return SimpleNamespace(logits=torch.tensor([logits]), pred_boxes=self.boxes[None])


def test_a_long_caption_of_forty_phrases_is_grounded_whole(dino):
    phrases = [
        "container",
        "container number",
        *(f"{colour} {noun}" for noun in NOUNS for colour in COLOURS),
        "old car",
        "tall car",
    ]
    assert len(phrases) == 40
    world = {phrase: [0.02 + number / 45, 0.5, 0.02, 0.5] for number, phrase in enumerate(phrases)}
    engine = GroundingDINOGrounder(model=dino, phrases=8, tokens=64)
    engine.__dict__["detector"] = Scripted(engine.processor.tokenizer, world)
    asked = ["old " * 70 + "dog", *reversed(phrases), " . "]
    answer = engine.answer(GroundRequest(picture(), tuple(asked)))
    assert answer.status == "ok"
    assert answer.detail.startswith("2 phrases have no tokens or more than 61, and were not asked for: 'old old")
    assert answer.detail.endswith("' . '")
    best = {}
    for each in sorted(answer.value, key=lambda each: each["score"]):
        best[asked[each["phrase"]]] = each["box"]
    assert set(best) == set(phrases)
    for phrase, (x, *_) in world.items():
        assert best[phrase][0] == pytest.approx(x - 0.01, abs=1e-5), phrase
    assert [len(tokens) for tokens in engine.detector.asked] == [64] * 5


def test_boxes_of_a_container_and_of_its_number_are_told_apart(dino):
    world = {"container": [0.5, 0.5, 0.8, 0.8], "container number": [0.3, 0.3, 0.1, 0.05]}
    engine = GroundingDINOGrounder(model=dino)
    engine.__dict__["detector"] = Scripted(engine.processor.tokenizer, world)
    for order in (("container", "container number"), ("The container number?", "Container.")):
        answer = engine.answer(GroundRequest(picture(), order))
        found_ = {order[each["phrase"]].strip(".?").lower().removeprefix("the "): each["box"] for each in answer.value}
        assert found_["container"] == pytest.approx([0.1, 0.1, 0.9, 0.9], abs=1e-5)
        assert found_["container number"] == pytest.approx([0.25, 0.275, 0.35, 0.325], abs=1e-5)


def test_grounding_dino_keeps_the_contract_and_its_protocol(dino):
    engine = GroundingDINOGrounder(model=dino, threshold=0.0)
    check_grounder(engine)
    asked = GroundRequest(picture(), ("red car", "old dog"))
    first, again = engine.answer(asked), engine.answer(asked)
    assert first.value == again.value
    assert {each["phrase"] for each in first.value} <= {0, 1}
    assert len(first.value) == 12, "each query is a box"
    keys = {
        GroundingDINOGrounder(model=dino, **given).key(asked) for given in ({}, {"tokens": 64}, {"phrases": 4}, {"threshold": 0.2})
    }
    assert len(keys) == 4
    settings = {
        "phrases": 8,
        "tokens": 128,
        "threshold": 0.0,
        "score": "mean of the 4 strongest own tokens without article",
        "nearly": 0.8,
        "dtype": "float32",
        "revision": None,
    }
    assert engine.settings() == settings


def test_a_chunk_that_the_model_would_cut_is_refused(dino, tmp_path):
    with pytest.raises(ValueError, match=r"tokens=300: .* reads 256; set tokens to at most that"):
        GroundingDINOGrounder(model=dino, tokens=300).answer(GroundRequest(picture(), ("dog",)))
    with pytest.raises(ValueError, match="this folder holds no config"):
        GroundingDINOGrounder(model=str(tmp_path))


def test_owlv2_keeps_the_contract_and_asks_for_each_phrase_alone(owl):
    engine = OWLv2Grounder(model=owl, template="{}", threshold=0.0)
    check_grounder(OWLv2Grounder(model=owl, template="{}", threshold=0.0))
    phrases = ("dog", "red", "pneumonoultramicroscopic", "cat", " ")
    answer = engine.answer(GroundRequest(picture(), phrases))
    assert answer.detail == "2 phrases have no tokens or more than 16, and were not asked for: 'pneumonoultramicroscopic', ' '"
    assert {each["phrase"] for each in answer.value} <= {0, 1, 3}
    one = OWLv2Grounder(model=owl, template="{}", threshold=0.0, phrases=1).answer(GroundRequest(picture(), phrases))
    assert [each["phrase"] for each in one.value] == [each["phrase"] for each in answer.value]
    assert np.allclose([each["box"] for each in one.value], [each["box"] for each in answer.value], atol=1e-5)
    with pytest.raises(ValueError, match=r"template='a photo' has no {} where the phrase stands"):
        OWLv2Grounder(model=owl, template="a photo")


def test_boxes_of_owlv2_are_those_of_the_image_without_its_padding(owl):
    engine = OWLv2Grounder(model=owl, template="{}", threshold=0.5)
    scripted = SimpleNamespace(
        logits=torch.tensor([[[3.0, -3.0], [-3.0, 3.0]]]), pred_boxes=torch.tensor([[[0.5, 0.25, 0.5, 0.25]] * 2])
    )
    engine.__dict__["detector"] = lambda **_: scripted
    engine.detector.config = SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=16))
    wide = engine.answer(GroundRequest(picture(80, 40), ("dog", "cat"))).value
    assert [(each["phrase"], each["box"]) for each in wide] == [(0, [0.25, 0.25, 0.75, 0.75]), (1, [0.25, 0.25, 0.75, 0.75])]
    high = engine.answer(GroundRequest(picture(40, 80), ("dog", "cat"))).value
    assert high[0]["box"] == [0.5, 0.125, 1.0, 0.375]


def test_a_checkpoint_that_lacks_weights_is_refused(owl, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in Path(owl).glob("*.json"):
        shutil.copy(file, tmp_path)
    weights = load_file(f"{owl}/model.safetensors")
    weights.pop("class_head.dense0.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights, for example 'class_head\.dense0\.weight'"):
        OWLv2Grounder(model=str(tmp_path)).answer(GroundRequest(picture(), ("dog",)))
