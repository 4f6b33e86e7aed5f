"""Noun chunks of spaCy, on a text that is parsed by hand: its English pipeline is on no package index."""

import pytest
from finevit_plugins.phrase_extractors.spacy import SpacyExtractor, load, spans

spacy = pytest.importorskip("spacy")

TEXT = "She holds the container of a container number."
WORDS = ["She", "holds", "the", "container", "of", "a", "container", "number", "."]
HEADS = [1, 1, 3, 1, 3, 7, 7, 4, 1]
DEPS = ["nsubj", "ROOT", "det", "dobj", "prep", "det", "compound", "pobj", "punct"]
POS = ["PRON", "VERB", "DET", "NOUN", "ADP", "DET", "NOUN", "NOUN", "PUNCT"]


def test_noun_chunks_have_their_characters_and_pronouns_are_left_out():
    from spacy.tokens import Doc

    spaces = [True] * 7 + [False, False]
    doc = Doc(spacy.blank("en").vocab, words=WORDS, spaces=spaces, heads=HEADS, deps=DEPS, pos=POS)
    assert doc.text == TEXT
    assert [TEXT[start:end] for start, end in spans(doc)] == ["the container", "a container number"]
    assert spans(doc) == [(10, 23), (27, 45)]


def test_a_pipeline_that_is_not_there_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"pipeline='en_core_web_none': no such package or folder; `python -m spacy download"):
        SpacyExtractor(pipeline="en_core_web_none")


def test_a_pipeline_without_a_parser_is_refused(tmp_path):
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match="it has no parser"):
        load(str(tmp_path / "blank"))
