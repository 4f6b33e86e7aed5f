"""Noun phrases of the captions, with their places in the text (paper, FineCap step 3)."""

import pyarrow as pa

from finevit.recaption.contracts import OK, PhraseExtractor, PhraseRequest
from finevit.recaption.passes.base import Inputs, Output, Pass, engine_of
from finevit.registry import PASSES
from finevit.shards.schema import table

_ARTICLES = ("a ", "an ", "the ", "another ", "one ", "some ", "this ", "that ", "its ", "their ")


@PASSES.register_module()
class NounPhrases(Pass):
    """The noun phrases of each caption of the prompts named.

    Args:
        extractor: config of a phrase extractor.
        prompts: names of the prompts whose captions are read; None: all.
        given: whether captions that came with the images are read too.
    """

    name = "phrases"
    reads = ("captions",)
    uses = ("index",)
    asks = True

    def __init__(self, *, extractor: dict, prompts: list[str] | None = None, given: bool = False) -> None:
        self.extractor, self.prompts, self.given = extractor, prompts, given

    def process_shard(self, inputs: Inputs) -> Output:
        """The tables ``phrases``, and ``failed`` (captions without an answer, with their status)."""
        engine = engine_of("passes.phrases.extractor", self.extractor, PhraseExtractor)
        captions = [row for row in inputs.rows("captions", "captions") if row["status"] == OK]
        captions = [row for row in captions if self.prompts is None or row["prompt_id"] in self.prompts]
        captions += inputs.rows("index", "captions") if self.given else []
        named = {(row["sample_id"], row["captioner"], row["prompt_id"]): row["text"] for row in captions if row["text"]}
        answers = inputs.ask(engine, ((name, PhraseRequest(text)) for name, text in named.items()), total=len(named))
        rows, failed = [], []
        for name, text in named.items():
            (sample, captioner, prompt), answer = name, answers[name]
            if answer.status != OK:
                failed.append({"sample_id": sample, "captioner": captioner, "prompt_id": prompt, "status": answer.status})
            for start, end in answer.value if answer.status == OK else ():
                phrase = text[start:end]
                row = {"sample_id": sample, "captioner": captioner, "phrase": phrase, "char_start": start, "char_end": end}
                rows.append({**row, "class_id": -1, "class_name": class_name(phrase)})
        schema = pa.schema([(name, pa.string()) for name in ("sample_id", "captioner", "prompt_id", "status")])
        counts = {**inputs.statuses, "phrases": len(rows)}
        return Output({"phrases": table("phrases", rows), "failed": pa.Table.from_pylist(failed, schema=schema)}, counts)


def class_name(phrase: str) -> str:
    """The class of a phrase, by which regions are sampled: its head noun, the last word before a preposition or clause."""
    words = phrase.casefold().strip().strip(".,;:!?\"'“”()").split()
    for index, word in enumerate(words[1:], 1):
        if word in _AFTER_HEAD:
            words = words[:index]
            break
    return words[-1].strip(".,;:!?\"'“”()") if words else ""


_AFTER_HEAD = frozenset(
    [
        "of",
        "in",
        "on",
        "at",
        "with",
        "from",
        "to",
        "by",
        "for",
        "under",
        "over",
        "above",
        "below",
        "behind",
        "beside",
        "near",
        "and",
        "or",
        "that",
        "which",
        "who",
        "whose",
        "while",
        "wearing",
        "holding",
        "standing",
        "sitting",
        "lying",
        "made",
    ]
)
assert _ARTICLES
