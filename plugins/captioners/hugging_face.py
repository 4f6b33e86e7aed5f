"""Captions by any vision-language model of Hugging Face, in this process."""

import io
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Any, Literal, NamedTuple

from PIL import Image
from pydantic import PositiveInt

from finevit.contracts import BadSample
from finevit.hub.locate import find_model, first_line
from finevit.recaption.contracts import OK, Answer, Captioner, CaptionRequest
from finevit.recaption.wording import LANGUAGES, fault


class Loaded(NamedTuple):
    """A model with its processor, and how it is to generate."""

    model: Any
    processor: Any
    greedy: Any


class HFCaptioner(Captioner):
    """``model``: a hub name or a folder of what ``AutoModelForImageTextToText`` loads, with a processor that has a chat template.

    Answers are greedy, ``batch_size`` of them at once; images have at most ``max_pixels``. The weights are loaded at the first
    request, onto ``device`` (empty: a GPU if there is one).
    """

    def __init__(
        self,
        *,
        model: str,
        revision: str = "",
        max_tokens: PositiveInt = 512,
        max_pixels: PositiveInt = 1_048_576,
        batch_size: PositiveInt = 8,
        language: Literal[("", *LANGUAGES)] = "",  # type: ignore[valid-type]
        dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto",
        device: str = "",
    ) -> None:
        self.name, self.place, self.revision = model, find_model(model), revision or None
        self.model = f"{model}@{revision}" if revision else model
        self.max_tokens, self.max_pixels, self.batch_size = max_tokens, max_pixels, batch_size
        self.language, self.dtype, self.device = language, dtype, device

    def settings(self) -> Mapping[str, Any]:
        """See ``Engine``."""
        made = {"max_tokens": self.max_tokens, "max_pixels": self.max_pixels, "dtype": self.dtype}
        return made | ({"language": self.language} if self.language else {})

    def answer(self, request: CaptionRequest) -> Answer:
        """See ``Engine``."""
        return next(answer for _, answer in self.answers([request]))

    def answers(self, requests: Iterable[CaptionRequest]) -> Iterator[tuple[CaptionRequest, Answer]]:
        """See ``Engine``."""
        taken = iter(requests)
        while batch := list(islice(taken, self.batch_size)):
            readable: list[tuple[CaptionRequest, list[Image.Image]]] = []
            for request in batch:
                try:
                    readable.append((request, [self._image(picture) for picture in request.pictures]))
                except BadSample as error:
                    yield request, Answer("unreadable", detail=str(error), attempts=0)
            answers = self._answered(readable) if readable else []
            yield from zip([request for request, _ in readable], answers, strict=True)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_loaded"}

    @cached_property
    def _loaded(self) -> Loaded:
        return load(self.name, self.place, self.revision, dtype=self.dtype, device=self.device)

    def _image(self, picture: Any) -> Image.Image:
        return Image.open(io.BytesIO(picture.encoded(max_pixels=self.max_pixels)[0])).convert("RGB")

    def _answered(self, batch: list[tuple[CaptionRequest, list[Image.Image]]]) -> list[Answer]:
        """Of requests whose images are decoded."""
        import torch

        started = time.monotonic()
        model, processor, greedy = self._loaded
        said = [[{"role": "user", "content": _content(request)}] for request, _ in batch]
        texts = [processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) for messages in said]
        images = [images for _, images in batch]
        inputs = processor(images=images, text=texts, padding=True, padding_side="left", return_tensors="pt").to(model.device)
        inputs = {name: value.to(model.dtype) if value.is_floating_point() else value for name, value in inputs.items()}
        with torch.inference_mode():
            rows = model.generate(**inputs, generation_config=greedy, max_new_tokens=self.max_tokens)
        written = rows[:, inputs["input_ids"].shape[1] :].tolist()
        asked, seconds = inputs["attention_mask"].sum(1).tolist(), (time.monotonic() - started) / len(batch)
        return [self._read(ids, prompt, round(seconds, 3)) for ids, prompt in zip(written, asked, strict=True)]

    def _read(self, ids: list[int], prompt: int, seconds: float) -> Answer:
        """The answer that token ids are, which end at the first closing one."""
        _, processor, greedy = self._loaded
        ends = [place for place, each in enumerate(ids) if each in greedy.eos_token_id]
        kept = ids[: ends[0]] if ends else ids
        text = processor.tokenizer.decode(kept, skip_special_tokens=True).strip()
        reason = "stop" if ends else "length"
        status, detail = fault(text, finish_reason=reason, language=self.language)
        value = None if status else text
        return Answer(status or OK, value, detail, reason, prompt, len(kept) + bool(ends), seconds=seconds)


def _content(request: CaptionRequest) -> list[dict[str, str]]:
    """The whole image, the prompt, the part, and what is said of the part."""
    texts = [[{"type": "text", "text": text}] if text.strip() else [] for text in (request.prompt, request.suffix)]
    parts = [{"type": "image"} for _ in request.pictures[1:]]
    return [{"type": "image"}, *texts[0], *parts, *texts[1]]


def load(name: str, place: str, revision: str | None, *, dtype: str, device: str) -> Loaded:
    """The model, ready to answer; ``ValueError`` with a remedy where it cannot be had, or answers no questions about images."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    source: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    try:
        processor = AutoProcessor.from_pretrained(place, **source)
        model: Any = AutoModelForImageTextToText.from_pretrained(place, dtype=dtype, **source)
    except Exception as error:  # damaged files raise nearly anything
        remedy = (
            "give a model for AutoModelForImageTextToText with its processor; check the spelling, the connection and its rights"
        )
        raise ValueError(f"model={name!r}: could not be loaded ({first_line(error)}); {remedy}") from error
    if not getattr(processor, "chat_template", None):
        raise ValueError(f"model={name!r}: its processor has no chat template; give an instruction-tuned model")
    own, tokenizer = model.generation_config, processor.tokenizer
    ends = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    ends = [each for each in (ends if isinstance(ends, list) else [ends]) if each is not None]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends or [0])[0]
    model.generation_config = GenerationConfig()  # of its own habits, such as sampling, greedy wants none
    place_of = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Loaded(model.to(place_of).eval(), processor, GenerationConfig(do_sample=False, eos_token_id=ends, pad_token_id=pad))
