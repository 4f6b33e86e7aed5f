"""Stage III: dialogues in a pack, the alignment LLMs, the connector, freezing, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from finevit.config.loading import ConfigError, load_config
from finevit.config.validation import check_config
from finevit.ops.patches import cell_centres, merge_neighbours
from finevit.packing.dialogues import answer_loss, attention_mask, packed, padded, prompts, rows, supervised
from finevit.packing.packs import IGNORE_INDEX, PackedDialogues
from finevit.registry import MODELS
from finevit.testing import check_alignment_llm, fill, random_dialogues, random_pack

pytestmark = pytest.mark.usefixtures("plugins")

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
CONFIGS = {
    "llama": {"model_type": "llama", **SIZES},
    "qwen3": {"model_type": "qwen3", **SIZES, "head_dim": 16, "tie_word_embeddings": True},
    "gemma2": {"model_type": "gemma2", **SIZES, "head_dim": 16, "sliding_window": 4, "final_logit_softcapping": 5.0},
    "gemma3": {
        "model_type": "gemma3_text",
        **SIZES,
        "head_dim": 16,
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "mistral": {"model_type": "mistral", **SIZES, "sliding_window": 8},
    "granite": {"model_type": "granite", **SIZES, "logits_scaling": 7.0},
    "cohere": {"model_type": "cohere", **SIZES, "logit_scale": 0.2},
    "smollm3": {"model_type": "smollm3", **SIZES, "no_rope_layers": [1, 0]},
}
IMAGE_TEXT = {
    "model_type": "gemma3",
    "text_config": {**SIZES, "head_dim": 16},
    "vision_config": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1},
}
STAGE_3 = Path(__file__).parents[1] / "configs/finevit_tiny_stage3.py"
PARTS = [(4, [(3, 5), (2, 1), (4, 2)]), (6, [(1, 3)])]


def plain(**options: object):
    return MODELS.build({"type": "PlainLLM", "depth": 2, "dim": 32, "heads": 2, "context": 64, **options})


def hugging_face(kind: str = "llama", **options: object):
    torch.manual_seed(0)
    return MODELS.build({"type": "HuggingFaceLLM", "config": CONFIGS[kind], "tokenizer": "scenes-chat", **options})


def llms() -> list:
    return [pytest.param(plain, id="plain"), *(pytest.param(lambda kind=kind: hugging_face(kind), id=kind) for kind in CONFIGS)]


def alone(dialogues: PackedDialogues, image: int, segment: int) -> PackedDialogues:
    """One question of one image, by itself."""
    begin, end = dialogues.cu_seqlens[image : image + 2].tolist()
    keep = torch.arange(begin, end)[torch.isin(dialogues.segment_ids[begin:end], torch.tensor([0, segment]))]
    return PackedDialogues(
        tokens=dialogues.tokens[keep],
        labels=dialogues.labels[keep],
        position_ids=torch.arange(len(keep)),
        segment_ids=(dialogues.segment_ids[keep] > 0).long(),
        cu_seqlens=torch.tensor([0, len(keep)], dtype=torch.int32),
        seqlens=(len(keep),),
        visual=(0,),
        answers=(1,),
        supervised=int((dialogues.labels[keep] != IGNORE_INDEX).sum()),
    )


def loss_of(llm, dialogues: PackedDialogues) -> torch.Tensor:
    head = MODELS.build({"type": "LanguageHead"})
    return head.loss(llm(llm.embed(dialogues.tokens), dialogues), dialogues, llm)["loss_language"]


# --- packs of dialogues -------------------------------------------------------------------------------------------------


def test_who_reads_whom():
    mask = attention_mask(random_dialogues([(2, [(1, 1), (2, 0)])], vocab=9))[0]
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]


def test_short_dialogues_share_a_row():
    assert rows((5, 9, 4, 3, 1)) == [[1], [0, 2], [3, 4]]
    parts = [(2, [(1, 1)]), (1, [(1, 1), (1, 1)]), (1, [(0, 1)]), (6, [(3, 1)])]
    dialogues = random_dialogues(parts, vocab=9)
    count = torch.arange(sum(dialogues.seqlens))
    assert dialogues.seqlens == (4, 5, 2, 10)
    assert rows(dialogues.seqlens) == [[3], [1, 0], [2]]
    assert padded(count, dialogues, fill=-1)[1].tolist() == [4, 5, 6, 7, 8, 0, 1, 2, 3, -1]
    assert torch.equal(packed(padded(count, dialogues), dialogues), count)
    mask = attention_mask(dialogues)
    alone = [attention_mask(random_dialogues([part], vocab=9))[0] for part in (parts[1], parts[0])]
    assert torch.equal(mask[1, :9, :9], torch.block_diag(*alone).bool())


def test_learned_tokens_know_their_answer():
    index, answer = supervised(random_dialogues(PARTS, vocab=9))
    assert index.tolist() == [7, 8, 9, 10, 11, 14, 19, 20, 28, 29, 30]
    assert answer.tolist() == [0, 0, 0, 0, 0, 1, 2, 2, 3, 3, 3]


def test_loss_by_hand():
    """Answer 0 has two tokens of probability 1/2 and 1/4, answer 1 one of 1/4: (3/2 + 2) / 2 bits."""
    rows = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.75, 0.25]], dtype=torch.float64).log()
    loss = answer_loss(rows.float(), torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1]), 2)
    assert loss.item() == pytest.approx(1.75 * torch.log(torch.tensor(2.0)).item(), abs=1e-6)


def test_prompts_hold_trunk_and_question():
    dialogues = random_dialogues(PARTS, vocab=9)
    found = prompts(torch.arange(31.0)[:, None], dialogues)
    assert [prompt[:, 0].int().tolist() for prompt in found] == [
        [0, 1, 2, 3, 4, 5, 6],
        [0, 1, 2, 3, 12, 13],
        [0, 1, 2, 3, 15, 16, 17, 18],
        [21, 22, 23, 24, 25, 26, 27],
    ]


# --- language models -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", llms())
def test_llm_keeps_the_contract(make):
    check_alignment_llm(make())


@pytest.mark.parametrize("make", llms())
def test_packed_loss_is_the_mean_of_its_parts(make):
    llm, dialogues = make().eval(), random_dialogues(PARTS, vocab=200)
    parts = [loss_of(llm, alone(dialogues, image, segment)) for image, segment in ((0, 1), (0, 2), (0, 3), (1, 1))]
    assert loss_of(llm, dialogues).item() == pytest.approx(torch.stack(parts).mean().item(), abs=1e-5)
    assert torch.stack(parts).std() > 1e-3


@pytest.mark.parametrize("make", llms())
def test_gradients_are_those_of_the_parts(make):
    llm, dialogues = make().eval(), random_dialogues(PARTS, vocab=200)
    embeddings = llm.embed(dialogues.tokens).detach().requires_grad_()
    head = MODELS.build({"type": "LanguageHead"})
    head.loss(llm(embeddings, dialogues), dialogues, llm)["loss_language"].backward()
    expected = torch.zeros_like(embeddings)
    for image, segment in ((0, 1), (0, 2), (0, 3), (1, 1)):
        begin, end = dialogues.cu_seqlens[image : image + 2].tolist()
        keep = torch.arange(begin, end)[torch.isin(dialogues.segment_ids[begin:end], torch.tensor([0, segment]))]
        part, single = embeddings.detach()[keep].requires_grad_(), alone(dialogues, image, segment)
        head.loss(llm(part, single), single, llm)["loss_language"].backward()
        expected[keep] += part.grad / 4
    torch.testing.assert_close(embeddings.grad, expected, atol=1e-6, rtol=1e-4)
    assert expected.abs().max() > 1e-4


@pytest.mark.parametrize("kind", CONFIGS)
def test_hugging_face_outputs_are_those_of_its_own_forward(kind):
    llm = hugging_face(kind).eval()
    dialogues = random_dialogues([(6, [(2, 3)])], vocab=200)
    found = llm.logits(llm(llm.embed(dialogues.tokens), dialogues))
    torch.testing.assert_close(found, llm.model(input_ids=dialogues.tokens[None]).logits[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_llm_by_folder(kind, tmp_path):
    from finevit.hub.tokenizers import load_backend

    first = hugging_face(kind).eval()
    first.model.save_pretrained(tmp_path)
    load_backend("scenes-chat").save_pretrained(tmp_path)
    second = MODELS.build({"type": "HuggingFaceLLM", "model": str(tmp_path)}).eval()
    dialogues = random_dialogues(PARTS, vocab=200)
    torch.testing.assert_close(loss_of(first, dialogues), loss_of(second, dialogues))
    assert second.tokenizer == str(tmp_path)


@pytest.mark.parametrize(("train", "moved"), [("full", "all"), ("lora", "lora"), ("frozen", "")])
def test_what_is_trained(train, moved):
    llm = hugging_face(train=train, **({"lora": {"r": 2}} if train == "lora" else {}))
    names = {name for name, parameter in llm.named_parameters() if parameter.requires_grad}
    everything = {name for name, _ in llm.named_parameters()}
    wanted = everything if moved == "all" else {name for name in everything if moved and moved in name}
    assert names == wanted
    assert (len(wanted) > 0) == bool(moved)
    assert train in llm.describe()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"config": None},
            r"model.llm.model is not set, .*: give the folder of a language model .* or its hub name",
        ),
        ({"model": "x", "config": CONFIGS["llama"]}, "give either model .here 'x'., or config .*, not both"),
        ({"tokenizer": ""}, "model.llm.tokenizer is not set"),
        ({"train": "half"}, "HuggingFaceLLM.train='half': give one of full, lora, frozen"),
        ({"lora": {"r": 4}}, "model.llm.lora is of no use with train='full'"),
        ({"config": {"model_type": "lama"}}, "no causal model of model_type='lama' can be made"),
        ({"context": 10**9}, "model.llm.context=1000000000: .* was made for 2048 positions"),
        ({"config": None, "tokenizer": "", "model": "./nothing"}, "model.llm.model='./nothing': .*does not exist"),
        ({"context": "big"}, "HuggingFaceLLM.context='big': give a whole number"),
        ({"context": -5}, "HuggingFaceLLM.context=-5: give a whole number"),
        ({"context": 0}, "HuggingFaceLLM.context=0: give a whole number"),
        ({"config": "llama"}, "HuggingFaceLLM.config='llama': give a dict"),
        (
            {"config": {**CONFIGS["llama"], "num_hidden_layer": 3}},
            r"config.num_hidden_layer is no setting of llama \(did you mean",
        ),
        ({"config": {**CONFIGS["llama"], "vocab_size": 100}}, "'scenes-chat' writes 1024 token ids, of which .* knows 100"),
        ({"train": "lora", "lora": {"rank": 4}}, "model.llm.lora.rank is no setting of peft's LoraConfig.*its rank is r"),
        ({"train": "lora", "lora": {"target_modules": ["nothing"]}}, "model.llm.lora=.*nothing.*: no adapters can be made"),
        (
            {"config": {"model_type": "lfm2", **SIZES, "layer_types": ["conv", "full_attention"]}},
            "mixes questions .* layers of conv",
        ),
        (
            {"config": {"model_type": "mpt", "d_model": 32, "n_heads": 2, "n_layers": 2}},
            "a mpt config mixes questions that share a s",
        ),
        (
            {"config": {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 2}},
            "cannot read questions that share a seq",
        ),
        ({"config": IMAGE_TEXT}, "no text model but a gemma3, which reads images by itself; give a text model"),
        ({"config": {**IMAGE_TEXT, "model_type": "mistral3"}}, "no text model but a mistral3"),
    ],
)
def test_what_the_llm_refuses(options, said):
    with pytest.raises(ValueError, match=said):
        MODELS.build({"type": "HuggingFaceLLM", "config": CONFIGS["llama"], "tokenizer": "scenes-chat", **options})


@pytest.mark.parametrize("kind", ["mistral", "gemma3"])
def test_a_window_counts_places_of_the_dialogue(kind):
    """With a window, the second segment reads the prefix's end as it would alone, though the first lies between."""
    llm, dialogues = hugging_face(kind).eval(), random_dialogues([(3, [(6, 0), (2, 0)])], vocab=200)
    single = alone(dialogues, 0, 2)
    found = llm(llm.embed(dialogues.tokens), dialogues)[-2:]
    torch.testing.assert_close(found, llm(llm.embed(single.tokens), single)[-2:])


def test_logits_of_a_kind_of_its_own_are_refused():
    from finevit_plugins.llms.probe import check_segments

    llm = hugging_face()
    llm.model.config.logits_scaling = 2.0  # which a Llama does not know of
    with pytest.raises(ValueError, match="x computes its logits in a way of its own"):
        check_segments(llm, llm.model, "x")


def test_the_probe_leaves_random_numbers_and_mode_alone():
    from finevit_plugins.llms.probe import check_segments

    llm = hugging_face()
    llm.model.train()
    state = torch.get_rng_state()
    check_segments(llm, llm.model, "x")
    assert llm.model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_a_models_own_habits_do_not_change_greedy_answers(tmp_path):
    from finevit.hub.tokenizers import load_backend

    first = hugging_face().eval()
    prompt = first.embed(torch.arange(5, 10)).detach()
    greedy = first.generate([prompt], max_new_tokens=6, stop=4)
    first.model.generation_config.update(suppress_tokens=[greedy[0][0]], repetition_penalty=5.0, num_beams=3)
    first.model.save_pretrained(tmp_path)
    load_backend("scenes-chat").save_pretrained(tmp_path)
    second = MODELS.build({"type": "HuggingFaceLLM", "model": str(tmp_path)}).eval()
    assert second.generate([prompt], max_new_tokens=6, stop=4) == greedy


@pytest.mark.parametrize("setting", ["depth", "dim", "heads", "mlp_dim", "context"])
def test_what_the_plain_llm_refuses(setting):
    with pytest.raises(ValueError, match=f"PlainLLM.{setting}=0: give a whole number, at least 1"):
        plain(**{setting: 0})


# --- connector -----------------------------------------------------------------------------------------------------------


def test_neighbours_are_merged_in_raster_order():
    tokens = torch.arange(8.0)[:, None]  # 2 x 4 patches
    assert merge_neighbours(tokens, [(2, 4)]).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert merge_neighbours(torch.cat((tokens, tokens + 10)), [(2, 4), (4, 2)])[2:].tolist() == [[10, 11, 12, 13], [14, 15, 16, 17]]
    assert cell_centres([(2, 4)], tokens.device).tolist() == [[0.25, 0.5], [0.75, 0.5]]
    with pytest.raises(ValueError, match="a grid of 3 x 2 patches cannot be merged 2 x 2"):
        merge_neighbours(torch.zeros(6, 1), [(3, 2)])


@pytest.mark.parametrize("frequencies", [0, 3])
def test_connector(frequencies):
    connector = MODELS.build({"type": "MergeConnector", "dim": 8, "llm_dim": 6, "frequencies": frequencies}).double()
    fill(connector)
    images = random_pack([(2, 4), (4, 4)])
    tokens = torch.randn(24, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = connector(tokens, images)
    assert found.shape == (6, 6)
    assert connector.visual(images) == [2, 4]
    torch.testing.assert_close(found[2:], connector(tokens[8:], random_pack([(4, 4)])))
    same = connector(tokens[:1].expand(24, 8), images)[2:]
    assert (same.std(0).max() > 1e-2) == (frequencies > 0)  # alike patches differ by their places alone
    with pytest.raises(ValueError, match="patches are left, where whole images are needed"):
        connector(tokens, images._replace(seqlens=(7, 16)))


@pytest.mark.parametrize(("setting", "value"), [("frequencies", 17), ("frequencies", -1), ("mlp_dim", 0), ("mlp_dim", -4)])
def test_what_the_connector_refuses(setting, value):
    with pytest.raises(ValueError, match=f"MergeConnector.{setting}={value}: give a whole number"):
        MODELS.build({"type": "MergeConnector", "dim": 8, "llm_dim": 6, setting: value})


def test_numbers_of_the_stage_are_checked_before_it_is_built():
    llm = {"llm.type": "PlainLLM", "llm.context": 0, "llm.depth": -1, "llm.dim": 0.5, "llm.heads": 0}
    model = {**llm, "connector.mlp_dim": 0, "connector.frequencies": 17, "answer_length": 0}
    with pytest.raises(ConfigError) as caught:
        check_config(load_config(STAGE_3, {f"model.{name}": value for name, value in model.items()}))
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 7
    assert "  model.llm.dim=0.5: give a whole number, at least 1" in lines
    check_config(load_config(STAGE_3, {"model.connector.mlp_dim": None, "model.connector.frequencies": 16}))


# --- the stage -----------------------------------------------------------------------------------------------------------


def stage(llm: dict | None = None, **options: object):
    torch.manual_seed(0)
    return MODELS.build(
        {
            "type": "LLMAlignment",
            "backbone": {"type": "FineViT", "arch": {"depth": 1, "dim": 16, "heads": 2, "mlp_dim": 24}},
            "connector": {"type": "MergeConnector", "mlp_dim": 16},
            "llm": llm or {"type": "PlainLLM", "depth": 1, "dim": 16, "heads": 2, "context": 64},
            **options,
        }
    )


def with_images(dialogues: PackedDialogues, visual: tuple[int, ...]) -> PackedDialogues:
    """The prefix's first places are those of visual tokens."""
    tokens = dialogues.tokens.clone()
    for begin, count in zip(dialogues.cu_seqlens.tolist(), visual, strict=False):
        tokens[begin : begin + count] = -1
    return dialogues._replace(tokens=tokens, visual=visual)


@pytest.mark.parametrize("llm", [None, {"type": "HuggingFaceLLM", "config": CONFIGS["qwen3"], "tokenizer": "scenes-chat"}])
def test_stage_trains_all_of_its_parts(llm):
    model = stage(llm)
    images = random_pack([(2, 4), (4, 4)])._replace()
    images = images._replace(pixels=images.pixels.float())
    dialogues = with_images(random_dialogues([(4, [(2, 3)]), (6, [(1, 3), (2, 2)])], vocab=200), (2, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        found = model(images, dialogues, mode="loss")
        found["loss_language"].backward()
        optimizer.step()
        losses.append(found["loss_language"].item())
    assert losses[-1] < 0.9 * losses[0]
    for part in ("backbone", "connector", "llm"):
        assert all(p.grad is not None for name, p in model.get_submodule(part).named_parameters()), part
    said = model(images, dialogues, mode="predict", id=["a", "b"])
    assert [(sample["id"], len(sample["predictions"])) for sample in said] == [("a", 1), ("b", 2)]


def test_visual_tokens_stand_in_their_places():
    model = stage().eval()
    images = random_pack([(2, 4), (4, 4)])
    images = images._replace(pixels=images.pixels.float())
    dialogues = with_images(random_dialogues([(4, [(2, 3)]), (6, [(1, 3)])], vocab=200), (2, 4))
    found = model.embed(images, dialogues)
    visual = model.connector(model.backbone(images).tokens, images)
    torch.testing.assert_close(found[:2], visual[:2])
    torch.testing.assert_close(found[9:13], visual[2:])
    torch.testing.assert_close(found[2:9], model.llm.embed(dialogues.tokens[2:9]))


@pytest.mark.parametrize("visual", [(1, 4), (3, 4), (0, 0), (2, 5)])
def test_places_that_do_not_match_are_refused(visual):
    images = random_pack([(2, 4), (4, 4)])
    dialogues = with_images(random_dialogues([(4, [(2, 3)]), (6, [(1, 3)])], vocab=200), visual)
    with pytest.raises(ValueError, match=r"image \d of the batch: \d places for \d visual tokens"):
        stage()(images._replace(pixels=images.pixels.float()), dialogues, mode="loss")


@pytest.mark.parametrize("frozen", ["backbone", "connector", "llm"])
def test_a_frozen_part_stays_as_it_is(frozen):
    model = stage(**{f"{frozen}_frozen": True})
    images = random_pack([(2, 4)])
    images = images._replace(pixels=images.pixels.float())
    dialogues = with_images(random_dialogues([(4, [(2, 3)])], vocab=200), (2,))
    for thawed in (False, True):
        setattr(model, f"{frozen}_frozen", not thawed)
        model.zero_grad()
        model(images, dialogues, mode="loss")["loss_language"].backward()
        for part in ("backbone", "connector", "llm"):
            has = any(p.grad is not None for p in model.get_submodule(part).parameters())
            assert has == (thawed or part != frozen)


def test_lora_stays_lora_when_the_llm_thaws():
    model = stage(
        {"type": "HuggingFaceLLM", "config": CONFIGS["llama"], "tokenizer": "scenes-chat", "train": "lora"}, llm_frozen=True
    )
    model.freeze()
    assert not any(p.requires_grad for p in model.llm.parameters())
    model.llm_frozen = False
    model.freeze()
    assert {name for name, p in model.llm.named_parameters() if p.requires_grad} == {
        name for name, _ in model.llm.named_parameters() if "lora" in name
    }


def test_another_part_than_an_llm_is_refused():
    with pytest.raises(ValueError, match=r"model.llm.type='TextTransformer' is no alignment LLM"):
        stage({"type": "TextTransformer", "depth": 1, "dim": 16, "heads": 2})


def test_batches_without_dialogues_are_refused():
    with pytest.raises(ValueError, match="the batches have no dialogues; use the transforms AskQuestions"):
        stage()(random_pack([(2, 2)]), mode="loss")


# --- chat ----------------------------------------------------------------------------------------------------------------


def saved_tokenizer(folder: Path, **changes: object) -> str:
    from finevit.hub.tokenizers import load_backend

    load_backend("scenes-chat").save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **changes}))
    return str(folder)


QWEN = (
    "{%- for m in messages %}{{- '<|' + m.role + '|>' + m.content + '<|end|>' + '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
    "{%- if add_generation_prompt and enable_thinking is false %}{{- '(no thoughts)' }}{%- endif %}"
)


def test_chat_of_the_scenes():
    from finevit.hub.chat_templates import load_chat

    chat = load_chat("scenes-chat")
    assert (chat.before, chat.between, chat.closing) == ([2], [4, 3], 4)
    assert chat.decode(chat.encode("[12, 345, 678, 90] STEEL “é” <|end|>")) == "[12, 345, 678, 90] STEEL “é” <|end|>"
    assert not {0, 1, 2, 3, 4} & set(chat.encode("<|end|><|user|><pad>"))
    assert len(chat.encode("123456")) == 6


def test_chat_by_template(tmp_path):
    from finevit.hub.chat_templates import load_chat

    chat = load_chat(saved_tokenizer(tmp_path / "thinking", chat_template=QWEN))
    assert chat.before == [2]
    assert chat.between == [4, *chat.encode("\n"), 3, *chat.encode("(no thoughts)")]
    assert chat.closing == 4


def test_chat_without_a_template(tmp_path):
    from finevit.hub.chat_templates import load_chat

    chat = load_chat(saved_tokenizer(tmp_path / "none"))
    assert (chat.before, chat.between, chat.closing) == ([], chat.encode("\n"), 4)


def test_a_space_before_the_closing_token_closes_nothing(tmp_path):
    """Llama 2's template writes a space between the answer and its end."""
    from finevit.hub.chat_templates import load_chat

    template = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + AFTER }}{% endfor %}"
    spaced = load_chat(saved_tokenizer(tmp_path / "spaced", chat_template=template.replace("AFTER", "' <|end|>'")))
    assert spaced.closing == 4
    without = load_chat(saved_tokenizer(tmp_path / "without", chat_template=template.replace("AFTER", "' '")))
    assert without.closing == 4
    with pytest.raises(ValueError, match="nothing ends an answer"):
        load_chat(saved_tokenizer(tmp_path / "never", chat_template=template.replace("AFTER", "' '"), eos_token=None))


def test_special_tokens_that_no_dialogue_has_need_no_embedding(tmp_path):
    """Gemma 3's tokenizer has one id more, for images, than its small model embeds."""
    from finevit.hub.chat_templates import load_chat
    from finevit.hub.tokenizers import load_backend

    backend = load_backend("scenes-chat")
    backend.add_special_tokens({"additional_special_tokens": ["<an image>"]})
    backend.save_pretrained(tmp_path)
    assert len(backend) == 1025
    assert load_chat(str(tmp_path)).size == 1024


@pytest.mark.parametrize("template", ["{{ raise_exception('no users here') }}", "{{ messages[0].content | upper }}", "{% if %}"])
def test_a_template_that_cannot_be_taken_apart(tmp_path, template):
    from finevit.hub.chat_templates import load_chat

    with pytest.raises(ValueError, match="its chat template cannot render a question and an answer"):
        load_chat(saved_tokenizer(tmp_path / "bad", chat_template=template))


def test_labels_are_the_answers_alone():
    dialogues = random_dialogues(PARTS, vocab=9)
    assert (dialogues.labels != IGNORE_INDEX).sum() == 11


@pytest.mark.parametrize("config", ["finevit_l_stage3", "finevit_tiny_stage3"])
def test_the_llms_of_the_configs_can_be_built(config):
    from mmengine.config import Config

    llm = MODELS.build(Config.fromfile(f"configs/{config}.py").model.llm)
    assert llm.context >= 1024
    assert llm.tokenizer == "scenes-chat"
