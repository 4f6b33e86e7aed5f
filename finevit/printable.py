"""Texts of strangers, as people may read them."""


def printable(text: str) -> str:
    """The text on one line, as any log, terminal or file takes it: what is not printable becomes its escape.

    JSON and the names of files can hold zero bytes, line ends, commands to a terminal and halves of surrogate pairs.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
