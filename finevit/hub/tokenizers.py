"""Tokenizers of texts by name or folder; the loader's workers and the text encoders share them (paper, Stage II)."""

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finevit.hub.locate import PACKAGED, find_model, first_line
from finevit.hub.spelling import Spelling
from finevit.suggest import did_you_mean

_SCENES = Path(__file__).parents[1] / "scenes"
OWN = {"scenes": _SCENES / "tokenizer", "scenes-chat": _SCENES / "chat_tokenizer"}
"""Tokenizers that come with this package, byte-level BPE of 1,024 ids: ``scenes`` for the captions of the embedded scenes;
``scenes-chat`` for dialogues about them, with a chat template, upper and lower case, and every digit a token."""
PLAIN = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Classes that tokenizer.json describes in full; ``AutoTokenizer`` would make one for the folder's model of their words instead."""
CHARACTERS = 32
"""A text is cut after so many characters for each token that it may have, so that a huge one costs nothing."""


class Tokenizer:
    """A Hugging Face tokenizer that takes any string and never gives an empty list. What looks like a special token is text.

    ``kind`` is its class, ``least`` the smallest limit that it can keep to, ``size`` the number of ids, ``pad_id`` the id that
    fills up a batch, ``pad_left`` whether it comes first. ``lower`` has texts in lower case first.
    """

    def __init__(self, name: str, backend: Any, *, lower: bool = False) -> None:
        self.name, self.kind, self.lower, self._backend = name, type(backend).__name__, lower, backend
        candidates = (backend.pad_token_id, backend.eos_token_id, backend.unk_token_id, 0)
        self.size, self.pad_id = len(backend), next(each for each in candidates if each is not None)
        self.pad_left = backend.padding_side == "left"
        self._special, self._spelling = backend.num_special_tokens_to_add(), Spelling(backend)
        self.least = self._special + 1

    def __call__(self, texts: Sequence[str], limit: int) -> tuple[list[list[int]], list[bool]]:
        """Ids of every text with the tokenizer's special tokens, at most ``limit``; and whether it lost its end for that."""
        if limit < self.least:
            raise ValueError(f"text length {limit}: {self.name!r} adds {self._special} special tokens; allow {self.least}")
        if not texts:
            return [], []
        ids, truncated = self._spelling.encode([self._readable(text[: limit * CHARACTERS]) for text in texts], limit)
        truncated = [cut or len(text) > limit * CHARACTERS for cut, text in zip(truncated, texts, strict=True)]
        return [each or [self.pad_id] for each in ids], truncated

    def _readable(self, text: str) -> str:
        """What cannot be written in UTF-8 (lone surrogates) becomes a question mark."""
        text = text.encode(errors="replace").decode()
        return text.lower() if self.lower else text


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a hub name, a folder, a packaged model (``minilm``), or one of ``OWN``.

    Raises ``ValueError`` with a remedy for what is no name, a folder that does not exist and a name that cannot be reached.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"tokenizer={name!r}: give the name or folder of one, or choose one of {', '.join((*OWN, *PACKAGED))}")
    return _load(name)


@functools.cache
def _load(name: str) -> Tokenizer:
    return Tokenizer(name, load_backend(name), lower=_wants_lower_case(place_of(name)))


def place_of(name: str) -> str:
    """What Hugging Face's ``from_pretrained`` takes for the tokenizer ``name``."""
    return str(OWN[name]) if name in OWN else find_model(name, setting="tokenizer", file="tokenizer_config.json")


def load_backend(name: str) -> Any:
    """Hugging Face's own tokenizer of that name; ``ValueError`` with a remedy where it cannot be had."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers already run in parallel, and fork after its first use
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    place = place_of(name)
    try:
        saved = _read(place, "tokenizer_config.json").get("tokenizer_class")
        return (PreTrainedTokenizerFast if saved in PLAIN else AutoTokenizer).from_pretrained(place, trust_remote_code=False)
    except Exception as error:  # damaged files raise nearly anything
        remedy = "check the spelling and the connection, give the folder of a downloaded copy, or choose one of"
        names = (*OWN, *PACKAGED)
        problem = f"could not be loaded ({first_line(error)}){did_you_mean(name, names)}"
        raise ValueError(f"tokenizer={name!r}: {problem}; {remedy} {', '.join(names)}") from error


def _wants_lower_case(place: str) -> bool:
    """SigLIP and SigLIP2 were trained on lower case; not every one of their checkpoints names a tokenizer that sees to it."""
    return _read(place, "config.json").get("model_type", "").startswith("siglip")


def _read(place: str, name: str) -> dict[str, Any]:
    """What a JSON file of a folder or of the hub holds; nothing where there is none."""
    from transformers.utils import cached_file

    file = cached_file(place, name, _raise_exceptions_for_missing_entries=False)
    return {} if file is None else json.loads(Path(file).read_text())
