"""A vision-language model of Hugging Face as captioner: a tiny LLaVA drawn for its config, with the tokenizer of the scenes."""

import io
import pickle

import pytest
import torch
from finevit_plugins.captioners.hugging_face import HFCaptioner
from PIL import Image

from finevit.hub.tokenizers import load_backend
from finevit.recaption.contracts import CaptionRequest, Picture
from finevit.testing import check_captioner

TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}{% if part.type == 'image' %}<image>{% else %}{{ part.text }}"
    "{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} answer: {% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    place, tokenizer = tmp_path_factory.mktemp("llava"), load_backend("scenes-chat")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=28, patch_size=14, projection_dim=32),
        text_config=LlamaConfig(**sizes, vocab_size=len(tokenizer), max_position_embeddings=512, num_key_value_heads=2),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
    )
    model = LlavaForConditionalGeneration(config)
    for parameter in model.parameters():  # large enough that the answer depends on the image
        parameter.data.mul_(6)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(place)
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    processor.save_pretrained(place)
    return place


def picture(colour: str, box=None) -> Picture:
    def read() -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (40, 40), colour).save(file, "PNG")
        return file.getvalue()

    return Picture(colour, read, box)


COLOURS = ("red", "blue", "green", "white", "black")


def made(folder, **settings) -> HFCaptioner:
    return HFCaptioner(model=str(folder), dtype="float32", device="cpu", **settings)


def test_batches_answer_as_single_requests_do_and_depend_on_the_image(folder, monkeypatch):
    monkeypatch.setattr("finevit_plugins.captioners.hugging_face.fault", lambda text, **_: ("", ""))
    asked = [CaptionRequest("Describe.", (picture(colour),)) for colour in COLOURS]
    asked.append(CaptionRequest("Describe the part of it.", (picture("red"), picture("red", (0, 0, 0.5, 0.5))), "It is red."))
    together = {
        request.identity[-1][0][0] + request.suffix: answer for request, answer in made(folder, max_tokens=6).answers(asked)
    }
    alone = made(folder, max_tokens=6, batch_size=1)
    for request in asked:
        got = together[request.identity[-1][0][0] + request.suffix]
        answer = alone.answer(request)
        assert (answer.value, answer.finish_reason, answer.prompt_tokens) == (got.value, got.finish_reason, got.prompt_tokens)
    assert len({answer.value for answer in together.values()}) > 1
    both = together["redIt is red."]
    assert both.prompt_tokens > together["red"].prompt_tokens + 4  # the tokens of a second image


def test_what_ends_at_max_tokens_is_truncated_and_what_ends_by_itself_is_whole(folder):
    engine = made(folder, max_tokens=3)
    answer = engine.answer(CaptionRequest("Describe.", (picture("red"),)))
    assert (answer.status, answer.value, answer.finish_reason, answer.completion_tokens) == ("truncated", None, "length", 3)
    _, processor, greedy = engine._loaded
    ids = processor.tokenizer("a red circle", add_special_tokens=False)["input_ids"]
    whole = engine._read([*ids, greedy.eos_token_id[0], *ids], 7, 0.5)
    assert whole == ("ok", "a red circle", "", "stop", 7, len(ids) + 1, 1, 0.5)
    loop = engine._read(ids * 20, 7, 0.5)
    assert (loop.status, loop.value) == ("repetition", None)


def test_the_engine_keeps_the_contract_and_travels_without_its_weights(folder, monkeypatch):
    engine = made(folder, max_tokens=4)
    monkeypatch.setattr("finevit_plugins.captioners.hugging_face.fault", lambda text, **_: ("", ""))
    monkeypatch.setattr(HFCaptioner, "_read", lambda self, ids, prompt, seconds: counted(ids, prompt))
    check_captioner(engine)
    assert "_loaded" in vars(engine)
    assert "_loaded" not in vars(pickle.loads(pickle.dumps(engine)))


def counted(ids, prompt):
    from finevit.recaption.contracts import Answer

    return Answer("ok", f"{len(ids)} tokens", "", "length", prompt, len(ids))


def test_what_is_no_vision_language_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the folder .* does not exist"):
        HFCaptioner(model=str(tmp_path / "none"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"could not be loaded \(.*give a model for AutoModelForImageTextToText"):
        HFCaptioner(model=str(tmp_path)).answer(CaptionRequest("Describe.", (picture("red"),)))
