"""Text encoders and tokenizers: against naive loops and the models that they wrap; texts of every kind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule
from torch.nn.functional import cosine_similarity

from finevit.commands import train_tokenizer as trainer
from finevit.hub.tokenizers import OWN, load_tokenizer
from finevit.packing.texts import pack_texts
from finevit.registry import MODELS
from finevit.testing import fill, random_texts
from finevit.text_encoders import HuggingFaceText, TextTransformer
from finevit.text_encoders.hugging_face import KEPT, stretch

CAPTIONS = [
    "A Red ball.",
    "Two blue cups stand to the left of a green tree, under a yellow sun and beside a white house with a brown door.",
    "",
]
ODD = ["", "ball", "ball " * 5000, "😀 👨‍👩‍👧", "שלום عليكم", "a\0b\0", "\ud800 half of a pair", "\n" * 5000]
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {**SMALL, "vocab_size": 1025, "max_position_embeddings": 32}


def read(name: str, texts: list[str], limit: int):
    """What a loader makes of texts."""
    return pack_texts(load_tokenizer(name)(texts, limit)[0], limit)


def gradients(encoder, texts) -> dict[str, float]:
    """The largest gradient of every parameter under a loss that sees each output."""
    out = encoder(texts)
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=out.dtype)).sum().backward()
    return {name: float(p.grad.abs().max()) for name, p in encoder.named_parameters()}


def train(encoder, texts, *, steps: int, lr: float) -> list[float]:
    """Losses while the encoder learns one random vector for each text."""
    encoder.train()
    goal = torch.randn(len(texts.seqlens), encoder.dim, generator=torch.Generator().manual_seed(3))
    optimizer, losses = torch.optim.AdamW(encoder.parameters(), lr=lr), []
    for _ in range(steps):
        loss = (encoder(texts) - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


# tokenizers


@pytest.mark.parametrize("name", ["scenes", "minilm"])
@pytest.mark.parametrize("limit", [3, 16, 256])
def test_any_text_becomes_tokens(name, limit):
    tokenizer = load_tokenizer(name)
    ids, truncated = tokenizer(ODD, limit)
    assert all(1 <= len(each) <= limit for each in ids)
    assert all(0 <= token < tokenizer.size for each in ids for token in each)
    assert truncated[:3] == [False, False, True]
    assert len(ids[2]) == limit
    assert len({each[0] for each in ids}) == 1, "every text begins with the tokenizer's own token"


def test_the_shipped_tokenizer():
    tokenizer = load_tokenizer("scenes")
    assert (tokenizer.size, tokenizer.pad_id) == (1024, 0)
    ids, truncated = tokenizer(["", "A RED ball", "a red ball"], 64)
    assert ids[0] == [1]
    assert ids[1] == ids[2]
    assert len(ids[1]) <= 5
    assert truncated == [False] * 3
    assert tokenizer([], 64) == ([], [])


def test_truncation_keeps_the_closing_token():
    short, long = load_tokenizer("minilm")(["ball", "ball " * 100], 8)[0]
    assert short[-1] == long[-1] == 102
    assert len(long) == 8


def test_what_tokenizers_refuse(tmp_path):
    with pytest.raises(ValueError, match=r"text length 2: 'minilm' adds 2 special tokens; allow 3"):
        load_tokenizer("minilm")(["ball"], 2)
    with pytest.raises(ValueError, match=r"tokenizer=.*holds no tokenizer_config.json"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"could not be loaded .*choose one of scenes, scenes-chat, minilm"):
        load_tokenizer(f"{tmp_path}/")


def test_training_a_tokenizer_is_repeatable(tmp_path):
    assert all(trainer.train(iter(CAPTIONS * 9), 300, tmp_path / name) == 300 for name in "ab")
    first, second = ((tmp_path / name / "tokenizer.json").read_bytes() for name in "ab")
    assert first == second
    assert load_tokenizer(str(tmp_path / "a"))(["A Red ball."], 8)[0][0][0] == 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "chat"), [("scenes", False), ("scenes-chat", True)])
def test_the_shipped_tokenizers_can_be_remade(tmp_path, name, chat):
    trainer.train(trainer.texts(None, chat=chat), 1024, tmp_path, chat=chat)
    assert (tmp_path / "tokenizer.json").read_bytes() == (OWN[name] / "tokenizer.json").read_bytes()


# the transformer of this project


def naive(encoder: TextTransformer, ids: np.ndarray) -> np.ndarray:
    """One text through the transformer, head by head, rotations as complex numbers."""
    weights = {name: p.detach().numpy() for name, p in encoder.named_parameters()}

    def norm(x, name):
        mean, spread = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(spread + 1e-6) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def turn(x):
        half, quarter = x.shape[1] // 2, x.shape[1] // 4
        wavelengths = np.tile(encoder.rope_theta ** (-np.arange(quarter) / quarter), 2)
        turned = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * np.arange(len(x))[:, None] * wavelengths)
        return np.concatenate((turned.real, turned.imag), 1)

    def attend(h, name):
        q, k, v = np.split(h @ weights[f"{name}.qkv.weight"].T + weights[f"{name}.qkv.bias"], 3, axis=1)
        heads = []
        for at in range(0, encoder.dim, encoder.head_dim):
            one = slice(at, at + encoder.head_dim)
            score = np.exp(turn(q[:, one]) @ turn(k[:, one]).T * encoder.head_dim**-0.5)
            heads.append(score / score.sum(1, keepdims=True) @ v[:, one])
        return np.concatenate(heads, 1) @ weights[f"{name}.out.weight"].T

    x = weights["embed.weight"][ids]
    for index in range(len(encoder.blocks)):
        block = f"blocks.{index}"
        x = x + attend(norm(x, f"{block}.norm1"), f"{block}.attention")
        gate, up = np.split(norm(x, f"{block}.norm2") @ weights[f"{block}.feed_forward.gate_up.weight"].T, 2, axis=1)
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weights[f"{block}.feed_forward.down.weight"].T
    return norm(x, "norm").mean(0)


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_each_text_alone_equals_the_pack(pool):
    encoder = TextTransformer(vocab=50, depth=2, dim=16, heads=2, pool=pool).double()
    fill(encoder)
    texts = random_texts([5, 1, 17, 3], max_seq_len=64, vocab=50)
    packed = encoder(texts)
    parts = texts.tokens.split(list(texts.seqlens))
    alone = torch.cat([encoder(pack_texts([part.tolist()], 64)) for part in parts])
    torch.testing.assert_close(packed, alone, atol=1e-6, rtol=0)
    order = [2, 0, 3, 1]
    turned = encoder(pack_texts([parts[i].tolist() for i in order], 64))
    torch.testing.assert_close(turned, packed[order], atol=1e-6, rtol=0)
    if pool == "mean":
        expected = [naive(encoder, part.numpy()) for part in parts]
        np.testing.assert_allclose(packed.detach(), expected, atol=1e-9)


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_word_order_and_every_parameter_matter(pool):
    encoder = TextTransformer(vocab=50, depth=2, dim=16, heads=2, pool=pool).double()
    fill(encoder)
    there, back = encoder(pack_texts([[4, 5, 6], [6, 5, 4]], 8))
    assert (there - back).abs().max() > 1e-3
    assert min(gradients(encoder, random_texts([5, 1, 17, 3], max_seq_len=64, vocab=50)).values()) > 1e-6


def test_transformer_overfits():
    torch.manual_seed(0)
    encoder = MODELS.build({"type": "TextTransformer", "tokenizer": "scenes", "depth": 2, "dim": 64, "heads": 2})
    losses = train(encoder, read("scenes", [*CAPTIONS, "a tree"], 64), steps=20, lr=3e-3)
    np.testing.assert_allclose([losses[0], losses[-1]], [1.4864, 0.0245], rtol=0.02)


def test_transformer_starts_calm():
    torch.manual_seed(0)
    encoder = TextTransformer(depth=12, dim=64, heads=2)
    assert encoder.embed.weight.shape == (1024, 64)
    assert 0.98 < encoder.embed.weight.std() < 1.02
    assert encoder.blocks[0].attention.out.weight.std() < 0.3 * encoder.blocks[0].attention.qkv.weight.std()
    assert "tokenizer scenes of 1,024 ids, up to 256 tokens" in encoder.describe()


def test_transformer_refuses():
    with pytest.raises(ValueError, match=r"max_seq_len=300: .*context=300"):
        TextTransformer(vocab=9, depth=1, dim=8, heads=1)(random_texts([3], max_seq_len=300, vocab=9))
    with pytest.raises(ValueError, match=r"model.text_encoder.dim=10: give a multiple of 4 \* heads \(8\)"):
        TextTransformer(vocab=9, dim=10, heads=2)
    with pytest.raises(ValueError, match=r"TextTransformer\.pool='max': give 'mean' or 'attention'"):
        TextTransformer(vocab=9, pool="max")


# towers of Hugging Face


def tiny(kind: str):
    """A tower of the class of SigLIP, SigLIP2 or CLIP, alone or beside an image tower, with random weights."""
    import transformers as hf

    vision = {**SMALL, "image_size": 32, "patch_size": 16}
    # the last id closes a text
    torch.manual_seed(0)
    models = {
        "siglip": lambda: hf.SiglipTextModel(hf.SiglipTextConfig(**TEXT, projection_size=24)),
        "siglip2": lambda: hf.Siglip2TextModel(hf.Siglip2TextConfig(**TEXT)),
        "clip": lambda: hf.CLIPTextModel(hf.CLIPTextConfig(**TEXT, eos_token_id=1024, bos_token_id=1)),
        "both of siglip2": lambda: hf.Siglip2Model(
            hf.Siglip2Config(text_config=TEXT, vision_config={**SMALL, "patch_size": 16, "num_patches": 4})
        ),
        "both of clip": lambda: hf.CLIPModel(
            hf.CLIPConfig(text_config={**TEXT, "eos_token_id": 1024, "bos_token_id": 1}, vision_config=vision)
        ),
    }
    return models[kind]().eval()


KINDS = ["siglip", "siglip2", "clip", "both of siglip2", "both of clip"]


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Folders of saved towers, each with a tokenizer that closes texts and knows capitals."""
    from tokenizers.normalizers import NFKC
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer, Siglip2Tokenizer

    tokenizer = AutoTokenizer.from_pretrained(OWN["scenes"])
    tokenizer.add_special_tokens({"eos_token": "<end>"})
    template = TemplateProcessing(single="<s> $A <end>", special_tokens=[("<s>", 1), ("<end>", 1024)])
    tokenizer.backend_tokenizer.post_processor, tokenizer.backend_tokenizer.normalizer = template, NFKC()
    folders = {kind: tmp_path_factory.mktemp(kind.replace(" ", "_")) for kind in KINDS}
    for kind, folder in folders.items():
        tiny(kind).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    letters = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *"abcdefghijklmnopqrstuvwxyz.,"]
    gemma = Siglip2Tokenizer(vocab={letter: at for at, letter in enumerate(letters)}, add_eos_token=True, padding_side="right")
    gemma.save_pretrained(folders["both of siglip2"])
    return {kind: str(folder) for kind, folder in folders.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_tower_equals_transformers(towers, kind):
    from transformers import AutoTokenizer

    encoder = HuggingFaceText(model=towers[kind]).eval()
    full = "siglip" in kind
    texts = [text.lower() for text in CAPTIONS] if full else CAPTIONS
    padding = {"padding": "max_length"} if full else {"padding": True}
    inputs = AutoTokenizer.from_pretrained(towers[kind])(texts, max_length=24, truncation=True, return_tensors="pt", **padding)
    if full:
        assert inputs.pop("attention_mask").shape == (3, 24)
    model = tiny(kind)
    expected = getattr(model, "text_model", model)(**inputs).pooler_output
    assert encoder.dim == expected.shape[1] == (24 if kind == "siglip" else 32)
    torch.testing.assert_close(encoder(read(towers[kind], CAPTIONS, 24)), expected, atol=1e-6, rtol=0)
    assert not any("vision" in name for name, _ in encoder.named_parameters())
    assert "TextModel from" in encoder.describe()


@pytest.mark.parametrize("kind", KINDS[:3])
def test_tower_trains(towers, kind):
    encoder, texts = HuggingFaceText(model=towers[kind]), read(towers[kind], CAPTIONS, 24)
    # a bias of all keys alike changes no attention: its gradient is zero but for rounding
    assert min(value for name, value in gradients(encoder, texts).items() if not name.endswith("k_proj.bias")) > 1e-6
    losses = train(encoder, texts, steps=4, lr=1e-3)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.97 * losses[0]


def test_clip_truncates_before_the_closing_token(towers):
    (ids,), (truncated,) = load_tokenizer(towers["clip"])(["ball " * 5000], 8)
    assert (len(ids), ids[0], ids[-1], truncated) == (8, 1, 1024, True)


def test_siglip2_has_its_own_tokenizer(towers):
    tokenizer = load_tokenizer(towers["both of siglip2"])
    ids, truncated = tokenizer(["A red", "", "a" * 100, *ODD], 6)
    assert ids[:3] == [[6, 5, 23, 10, 9, 1], [1], [6, 6, 6, 6, 6, 1]]
    assert truncated[:3] == [False, False, True]
    assert (tokenizer.pad_id, tokenizer.pad_left) == (0, False)
    assert all(1 <= len(each) <= 6 and each[-1] == 1 for each in ids)


def test_only_siglip_reads_in_lower_case(towers):
    (upper, lower), _ = load_tokenizer(towers["siglip"])(["A RED BALL", "a red ball"], 24)
    assert upper == lower
    (upper, lower), _ = load_tokenizer(towers["clip"])(["A RED BALL", "a red ball"], 24)
    assert upper != lower


def test_initialisation_by_mmengine_leaves_the_weights(towers):
    class Model(BaseModule):
        def __init__(self):
            super().__init__()
            self.text_encoder = MODELS.build({"type": "HuggingFaceText", "model": towers["clip"]})

    model = Model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_random_weights_of_a_config(towers):
    torch.manual_seed(5)
    one, other = (HuggingFaceText(model=towers["clip"], pretrained=on).tower.final_layer_norm for on in (True, False))
    assert torch.equal(one.weight, other.weight)
    random, saved = (HuggingFaceText(model=towers["clip"], pretrained=on).state_dict() for on in (False, True))
    assert random.keys() == saved.keys()
    name = "tower.encoder.layers.0.self_attn.q_proj.weight"
    assert not torch.allclose(random[name], saved[name], atol=1e-3)


# longer texts than the checkpoint was trained for


def test_stretched_positions():
    table = torch.randn(32, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    longer = stretch(table, 64)
    assert longer.shape == (64, 4)
    assert torch.equal(longer[: KEPT + 1], table[: KEPT + 1])
    assert torch.equal(longer[-1], table[-1])
    at = np.linspace(KEPT, 31, 64 - KEPT)
    expected = np.stack([np.interp(at, np.arange(32), column) for column in table.T], axis=1)
    np.testing.assert_allclose(longer[KEPT:], expected, atol=1e-12)


def test_stretching_leaves_short_texts_alone(towers):
    plain, longer = (HuggingFaceText(model=towers["clip"], context=context).eval() for context in (None, 256))
    assert (plain.context, longer.context) == (32, 256)
    assert longer.describe().endswith("up to 256 tokens, positions stretched from 32")
    assert plain.describe().endswith("up to 32 tokens")
    short = read(towers["clip"], ["A Red ball.", ""], 32)
    assert torch.equal(plain(short), longer(short))
    long = read(towers["clip"], ["ball " * 5000, "cup"], 256)
    assert long.seqlens[0] == 256
    assert longer(long).isfinite().all()
    with pytest.raises(
        ValueError, match=r"max_seq_len=256: .*reads 32 tokens; set model.text_encoder.context=256, or allow no more"
    ):
        plain(long)
    assert HuggingFaceText(model=towers["siglip2"], context=64)(read(towers["siglip2"], CAPTIONS, 64)).shape == (3, 32)


# MiniLM out of its package


@pytest.fixture(scope="module")
def minilm():
    return HuggingFaceText(model="minilm").eval().requires_grad_(False)


def test_minilm_has_its_published_similarities(minilm):
    sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors = minilm(read("minilm", sentences, 64))
    found = [float(cosine_similarity(vectors[i], vectors[j], dim=0)) for i, j in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(found, [0.6660, 0.1046, 0.1411], atol=1e-4)


def test_minilm_equals_transformers(minilm):
    from transformers import AutoModel, AutoTokenizer

    from finevit.hub.locate import find_model

    folder = find_model("minilm")
    inputs = AutoTokenizer.from_pretrained(folder)(CAPTIONS, padding=True, return_tensors="pt")
    hidden = AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state
    expected = [row[: mask.sum()].mean(0) for row, mask in zip(hidden, inputs["attention_mask"], strict=True)]
    torch.testing.assert_close(minilm(read("minilm", CAPTIONS, 64)), torch.stack(expected), atol=1e-5, rtol=0)
    assert (minilm.dim, minilm.context) == (384, 512)


def test_minilm_trains_and_stretches():
    encoder = HuggingFaceText(model="minilm", context=600)
    with torch.no_grad():
        assert encoder(read("minilm", ["ball " * 700], 600)).isfinite().all()
    texts = read("minilm", CAPTIONS, 64)
    assert min(value for name, value in gradients(encoder.eval(), texts).items() if not name.endswith("key.bias")) > 1e-6
    losses = train(encoder, texts, steps=3, lr=1e-4)
    assert losses[-1] < losses[0]


def test_what_towers_refuse(towers, tmp_path):
    with pytest.raises(ValueError, match=r"the folder .* does not exist"):
        HuggingFaceText(model=f"{tmp_path}/nothing")
    with pytest.raises(ValueError, match=r"context=600: .* has 8 positions, too few to stretch"):
        HuggingFaceText(model=_copied(towers["clip"], tmp_path / "short", max_position_embeddings=8), context=600, pretrained=False)
    with pytest.raises(ValueError, match=r"the checkpoint lacks \d+ weights, for example .*; give one that holds a text tower"):
        HuggingFaceText(model=_copied(towers["clip"], tmp_path / "deep", num_hidden_layers=3))
    with pytest.raises(ValueError, match=r"weights do not fit config.json, for example .*fc1.bias' is \[64\], not \[96\]"):
        HuggingFaceText(model=_copied(towers["clip"], tmp_path / "wide", intermediate_size=96))
    with pytest.raises(ValueError, match=r"its tokenizer, read as .*, has 1,025 ids, but the text tower embeds 1,000; repair"):
        HuggingFaceText(model=_copied(towers["clip"], tmp_path / "few", vocab_size=1000), pretrained=False)
    for context in (0, -1, True, 1.5, "64"):
        with pytest.raises(ValueError, match=r"context=.*: give a whole number of tokens, at least 1, or None"):
            HuggingFaceText(model=towers["clip"], context=context)


def test_a_tower_of_images_is_refused(towers, tmp_path):
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28)
    SiglipVisionModel(config).save_pretrained(tmp_path / "images")
    load_tokenizer(towers["clip"])._backend.save_pretrained(tmp_path / "images")
    with pytest.raises(ValueError, match=r"could not be loaded \(SiglipVisionModel is no text tower\)"):
        HuggingFaceText(model=str(tmp_path / "images"))


def test_positions_of_another_kind_are_not_stretched(towers, tmp_path):
    from transformers import GPT2Config, GPT2Model

    GPT2Model(GPT2Config(vocab_size=1025, n_positions=32, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path / "gpt")
    load_tokenizer(towers["clip"])._backend.save_pretrained(tmp_path / "gpt")
    assert HuggingFaceText(model=str(tmp_path / "gpt")).context == 32
    with pytest.raises(ValueError, match=r"context=64: .* has 32 positions of a kind that is not stretched"):
        HuggingFaceText(model=str(tmp_path / "gpt"), context=64)


def test_weights_that_are_not_finite_are_refused(towers, tmp_path):
    model = tiny("clip")
    with torch.no_grad():
        next(model.parameters())[0] = torch.nan
    folder = _copied(towers["clip"], tmp_path / "nan")
    model.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"the weights '.*' are not finite; fetch the checkpoint again"):
        HuggingFaceText(model=folder)


def test_a_tokenizer_is_read_as_it_was_saved(towers, tmp_path):
    """SigLIP2's class would make its own tokenizer of the words in this file."""
    from transformers import AutoTokenizer

    folder = Path(_copied(towers["both of siglip2"], tmp_path / "plain"))
    AutoTokenizer.from_pretrained(OWN["scenes"]).save_pretrained(folder)
    texts = ["A red ball."]
    assert load_tokenizer(str(folder))(texts, 24)[0] == load_tokenizer("scenes")(["a red ball."], 24)[0]


def _copied(folder: str, to: Path, **changes) -> str:
    """A copy of a saved model with changes to its config."""
    import json
    import shutil

    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**config, **changes}))
    return str(to)
