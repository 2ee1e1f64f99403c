"""Small text helpers shared by the tables and the corpus."""

import re

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[+-]")


def parse_rows(text: str) -> list[list[str]]:
    """Split a table written as `a | b | c`, one row a line or several rows a line parted by `;`."""
    parts = text.replace("\n", ";").split(";")
    return [[cell.strip() for cell in part.split("|")] for part in parts if part.strip()]


def parse_words(text: str) -> list[str]:
    """Split a list of words written with spaces between them."""
    return text.split()


def capitalise(text: str) -> str:
    """Make the first letter a capital and leave the rest alone (str.capitalize would lower it)."""
    return text[:1].upper() + text[1:]


def with_article(noun: str) -> str:
    """Put a or an before a noun of the tables, which has no silent h and no long u at its start."""
    return f"{'an' if noun[0].lower() in 'aeio' else 'a'} {noun}"


def normalise(text: str) -> str:
    """Reduce a question to its lower-case words, so that two spellings of one phrasing compare as equal."""
    return " ".join(_WORD.findall(text.lower()))


def has_word(word: str, reply: str) -> bool:
    """Tell whether the reply holds the word (or phrase) as a whole, whatever its case."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", reply, re.IGNORECASE) is not None
