"""Text is text: token ids of what people wrote, although it looks like a tokenizer's markers (``<|endoftext|>``, ``[SEP]``)."""

from collections.abc import Iterator, Sequence
from typing import Any


class Spelling:
    """Spells texts with a Hugging Face tokenizer: no text of people ever becomes one of its markers.

    Markers are its special tokens, added ones of the form ``<|name|>`` and those that its chat template writes (``<think>``). Other
    added tokens are words.
    """

    def __init__(self, backend: Any) -> None:
        self._backend, self._unknown = backend, backend.unk_token_id
        written = str(backend.chat_template or "")
        added = {id: token for id, token in backend.added_tokens_decoder.items() if _marks(token, written)}
        others = {backend.bos_token_id, backend.eos_token_id, backend.pad_token_id, backend.sep_token_id, backend.cls_token_id}
        self._markers = frozenset({*backend.all_special_ids, *added} - ({self._unknown} - others))

    def encode(self, texts: Sequence[str], limit: int) -> tuple[list[list[int]], list[bool]]:
        """Ids of every text inside the special tokens that the tokenizer adds, at most ``limit``; and whether it lost an end."""
        found = self._backend(list(texts), split_special_tokens=True, return_special_tokens_mask=True, verbose=False)
        rows = [self._row(*each, limit) for each in zip(texts, found["input_ids"], found["special_tokens_mask"], strict=True)]
        return [ids for ids, _ in rows], [cut for _, cut in rows]

    def plain(self, text: str) -> list[int]:
        """Ids of a text alone."""
        ids = self._backend(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        return self._checked(text, list(ids))

    def _row(self, text: str, ids: Sequence[int], added: Sequence[int], limit: int) -> tuple[list[int], bool]:
        places = [place for place, each in enumerate(added) if not each]
        if not places:
            return list(ids), False
        first, last = places[0], places[-1] + 1
        own = self._checked(text, list(ids[first:last]))
        room = max(0, limit - first - (len(ids) - last))
        kept = own[max(0, len(own) - room) :] if self._backend.truncation_side == "left" else own[:room]
        return [*ids[:first], *kept, *ids[last:]][:limit], len(own) > room

    def _checked(self, text: str, ids: list[int]) -> list[int]:
        """The ids, or where a marker is among them, those of the text by the tokenizer's model alone, which knows none."""
        if self._markers.isdisjoint(ids):
            return ids
        core = getattr(self._backend, "backend_tokenizer", None)
        if core is None:  # a tokenizer in Python
            return [each for each in ids if each not in self._markers]
        text = text if core.normalizer is None else core.normalizer.normalize_str(text)
        words = [text] if core.pre_tokenizer is None else [word for word, _ in core.pre_tokenizer.pre_tokenize_str(text)]
        return [each for word in words for each in self._spelt(core.model, word)]

    def _spelt(self, model: Any, word: str) -> Iterator[int]:
        """Ids of a word; a marker that the vocabulary holds as a word is taken apart."""
        for token in model.tokenize(word):
            if token.id not in self._markers:
                yield token.id
            elif token.id != self._unknown and len(token.value) > 1:
                yield from self._spelt(model, token.value[:1])
                yield from self._spelt(model, token.value[1:])


def _marks(token: Any, written: str) -> bool:
    """Whether an added token is a marker, as Transformers defines it for chats."""
    name = token.content
    form = name.startswith("<|") and name.endswith("|>")
    return token.special or form or (name in written and not name.isspace())
