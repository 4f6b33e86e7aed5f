"""A language model's tokenizer and chat template, taken apart at the places of image, question and answer (paper, Stage III)."""

import functools
from collections.abc import Sequence
from typing import Any

from finevit.hub.spelling import Spelling
from finevit.hub.tokenizers import load_backend

_IMAGE, _QUESTION, _ANSWER = "@picture@", "@question@", "@answer@"
"""Stand in a rendered template for what will be there."""
PLACEHOLDER = "<image>"
"""What LLaVA's conversations write where the image goes."""


class Chat:
    """Token ids of a dialogue about one image: ``before``, the image, a question, ``between``, the answer, ``closing``.

    ``size`` is how many token ids a model must know to read and write them: special tokens that no dialogue has do not count.
    The template is the tokenizer's own; without one, a question ends with a line break and an answer with the end-of-text token.
    """

    def __init__(self, name: str, backend: Any) -> None:
        self.name, self._backend, self._spelling = name, backend, Spelling(backend)
        if backend.chat_template:
            before, between, after = _template(name, backend)
        else:
            before, between, after = backend.bos_token or "", "\n", backend.eos_token or ""
        self.before, self.between, closing = (self._markers(text) for text in (before, between, after))
        self.closing = self._closing(closing)
        used = set(backend.get_vocab().values()) - self._special() | {*self.before, *self.between, self.closing}
        self.size = max(used) + 1

    def encode(self, text: str) -> list[int]:
        """Ids of what a person or a caption says; what looks like a special token in it is plain text."""
        return self._spelling.plain(text.encode(errors="replace").decode())

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer."""
        return self._backend.decode(list(ids), skip_special_tokens=True).strip()

    def _closing(self, after: Sequence[int]) -> int:
        """The first special token of what follows an answer (a template may write a space before), else the end of a text."""
        closing = next((each for each in after if each in self._special()), self._backend.eos_token_id)
        if closing is None or not self.between:
            raise ValueError(f"tokenizer={self.name!r}: nothing ends an answer; give one with a chat template or an eos_token")
        return closing

    def _special(self) -> set[int]:
        added = self._backend.added_tokens_decoder.items()
        return {*self._backend.all_special_ids, *(each for each, token in added if token.special)}

    def _markers(self, written: str) -> list[int]:
        """Ids of what the template writes, special tokens and all."""
        return list(self._backend(written, add_special_tokens=False, split_special_tokens=False, verbose=False)["input_ids"])


@functools.cache
def load_chat(name: str) -> Chat:
    """The chat of a tokenizer by hub name, folder or short name; ``ValueError`` with a remedy where there is none."""
    return Chat(name, load_backend(name))


def _template(name: str, backend: Any) -> tuple[str, str, str]:
    """What the template writes before the image, between question and answer, and after the answer."""
    asked = [{"role": "user", "content": _IMAGE + _QUESTION}]
    options = {"tokenize": False, "enable_thinking": False}
    try:
        prompt = backend.apply_chat_template(asked, add_generation_prompt=True, **options)
        told = backend.apply_chat_template([*asked, {"role": "assistant", "content": _ANSWER}], **options)
        before, between = prompt.split(_IMAGE + _QUESTION)
        after = told.split(_ANSWER)[1]
    except Exception as error:  # templates are programs: they raise what they like, or write something else
        raise ValueError(f"tokenizer={name!r}: its chat template cannot render a question and an answer ({error})") from error
    return before, between, after
