"""Noun phrases of English captions by rules: closed classes of words, endings and positions. Needs no model and no other package.

The lists stand in ``words.tsv``; ``picture``, ``place`` and ``abstract`` are what is left out: "the image", "the left side".
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from finevit.recaption.contracts import OK, Answer, PhraseExtractor, PhraseRequest

VERSION = "1"
_TOKEN = re.compile(r"“[^”\n]{1,80}”|\"[^\"\n]{1,80}\"|[^\W\d_]+(?:[-'’.&][^\W\d_]+)*|\d+(?:[.,:/-]\d+)*|[^\w\s]")


class Token(NamedTuple):
    """A word, a number, a quotation or a mark: ``kind`` is what it can be in a noun phrase."""

    text: str
    kind: str
    start: int
    end: int


@cache
def classes() -> Mapping[str, frozenset[str]]:
    """The words of each class; of verbs all forms."""
    rows = [line.split("\t") for line in Path(__file__).with_name("words.tsv").read_text("utf-8").splitlines()[1:]]
    words = {name: frozenset(listed.split()) for name, listed in rows}
    return {**words, "verb": frozenset(form for verb in words["verb"] for form in _forms(verb)), "participle": words["past"]}


def _forms(verb: str) -> list[str]:
    """A regular verb's forms; those that end in -ing and -ed are known by their ends."""
    if re.search(r"(?:s|x|z|ch|sh|o)$", verb):
        return [verb, f"{verb}es"]
    return [verb, f"{verb[:-1]}ies"] if re.search(r"[^aeiou]y$", verb) else [verb, f"{verb}s"]


class RuleExtractor(PhraseExtractor):
    """Longest noun phrases without what follows them: determiners, numbers, adjectives, participles, possessives, compound nouns;
    words of quantity ("a group of three people") with what they count; quotations with the noun before them."""

    model = f"rules@{VERSION}"

    def settings(self) -> Mapping[str, Any]:
        """See ``Engine``."""
        return {"version": VERSION}

    def answer(self, request: PhraseRequest) -> Answer:
        """See ``Engine``."""
        return Answer(OK, [list(span) for span in spans(request.text)], attempts=0)


def spans(text: str) -> list[tuple[int, int]]:
    """Begin and end of each phrase."""
    chunks = [chunk for sentence in _sentences(tokens(text)) for chunk in _chunks(sentence)]
    return [(chunk[0].start, chunk[-1].end) for chunk in chunks if _tells(chunk)]


def tokens(text: str) -> list[Token]:
    """All of them, each with its kind."""
    return [Token(each[0], _kind(each[0]), *each.span()) for each in _TOKEN.finditer(text)]


def _kind(text: str) -> str:
    word = text.lower().replace("’", "'")
    if word[0] in '“"' and len(word) > 1:
        return "quotation"
    if word[0].isdigit() or word in classes()["number"]:
        return "number"
    if not word[0].isalpha():
        return "mark"
    for kind in ("pronoun", "auxiliary", "preposition", "conjunction", "determiner", "adverb", "colour", "noun", "adjective"):
        if word in classes()[kind]:
            return "adjective" if kind == "colour" else kind
    if word.endswith(("'s", "s'")):
        return "possessive"
    if re.search(r"-\w+(?:ed|ing)$", word):
        return "adjective"  # snow-capped
    if word in classes()["participle"] or re.search(r"(?:..ed|..ing)$", word):
        return "participle"
    if word in classes()["verb"]:
        return "verb"
    return "adverb" if re.search(r"..ly$", word) else "noun"


def _sentences(found: list[Token]) -> list[list[Token]]:
    sentences: list[list[Token]] = [[]]
    for token in found:
        sentences[-1].append(token)
        if token.text in ".!?;:":
            sentences.append([])
    return sentences


def _chunks(sentence: list[Token]) -> list[list[Token]]:
    """Runs of tokens that can be phrases."""
    chunks: list[list[Token]] = []
    chunk: list[Token] = []
    for place, token in enumerate(sentence):
        if chunk and _continues(chunk, token, sentence[place + 1 : place + 4]):
            chunk.append(token)
            continue
        chunks += [chunk] if chunk else []
        chunk = [token] if _begins(token, sentence[:place], sentence[place + 1 : place + 3]) else []
    return _joined(chunks + ([chunk] if chunk else []), sentence)


def _begins(token: Token, before: list[Token], after: list[Token]) -> bool:
    """Whether a phrase begins here."""
    last = before[-1] if before else None
    if token.kind == "adverb":
        described = len(after) > 1 and after[0].kind in ("participle", "adjective") and after[1].kind in ("noun", "verb")
        return token.text.endswith("ly") and described
    if token.kind == "participle":
        return bool(last and last.kind == "adverb" and last.text.endswith("ly")) or _modifies(token, last, after)
    if token.kind == "verb":
        return token.text.endswith("s") and last is not None and last.kind in ("preposition", "mark") and last.text != "to"
    bare = token.kind in ("noun", "adjective") and last is not None and last.text.lower() in classes()["copula"]
    if bare:  # "is calm", "looks old", but "there are trees"
        return len(before) > 1 and before[-2].text.lower() in ("there", "here")
    return token.kind in ("determiner", "number", "adjective", "noun", "possessive", "quotation")


def _modifies(token: Token, last: Token | None, after: list[Token]) -> bool:
    """Whether a participle without determiner belongs to the noun behind it: "with parked cars", but not "for parking cars"."""
    opens = last is None or last.kind in ("preposition", "verb", "mark", "conjunction")
    ends = token.text.endswith("ed") or (last is None and token.text.endswith("ing"))
    return opens and ends and bool(after) and after[0].kind == "noun"


def _continues(chunk: list[Token], token: Token, after: list[Token]) -> bool:
    """Whether a token belongs to the phrase that has begun."""
    has_noun = any(each.kind in ("noun", "verb") for each in chunk)
    last = chunk[-1]
    if token.kind in ("mark", "conjunction"):
        return _between_adjectives(last, token, after)
    if token.kind in ("determiner", "number"):
        return last.kind == "determiner" or (
            token.kind == "number" and token.text[0].isdigit() and last.kind in ("noun", "possessive")
        )
    if token.kind == "quotation":
        return last.kind == "noun"
    if last.kind == "quotation":
        return False
    if token.kind in ("participle", "adverb"):
        return not has_noun and last.kind != "number" and bool(after) and after[0].kind not in ("mark", "preposition", "auxiliary")
    single = chunk[0].text.lower() in classes()["single"]
    if token.kind == "verb":  # "a neon cross", but "the dogs cross" and "a dog crosses"
        return not has_noun or last.kind == "possessive" or (single and token.text in classes()["second"])
    if token.kind == "adjective":
        return (
            not has_noun or (single and token.text in classes()["both"]) or bool(after and after[0].kind in ("noun", "adjective"))
        )
    if token.kind == "noun" and has_noun and single and re.search(r"[^suiao]s$", token.text):
        return False  # "a dog barks": no verb of the list, and no plural
    return token.kind in ("noun", "possessive")


def _between_adjectives(last: Token, token: Token, after: list[Token]) -> bool:
    """The comma and the "and" of "a red, white and blue flag"."""
    if last.kind != "adjective" or token.text.lower() not in (",", "and", "-"):
        return False
    rest = [each for each in after if each.text.lower() not in (",", "and")]
    return len(rest) > 1 and rest[0].kind == "adjective" and rest[1].kind in ("adjective", "noun", "mark", "conjunction")


def _joined(chunks: list[list[Token]], sentence: list[Token]) -> list[list[Token]]:
    """Words of quantity with "of" and what they count are one phrase."""
    joined: list[list[Token]] = []
    for chunk in chunks:
        if joined and joined[-1][-1].text.lower() in classes()["quantity"]:
            between = [each for each in sentence if joined[-1][-1].end <= each.start and each.end <= chunk[0].start]
            if [each.text for each in between] == ["of"]:
                joined[-1] = [*joined[-1], *between, *chunk]
                continue
        joined.append(chunk)
    return joined


def _tells(chunk: list[Token]) -> bool:
    """Whether a phrase names something that can be seen, in what the picture shows."""
    heads = [each for each in chunk if each.kind in ("noun", "verb", "quotation")]
    if chunk[-1].text.lower() in classes()["both"] and chunk[0].kind in ("determiner", "number"):
        heads.append(chunk[-1])  # "a green square"
    if not heads or chunk[-1].kind in ("determiner", "adverb") or chunk[0].text.lower() in ("no", "neither"):
        return False
    head, known = heads[-1].text.lower(), classes()
    plain = all(each.kind in ("determiner", "noun", "verb") for each in chunk) and len(heads) == 1
    return head not in known["place"] and head not in known["abstract"] and not (head in known["picture"] and plain)
