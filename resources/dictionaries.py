"""Files of words: a user's dictionaries and stop words, as jieba reads them.

Belongs here: reading them, and their version. Does not belong here: what the words are for
(`curation.domain.words`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from curation.domain.words import STOP_WORDS, Lexicon, UserWord
from curation.errors import UserError
from curation.records import digest
from curation.settings import KeywordSettings


def read_lexicon(settings: KeywordSettings) -> Lexicon:
    """The words of the user's dictionaries, and his stop words with those that are built in.

    Raises
    ------
    UserError
        A file cannot be read, or a line is not a word, a frequency and a tag.
    """
    found = {word.word: word for file in settings.dictionaries for word in _words(file)}
    stops = {line.lower() for file in settings.stop_words for _, line in _lines(file)}
    return Lexicon(tuple(found.values()), STOP_WORDS | stops)


def version(settings: KeywordSettings) -> str:
    """Version of the files: it changes when what one of them says does."""
    files: Sequence[str] = (*settings.dictionaries, "", *settings.stop_words)
    return digest(*(line for file in files for _, line in (_lines(file) if file else [(0, "")])))


def _words(file: str) -> Iterator[UserWord]:
    for number, line in _lines(file):
        word, *rest = line.split()
        frequency = int(rest.pop(0)) if rest and rest[0].isascii() and rest[0].isdigit() else None
        if len(rest) > 1:
            raise UserError(
                f"{line!r}",
                where=f"{file}, line {number}",
                allowed="a word, and if known its frequency and tag",
            )
        yield UserWord(word, frequency, rest[0] if rest else None)


def _lines(file: str) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read the words: {error.strerror}", where=file) from None
    except UnicodeDecodeError:
        raise UserError("not a text in UTF-8", where=file) from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.strip()
