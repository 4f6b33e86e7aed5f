"""Noun phrases by a pipeline of spaCy, of any language that has noun chunks."""

from collections.abc import Mapping
from typing import Any

from finevit.recaption.contracts import OK, Answer, PhraseExtractor, PhraseRequest


class SpacyExtractor(PhraseExtractor):
    """The noun chunks of ``pipeline``, without those that are a pronoun alone. A missing pipeline is refused with the remedy."""

    def __init__(self, *, pipeline: str = "en_core_web_sm") -> None:
        self.nlp = load(pipeline)
        meta = self.nlp.meta
        self.model = f"{meta['lang']}_{meta['name']}@{meta['version']}"

    def settings(self) -> Mapping[str, Any]:
        """See ``Engine``."""
        return {}

    def answer(self, request: PhraseRequest) -> Answer:
        """See ``Engine``."""
        return Answer(OK, [list(span) for span in spans(self.nlp(request.text))], attempts=0)


def load(pipeline: str) -> Any:
    """The pipeline of a package or folder; ``ValueError`` where spaCy or the pipeline is not there, or it finds no noun chunks."""
    try:
        import spacy
    except ImportError as error:
        raise ValueError("SpacyExtractor needs spaCy; `pip install 'finevit[spacy]'`, or set the type RuleExtractor") from error
    try:
        nlp = spacy.load(pipeline, exclude=["ner", "textcat"])
    except (OSError, ImportError) as error:
        raise ValueError(
            f"pipeline={pipeline!r}: no such package or folder; `python -m spacy download {pipeline}` brings spaCy's own (they are "
            "on no package index), give the folder of a downloaded one, or set the type RuleExtractor, which needs none"
        ) from error
    if nlp.vocab.get_noun_chunks is None or not nlp.has_pipe("parser"):
        raise ValueError(f"pipeline={pipeline!r}: it has no parser, or its language no noun chunks; give one that has both")
    return nlp


def spans(doc: Any) -> list[tuple[int, int]]:
    """Begin and end in characters of a parsed text's noun chunks; pronouns alone are left out."""
    chunks = [chunk for chunk in doc.noun_chunks if any(token.pos_ not in ("PRON", "DET", "PUNCT") for token in chunk)]
    return sorted((chunk.start_char, chunk.end_char) for chunk in chunks)
