"""What of a model's text is no caption: refusals, loops, other languages; and that real captions are none of these."""

import pytest

from finevit.recaption.wording import LANGUAGES, compression, fault, refusal, repetition, wrong_language

LONG = (
    "The photograph shows a wide city street on a rainy evening. In the foreground, a woman in a yellow raincoat holds the "
    "hand of a small boy who wears blue rubber boots. To their left, a row of parked cars reflects the orange light of the "
    "street lamps. Behind them, a tram with the number 12 on its front has just stopped, and several passengers with "
    "umbrellas are getting off. The buildings on the right side are five storeys high; their ground floors hold a bakery, a "
    "bookshop and a closed pharmacy with a green neon cross. A white dog on a red leash sniffs at a lamp post. Above the "
    "roofs the sky is dark grey, with a thin band of pale light near the horizon. Puddles cover most of the pavement and "
    "mirror the signs of the shops. In the far background, a church tower with a clock rises over the trees, and the hands "
    "of the clock point to a quarter past six."
)
LISTED = (
    "The image shows twelve shapes on a white background. A red circle is at the top left, a blue circle is at the top "
    "right, a green square is at the bottom left, a yellow square is at the bottom right, a small red triangle is in the "
    "middle, a large blue star is below the triangle, a purple hexagon is to the left of the star, an orange ring is to the "
    "right of the star, a black cross is near the upper edge, a grey arrow points to the left, a brown heart is near the "
    "lower edge, and a pink moon is beside the heart."
)


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("I’m sorry, but I can’t help with identifying people.", "i'm sorry, but i"),
        ("**Sorry, I cannot** describe this.", "sorry, i can"),
        ("I can't  assist with that request.", "i can't assist"),
        ("As an AI language model, I do not have eyes.", "as an ai"),
        ("Es tut mir leid, aber das Bild fehlt.", "es tut mir leid"),
        ("Je suis désolé, mais je ne peux pas décrire cette image.", "je suis désolé"),
        ("Lo siento, pero no puedo ayudar con eso.", "lo siento, pero"),
        ("抱歉，我无法描述这张图片。", "抱歉"),
        ("申し訳ありませんが、対応できません。", "申し訳ありません"),
        ("Извините, но я не могу помочь.", "извините, но"),
    ],
)
def test_refusals_are_known_by_their_openings(text, opening):
    assert refusal(text) == opening
    assert fault(text) == ("refused", f"it begins as refusals do: {opening!r}")


@pytest.mark.parametrize(
    "text", ["A sign says “I’m sorry, but I can’t help”.", "Sorry is written on a card.", "I see a dog.", LONG, LISTED]
)
def test_captions_are_no_refusals(text):
    assert fault(text) == ("", "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LONG + " the red car and" * 30, "a unit of 4 words 30 times in a row"),
        ("A dog " + "very " * 40, "a unit of 1 words 40 times in a row"),
        ("A wall of " + "ha" * 60, "2 characters 60 times in a row"),
        ("一只狗在草地上。" * 12, "a unit of 7 words 12 times in a row"),
        ("\n".join(f"- a red chair by the wall\n{extra}" for extra in ("one", "two", "three", "four")), "a line 4 times"),
        (
            " ".join(f"There is a red chair near the wall, and there is a lamp near chair {n}." for n in range(40)),
            "stood in it before",
        ),
    ],
)
def test_loops_are_measured(text, told):
    assert told in repetition(text)
    assert fault(text, finish_reason="length")[0] == "repetition"


@pytest.mark.parametrize(
    "text", [LONG, LISTED, "Very, very, very big.", "No. No. No.", "12 12 12 12", "A cat. A cat. A cat.", "the " * 3]
)
def test_captions_do_not_loop(text):
    assert repetition(text) == ""


def test_measures_of_a_caption_are_far_from_the_limits():
    assert compression(LONG) < 2.2
    assert compression(LISTED) < 2.6
    assert compression(LONG + " the red car and" * 100) > 3.5


def test_a_text_that_ends_at_max_tokens_is_truncated_and_an_empty_one_says_nothing():
    assert fault(LONG[:400], finish_reason="length") == ("truncated", "the answer ended at max_tokens")
    assert fault(" \n") == ("empty", "no text")


TEXTS = {
    "en": "A man with a red hat stands in front of the house and looks at the sky.",
    "de": "Ein Mann mit einem roten Hut steht vor dem Haus und sieht in den Himmel.",
    "fr": "Un homme avec un chapeau rouge est debout devant la maison et regarde le ciel.",
    "es": "Un hombre con un sombrero rojo está de pie delante de la casa y mira el cielo.",
    "it": "Un uomo con un cappello rosso è in piedi davanti alla casa e guarda il cielo.",
    "pt": "Um homem com um chapéu vermelho está em frente da casa e olha para o céu.",
    "nl": "Een man met een rode hoed staat voor het huis en kijkt naar de lucht.",
    "ru": "Мужчина в красной шляпе стоит перед домом и смотрит на небо.",
    "zh": "一个戴红帽子的男人站在房子前面，看着天空。",
    "ja": "赤い帽子をかぶった男性が家の前に立って空を見ている。",
    "ko": "빨간 모자를 쓴 남자가 집 앞에 서서 하늘을 보고 있다.",
    "ar": "رجل يرتدي قبعة حمراء يقف أمام المنزل وينظر إلى السماء.",
}


@pytest.mark.parametrize("language", TEXTS)
def test_each_language_is_told_from_the_others(language):
    assert language in LANGUAGES
    assert fault(TEXTS[language], language=language) == ("", "")
    for other, text in TEXTS.items():
        if other != language and (language, other) not in {("ja", "zh")}:  # Chinese has no letter that Japanese lacks
            assert fault(text, language=language)[0] == "wrong_language", (language, other)


def test_names_and_signs_in_another_script_do_not_count_and_none_is_asked_for_by_default():
    assert wrong_language("A shop with a sign that reads “咖啡” stands beside the road.", "en") == ""
    assert wrong_language("STOP", "en") == wrong_language("12 + 3", "en") == ""
    assert wrong_language("стоп", "en") == "0% of the letters are of the script of 'en'"
    assert fault(TEXTS["ru"]) == ("", "")
