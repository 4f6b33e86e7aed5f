"""Phrases by rules, on sentences as captions have them, each with the phrases that a reader would mark."""

import pytest
from finevit_plugins.phrase_extractors.rules import RuleExtractor, classes, spans

from finevit.recaption.contracts import PhraseRequest
from finevit.testing import check_phrase_extractor

SENTENCES = {
    "A man in a red hat stands in front of a small wooden house.": "A man|a red hat|a small wooden house",
    "Two children are playing with a yellow ball on the grass.": "Two children|a yellow ball|the grass",
    "The image shows a busy city street with parked cars.": "a busy city street|parked cars",
    "A container number is printed on the container.": "A container number|the container",
    "The word “STOP” is painted on the road.": "The word “STOP”|the road",
    "A group of three people walk along a sandy beach.": "A group of three people|a sandy beach",
    "The dog's bowl is next to the woman's blue shoes.": "The dog's bowl|the woman's blue shoes",
    "Apples, oranges and bananas lie in a glass bowl.": "Apples|oranges|bananas|a glass bowl",
    "A black and white cow is grazing in the meadow.": "A black and white cow|the meadow",
    "She is wearing a long dress, a straw hat and sunglasses.": "a long dress|a straw hat|sunglasses",
    "In the background, snow-capped mountains rise above a dark forest.": "snow-capped mountains|a dark forest",
    "To the left of the door, a white bicycle leans against the brick wall.": "the door|a white bicycle|the brick wall",
    "There are several boats on the calm water.": "several boats|the calm water",
    "A young woman holding an umbrella crosses the street.": "A young woman|an umbrella|the street",
    "A red, white and blue flag hangs from the balcony.": "A red, white and blue flag|the balcony",
    "The sky is blue and the sea looks calm.": "The sky|the sea",
    "A sign that reads “Fresh Fish” hangs above the shop window.": "A sign|“Fresh Fish”|the shop window",
    "A pair of old leather boots stands beside the fireplace.": "A pair of old leather boots|the fireplace",
    "The kitchen has a stainless steel refrigerator and a gas stove.": "The kitchen|a stainless steel refrigerator|a gas stove",
    "A smiling girl with curly hair is sitting on a park bench.": "A smiling girl|curly hair|a park bench",
    "The bus with the number 42 stops at a crowded station.": "The bus|the number 42|a crowded station",
    "A brown horse and its rider jump over a low fence.": "A brown horse|its rider|a low fence",
    "This photo was taken at night; street lamps light the wet pavement.": "night|street lamps|the wet pavement",
    "On the right side, a man wearing a suit talks to a police officer.": "a man|a suit|a police officer",
    "A plate of spaghetti with tomato sauce is on the wooden table.": "A plate|spaghetti|tomato sauce|the wooden table",
    "Brightly colored umbrellas cover the beach.": "Brightly colored umbrellas|the beach",
    "An elderly couple sits under a large tree with yellow leaves.": "An elderly couple|a large tree|yellow leaves",
    "The cat has green eyes and a fluffy tail.": "The cat|green eyes|a fluffy tail",
    "A surfer rides a huge wave while spectators watch from the pier.": "A surfer|a huge wave|spectators|the pier",
    "It is a small bedroom with a desk, a lamp and two shelves full of books.": "a small bedroom|a desk|a lamp|two shelves|books",
    "The building's facade is decorated with ornate stone carvings.": "The building's facade|ornate stone carvings",
    "A steam train crosses a stone bridge over the river.": "A steam train|a stone bridge|the river",
    "Rows of empty chairs face a small stage with a microphone.": "Rows of empty chairs|a small stage|a microphone",
    "A white plastic bag floats in the swimming pool.": "A white plastic bag|the swimming pool",
    "The boy kicks a football toward the goal.": "The boy|a football|the goal",
    "Clothes hang on a line between two buildings.": "Clothes|a line|two buildings",
    "A half-eaten sandwich lies on a paper napkin.": "A half-eaten sandwich|a paper napkin",
    "The chef cuts vegetables with a sharp knife on a cutting board.": "The chef|vegetables|a sharp knife|a cutting board",
    "A lighthouse with red and white stripes stands on a rocky cliff.": "A lighthouse|red and white stripes|a rocky cliff",
    "Three sheep and a black dog are on the hill behind the farm house.": "Three sheep|a black dog|the hill|the farm house",
}


def found(text: str) -> list[str]:
    return [text[start:end] for start, end in spans(text)]


def test_recall_and_precision_on_forty_sentences():
    told = [(set(found(text)), set(phrases.split("|"))) for text, phrases in SENTENCES.items()]
    right = sum(len(got & wanted) for got, wanted in told)
    recall, precision = right / sum(len(wanted) for _, wanted in told), right / sum(len(got) for got, _ in told)
    wrong = [(sorted(wanted - got), sorted(got - wanted)) for got, wanted in told if got != wanted]
    assert len(SENTENCES) == 40
    assert recall >= 0.98, (recall, wrong)
    assert precision >= 0.98, (precision, wrong)


def test_the_engine_keeps_the_contract():
    check_phrase_extractor(RuleExtractor())
    assert RuleExtractor().answer(PhraseRequest("")).value == []


@pytest.mark.parametrize("word", ["image", "background", "left", "atmosphere", "photo", "foreground"])
def test_what_is_left_out_stands_in_a_list(word):
    assert found(f"The {word} is beside a cat.") == ["a cat"]
    assert any(word in classes()[name] for name in ("picture", "place", "abstract"))


def test_what_is_said_to_be_absent_is_no_phrase():
    assert found("There are no cars on the road.") == ["the road"]


def test_a_picture_on_a_wall_is_one():
    assert found("A framed picture hangs on the wall.") == ["A framed picture", "the wall"]


def test_spans_tell_a_word_from_the_same_word_within_another_phrase():
    text = "The container has a container number. A container number is white."
    assert [text[start:end] for start, end in spans(text)] == ["The container", "a container number", "A container number"]
    assert spans(text) == [(0, 13), (18, 36), (38, 56)]


def test_any_text_is_taken():
    for text in ("“", "…", "的 猫", "a" * 5000, "the the the", "' ’ ' s's", "\ud800 dog", "12 / 3", "of of of and and", '"' * 99):
        for start, end in spans(text):
            assert 0 <= start < end <= len(text)
