"""What a text is, character by character: its normal form, its language, and what is wrong with it.

Belongs here: normalising, masking personal data, shares of scripts, and scores for garbled, repeated,
marked-up and advertising text, vectorised over a column of texts.
Does not belong here: limits and verdicts (`corpus.cleaning`, `pool`), or the identity of a record
(`records`).

Functions of a `pl.Series` return a frame or a Series of the same length. Functions of a `pl.Expr` are
expressions over a text column, usable in `select` and `with_columns`; null texts count as empty.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterator
from functools import cache, cached_property
from importlib import resources
from itertools import chain
from operator import ne
from typing import Any, Literal

import numpy as np
import polars as pl

from curation import cues

#: Texts are worked on in blocks of so many bytes, which bounds the memory.
_BLOCK_BYTES = 8 << 20
#: The languages that `language` tells apart.
LANGUAGES = ("zh", "en", "mixed", "other")
#: What `mask_pii` looks for, in this order, and the tag that takes its place.
PII_TAGS = {
    "email": "<EMAIL>",
    "id_number": "<ID_NUMBER>",
    "bank_card": "<BANK_CARD>",
    "phone": "<PHONE>",
    "ip": "<IP>",
    "plate": "<PLATE>",
}


# -- texts as arrays ----------------------------------------------------------------------------


def utf8(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts end to end (uint8) and where each begins (int64, one more than texts).

    Nulls are empty.
    """
    column = texts.cast(pl.String).fill_null("")
    places = np.zeros(len(column) + 1, dtype=np.int64)
    np.cumsum(column.str.len_bytes().to_numpy(), out=places[1:])
    lists = column.cast(pl.Binary).cast(pl.List(pl.UInt8))
    return lists.explode(empty_as_null=False).to_numpy(), places


def blocks(texts: pl.Series, block_bytes: int = _BLOCK_BYTES) -> Iterator[pl.Series]:
    """The texts in consecutive slices of at most about `block_bytes` bytes each."""
    if not len(texts):
        return
    ends = texts.cast(pl.String).str.len_bytes().fill_null(0).cast(pl.Int64).cum_sum().to_numpy()
    first = 0
    while first < len(texts):
        done = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, done + block_bytes, side="right")), first + 1)
        yield texts.slice(first, last - first)
        first = last


def code_points(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """Code points of all texts end to end (int32), and where each text begins (int64)."""
    from curation import text_kernels

    codes, starts = text_kernels.decode(*utf8(texts))
    return codes, starts


def _from_code_points(codes: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> pl.Series:
    """Texts of so many code points from where each begins."""
    from curation import text_kernels

    data, offsets = text_kernels.encode(codes, begins, lengths)
    spans = pl.DataFrame({"offset": offsets[:-1], "length": np.diff(offsets)})
    return spans.select(pl.lit(data.tobytes()).bin.slice("offset", "length").cast(pl.String)).to_series()


def _per_text(kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], texts: pl.Series) -> np.ndarray:
    """Run a kernel over the blocks of texts and join what it returns, one row a text."""
    parts = [kernel(*code_points(block)) for block in blocks(texts)]
    return np.concatenate(parts) if parts else kernel(np.zeros(0, np.int32), np.zeros(1, np.int64))


def _expression(
    function: Callable[[Block], np.ndarray | pl.Series], expr: pl.Expr, dtype: Any = pl.Float64
) -> pl.Expr:
    def whole(texts: pl.Series) -> pl.Series:
        parts = [pl.Series(function(block), dtype=dtype) for block in _blocks(texts)]
        return pl.concat([pl.Series([], dtype=dtype), *parts])

    return expr.map_batches(whole, return_dtype=dtype, is_elementwise=True)


# -- classes of characters ----------------------------------------------------------------------

_COMMON_MARKS = frozenset(
    "，。、；：？！（）《》〈〉【】「」『』〔〕“”‘’…—～·"
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~°×÷±€£¥￥℃‰①②③④⑤⑥⑦⑧⑨⑩√≈≠≤≥∞→←↑↓•●■◆★☆※　"
)  # fmt: skip


def _encodes(char: str, charset: str, low: int = 0, high: int = 0xFFFF) -> bool:
    try:
        body = char.encode(charset)
    except UnicodeEncodeError:
        return False
    return low <= int.from_bytes(body[:2], "big") <= high


def _is_everyday_han(char: str) -> bool:
    """Han characters in the everyday sets: GB 2312, level 1 of Big5, level 1 of JIS X 0208."""
    return (
        _encodes(char, "gb2312")
        or _encodes(char, "big5", 0xA440, 0xC67E)
        or _encodes(char, "shift_jis", 0x889F, 0x9872)
    )


def _is_han(code: int) -> bool:
    return (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0x20000 <= code <= 0x323AF
        or 0xF900 <= code <= 0xFAFF
        or code in (0x3005, 0x3007)
    )


#: Hangul syllables and the planes of Han characters: all letters of one class, which nothing decomposes.
_HANGUL, _HAN_PLANES = range(0xAC00, 0xD7A4), range(0x20000, 0x323B0)


def _letter_class(code: int, char: str, k: Any) -> int:
    if _is_han(code):
        return k.HAN if _is_everyday_han(char) else k.RARE_HAN
    if char.isascii():
        return k.LATIN
    if 0x3040 <= code <= 0x30FF or 0x31F0 <= code <= 0x31FF or 0xFF66 <= code <= 0xFF9F:
        return k.KANA
    return k.ACCENTED if "LATIN" in unicodedata.name(char, "") else k.OTHER_LETTER


@cache
def character_classes() -> np.ndarray:
    """Class of each code point (uint8), see `text_kernels` for the names."""
    from curation import text_kernels as k

    of_category = {
        "Nd": k.DIGIT,
        "Mn": k.JOINER,
        "Mc": k.JOINER,
        "Me": k.JOINER,
        "Cf": k.JOINER,
        "Cc": k.BROKEN,
    }
    classes = np.full(sys.maxunicode + 1, k.SYMBOL, dtype=np.uint8)
    classes[_HANGUL] = k.OTHER_LETTER
    classes[_HAN_PLANES] = k.RARE_HAN
    for code in range(0x20000):
        if code in _HANGUL:
            continue
        char = chr(code)
        category = unicodedata.category(char)
        if char.isspace():
            classes[code] = k.SPACE
        elif category[0] == "L" or _is_han(code):
            classes[code] = _letter_class(code, char, k)
        elif char in _COMMON_MARKS:
            classes[code] = k.PUNCTUATION
        else:
            classes[code] = of_category.get(category, k.SYMBOL)
    classes[0xE0000:0xE0200] = k.JOINER  # tags and variation selectors
    classes[0xE000:0xF900] = classes[0xF0000:] = k.BROKEN  # private use
    classes[0xFDD0:0xFDF0] = classes[0xFFFD:0x10000] = k.BROKEN  # no characters, and the sign for a lost one
    return classes


@cache
def gbk_roles() -> np.ndarray:
    """Role of each code point when UTF-8 was read as GBK (uint8), see `text_kernels`."""
    from curation import text_kernels as k

    roles = np.full(sys.maxunicode + 1, k.NO_ROLE, dtype=np.uint8)
    for lead in range(0x81, 0xF0):
        for trail in range(0x80, 0xF0):
            char = bytes((lead, trail)).decode("gbk", "ignore")
            if len(char) != 1:
                continue
            if lead >= 0xE2 and trail <= 0xBF:
                roles[ord(char)] = k.FIRST
            elif lead <= 0xBF and trail >= 0xE2:
                roles[ord(char)] = k.SECOND
            elif lead <= 0xBF and trail <= 0xBF:
                roles[ord(char)] = k.THIRD
    return roles


@cache
def _suspects() -> np.ndarray:
    """Which code points (bool) a run begins with or holds that looks garbled."""
    from curation import text_kernels as k

    classes = character_classes()
    suspects = (classes == k.BROKEN) | (classes == k.RARE_HAN) | (gbk_roles() == k.FIRST)
    suspects[0xA1:0x100] = suspects[ord("?")] = True
    suspects[[run[0] for run in k.LOST_RUNS]] = True
    return suspects


class Block:
    """Some texts, and what is counted in them: decoded once, each count taken when it is first asked for."""

    def __init__(self, texts: pl.Series) -> None:
        self.texts = texts

    @cached_property
    def codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Code points and where each text begins."""
        return code_points(self.texts)

    @cached_property
    def counts(self) -> np.ndarray:
        """Characters of each class: int32 (texts, classes)."""
        from curation import text_kernels

        counts: np.ndarray = text_kernels.count_classes(*self.codes, character_classes())
        return counts

    @cached_property
    def visible(self) -> np.ndarray:
        """Characters without white space and joiners (int)."""
        from curation import text_kernels as k

        visible: np.ndarray = self.counts.sum(axis=1) - self.counts[:, k.SPACE] - self.counts[:, k.JOINER]
        return visible

    @cached_property
    def chars(self) -> np.ndarray:
        """All characters (int64)."""
        return np.diff(self.codes[1])

    @cached_property
    def line_shapes(self) -> np.ndarray:
        """See `text_kernels.line_shapes`."""
        from curation import text_kernels

        shapes: np.ndarray = text_kernels.line_shapes(*self.codes, character_classes(), line_marks())
        return shapes

    @cached_property
    def _cued(self) -> np.ndarray:
        from curation import text_kernels

        found = _cues()
        masks: np.ndarray = text_kernels.cued(*self.codes, found.symbols, found.singles, found.pairs)
        return masks

    def cued(self, name: str) -> np.ndarray:
        """Places of the texts that hold a cue of the pattern of that name (see `_cues`)."""
        return np.flatnonzero(self._cued >> _cues().bits[name] & 1)

    def matches(self, name: str, pattern: str, others: np.ndarray | None = None) -> np.ndarray:
        """How often the pattern occurs in each text (float64), looked for where a cue or `others` (places) is."""
        rows = self.cued(name) if others is None else np.union1d(self.cued(name), others)
        found = np.zeros(len(self.texts))
        if len(rows):
            found[rows] = self.texts.gather(rows).str.count_matches(pattern).to_numpy()
        return found


def _blocks(texts: pl.Series) -> Iterator[Block]:
    return map(Block, blocks(texts.cast(pl.String).fill_null("")))


@cache
def _cues() -> cues.Table:
    """What the costly patterns cannot do without."""
    spam = {f"spam_{group}": pattern for group, pattern in _SPAM.items()}
    debris = {"debris": _DEBRIS.replace(_DEBRIS_HEAD + "|", ""), "readings": _READINGS, "entry": _ENTRY}
    offence = {"abuse": _ABUSE, "slur": _SLUR, "contempt": _CONTEMPT}
    return cues.table({**spam, **debris, **offence, "furniture": FURNITURE})


_SHARES = ("han", "latin", "digit", "punctuation", "symbol", "broken", "foreign")


def _share_of(name: str) -> Callable[[Block], np.ndarray]:
    """The share of one kind of characters, see `shares`."""

    def share(block: Block) -> np.ndarray:
        from curation import text_kernels as k

        classes = {
            "han": (k.HAN, k.RARE_HAN),
            "latin": (k.LATIN, k.ACCENTED),
            "digit": (k.DIGIT,),
            "punctuation": (k.PUNCTUATION,),
            "symbol": (k.SYMBOL, k.BROKEN),
            "broken": (k.BROKEN,),
            "foreign": (k.KANA, k.OTHER_LETTER),
        }[name]
        part: np.ndarray = block.counts[:, classes].sum(axis=1) / np.maximum(block.visible, 1)
        return part

    return share


def _visible(block: Block) -> np.ndarray:
    return block.visible.astype(np.uint32)


def shares(texts: pl.Series) -> pl.DataFrame:
    """Make-up of each text by kind of character.

    Returns `n_chars` (UInt32, without white space and joiners) and the shares of it (Float64) `han`,
    `latin`, `digit`, `punctuation` (common marks), `symbol` (neither letter, digit nor common punctuation), `broken` (replacement,
    private-use and control characters) and `foreign` (letters that are neither Han nor Latin).
    """
    return measures(texts, ("n_chars", *_SHARES))


def n_chars(expr: pl.Expr) -> pl.Expr:
    """Characters without white space (UInt32)."""
    return _expression(_visible, expr, pl.UInt32)


def _n_words(block: Block) -> np.ndarray:
    import rjieba

    counts = [sum(any(map(str.isalnum, word)) for word in rjieba.cut(text)) for text in block.texts]
    return np.array(counts, dtype=np.uint32)


def n_words(expr: pl.Expr) -> pl.Expr:
    """Words that hold a letter or a digit, as jieba cuts them (UInt32)."""
    return _expression(_n_words, expr, pl.UInt32)


def han_share(expr: pl.Expr) -> pl.Expr:
    """Share of Han characters among all but white space."""
    return _expression(_share_of("han"), expr)


def latin_share(expr: pl.Expr) -> pl.Expr:
    """Share of Latin letters among all but white space."""
    return _expression(_share_of("latin"), expr)


def digit_share(expr: pl.Expr) -> pl.Expr:
    """Share of digits among all but white space."""
    return _expression(_share_of("digit"), expr)


def symbol_share(expr: pl.Expr) -> pl.Expr:
    """Share of characters that are neither letters, digits nor common punctuation."""
    return _expression(_share_of("symbol"), expr)


# -- language -----------------------------------------------------------------------------------

_ENGLISH = r"(?i)(?-u:\b)(?:the|of|and|to|is|that|for|it|with|was|are|be|this|you|by|or|from|at|have|not|has|we|they|your|can|will|which|his|her|if|there)(?-u:\b)"
#: Words that are enough to tell a language by, and the probability that it is not English.
_ENOUGH_WORDS, _SURE = 5, 0.9
#: Characters that the identifier is shown of a text.
_HEAD = 1_000


@cache
def _identifier() -> Any:
    """The n-gram identifier of py3langid (Lui and Baldwin 2012), with probabilities."""
    from py3langid import langid

    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def _is_foreign(text: str) -> bool:
    """Whether a text in Latin letters is in another language than English, beyond doubt."""
    found, probability = _identifier().classify(text[:_HEAD])
    return found not in ("en", "pcm", "zh", "ja", "ko") and float(probability) >= _SURE


def _languages(block: Block) -> pl.Series:
    from curation import text_kernels as k

    texts, counts = block.texts, block.counts.astype(np.float64)
    han = counts[:, k.HAN] + counts[:, k.RARE_HAN]
    latin = counts[:, k.LATIN] + counts[:, k.ACCENTED]
    foreign = counts[:, k.KANA] + counts[:, k.OTHER_LETTER]
    words = latin / 5  # a Han character says about as much as an English word
    total = np.maximum(han + words + foreign, 1e-9)
    chinese = han / total
    # Greek letters in formulae are no language, kana beside Han is Japanese
    other = (foreign / total > 0.3) | ((counts[:, k.KANA] >= 2) & (counts[:, k.KANA] > 0.3 * han))
    western = ~other & (chinese < 0.1) & (latin > 0)
    result = np.where(chinese >= 0.6, "zh", np.where(chinese >= 0.1, "mixed", "en")).astype(object)
    result[other | (han + latin + foreign == 0)] = "other"
    if western.any():
        column = texts.filter(pl.Series(western))
        english = column.str.count_matches(_ENGLISH).to_numpy().astype(np.float64)
        words = column.str.count_matches(r"(?-u:\b)[A-Za-z\u{C0}-\u{24F}]{2,}").to_numpy().astype(np.float64)
        accents = counts[western, k.ACCENTED] / np.maximum(latin[western], 1)
        # every fifth word of English is one of these; others are asked about only where that is not so
        doubtful = (words >= _ENOUGH_WORDS) & (english < 0.15 * words)
        foreign_latin = accents > 0.03
        for place in np.flatnonzero(doubtful & ~foreign_latin):
            foreign_latin[place] = _is_foreign(column[int(place)])
        result[np.flatnonzero(western)[foreign_latin]] = "other"
    return pl.Series("language", result.tolist(), dtype=pl.String)


def language(expr: pl.Expr) -> pl.Expr:
    """zh, en, mixed (Chinese with much Latin text) or other.

    By script, where a Han character weighs as much as five Latin letters; kana, Hangul, Cyrillic and
    so on are other. Latin text is other where its accents are not English, or where it has few of the
    commonest English words and py3langid is sure of another language.
    Text without any letter is other.
    """
    return _expression(_languages, expr, pl.String)


# -- normal form --------------------------------------------------------------------------------

#: Full-width marks that are at home in Chinese text and stay as they are.
_CHINESE_MARKS = frozenset("，！？：；（）～￥")
_INVISIBLE = frozenset(
    (0xAD, 0x200B, 0x200E, 0x200F, 0xFEFF, 0xFFF9, 0xFFFA, 0xFFFB, 0x180E, *range(0x202A, 0x202F), *range(0x2060, 0x2070))
)  # fmt: skip


@cache
def _tidy_table() -> np.ndarray:
    """What each code point becomes (int32): itself, another, white space, or 0 for removed.

    Compatibility forms are folded only where they say the same: widths, Kangxi radicals, CJK
    compatibility ideographs. NFKC would also make 2 of ², 1 of ① and ... of ….
    """
    table = np.arange(sys.maxunicode + 1, dtype=np.int32)
    # what lies between are syllables and Han characters, which stay as they are
    for code in chain(range(0x3400), range(0xA000, 0xAC00), range(0xD7A4, 0x20000), range(0x2F800, 0x2FA20)):
        char = chr(code)
        if code in (0x0A, 0x0B, 0x0C, 0x0D, 0x85, 0x2028, 0x2029):
            table[code] = 0x0A
        elif char.isspace():
            table[code] = 0x20
        elif code in _INVISIBLE or (unicodedata.category(char) == "Cc"):
            table[code] = 0
        elif char not in _CHINESE_MARKS:
            kind = unicodedata.decomposition(char).split(" ")[0]
            radical = 0x2E80 <= code <= 0x2FD5
            form: Literal["NFC", "NFKC"] = "NFKC" if kind in ("<wide>", "<narrow>") or radical else "NFC"
            folded = unicodedata.normalize(form, char)
            if len(folded) == 1:
                table[code] = ord(folded)
    table[0xFDD0:0xFDF0] = table[0xFFFE] = table[0xFFFF] = 0
    return table


def _put(series: pl.Series, places: pl.Series | np.ndarray, values: pl.Series | list[str]) -> pl.Series:
    """The series with other values at some places; `Series.scatter` alone would change it in place."""
    return series.clone().scatter(places, values) if len(places) else series


def _where(texts: pl.Series, needs: pl.Series, function: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Apply a costly function only to the texts that need it."""
    if not needs.any():
        return texts
    return _put(texts, needs.arg_true(), function(texts.filter(needs)))


@cache
def _character_traits() -> np.ndarray:
    """What each code point may call for (uint8): bits of `text_kernels`."""
    from curation import text_kernels as k

    traits = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    traits[0xA1:0xFF] |= k.MAYBE_GARBLED
    traits[ord("&")] |= k.MAYBE_GARBLED
    # marks; what this Python does not know yet may be one
    kinds = ("Mn", "Mc", "Me", "Cn")
    traits[[code for code in range(0x20000) if unicodedata.category(chr(code)) in kinds]] |= k.MAYBE_COMPOSED
    traits[_HAN_PLANES.stop :] |= k.MAYBE_COMPOSED
    traits[0x1100:0x1200] |= k.MAYBE_COMPOSED
    traits[[ord(char) for char in _LIGATURES]] |= k.MAYBE_COMPOSED
    traits[[ord(char) for char in _traditional()[1] + _VARIANTS]] |= k.MAYBE_TRADITIONAL
    return traits


_COMPOSABLE = r"[\p{M}\u{1100}-\u{11FF}]"
_LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}


def _composed(texts: pl.Series) -> pl.Series:
    """NFC, and Latin ligatures spelt out."""
    texts = _where(texts, texts.str.contains(_COMPOSABLE), lambda some: some.str.normalize("NFC"))
    return _where(
        texts, texts.str.contains(r"[\u{FB00}-\u{FB06}]"), lambda some: some.str.replace_many(_LIGATURES)
    )


# Text read in a wrong encoding: UTF-8 as Latin-1 or Windows-1252 (ftfy), GBK as Latin-1, UTF-8 as GBK,
# and characters beyond ASCII that are spelt as numeric entities.
_MAYBE_GARBLED = (
    r"[\u{C2}-\u{F4}][\u{80}-\u{BF}\u{152}\u{153}\u{160}\u{161}\u{178}\u{17D}\u{17E}\u{192}\u{2C6}\u{2DC}\u{2013}-\u{203A}\u{20AC}\u{2122}]"
    r"|[\u{A1}-\u{FE}]{4}|&#x?[0-9a-fA-F]{2,6};"
)
_ENTITY = re.compile(r"&#(?:x([0-9a-fA-F]{2,6})|([0-9]{3,7}));")
_ABOVE_ASCII = re.compile(r"[\x80-\xff]")
_LATIN_RUN = re.compile(r"[\x80-\xff]{2,}")
_HAN_RUN = re.compile(r"[^\x00-\xff]{2,}")


def _entity(match: re.Match[str]) -> str:
    code = int(match[1], 16) if match[1] else int(match[2])
    is_text = 0xA0 <= code <= sys.maxunicode and not 0xD800 <= code <= 0xDFFF
    return chr(code) if is_text else match[0]


def _recode(run: str, wrong: str, right: str) -> str:
    """The run read again in the encoding that it was in, where that gives everyday text."""
    try:
        text = run.encode(wrong).decode(right)
    except UnicodeError:
        return run
    everyday = sum(_is_everyday_han(char) or char in _COMMON_MARKS or char.isascii() for char in text)
    return text if everyday >= 0.9 * len(text) else run


def _repair_latin(text: str) -> str:
    """Undo GBK read as Latin-1, where hardly anything above ASCII is left that is not GBK.

    Two characters could be a chance (ÄÖÜä); four and more are not.
    """
    runs = [match[0] for match in _LATIN_RUN.finditer(text)]
    recoded = {run: _recode(run, "latin-1", "gb18030") for run in runs}
    undone = sum(len(run) for run in runs if recoded[run] != run)
    if undone < 8 or undone < 0.8 * len(_ABOVE_ASCII.findall(text)):
        return text
    return _LATIN_RUN.sub(lambda run: recoded[run[0]], text)


def _repair(text: str) -> str:
    """Undo a wrong decoding where that can be undone exactly."""
    import ftfy

    text = _ENTITY.sub(_entity, text)
    # ftfy would take some pairs of GBK bytes for UTF-8
    return ftfy.fix_encoding(_repair_latin(text))


def _repair_gbk(text: str) -> str:
    """Undo UTF-8 read as GBK, run by run; a run that is UTF-8 by chance does not occur."""
    return _HAN_RUN.sub(lambda run: _recode(run[0], "gb18030", "utf-8"), text)


def _mapped(function: Callable[[str], str], texts: pl.Series) -> pl.Series:
    return pl.Series([function(text) for text in texts], dtype=pl.String)


def _dictionary(name: str) -> dict[str, str]:
    """A dictionary of OpenCC: first choice of the simplified form by traditional form."""
    lines = resources.files("opencc").joinpath("dictionary", name).read_text("utf-8").splitlines()
    pairs = (line.split("\t") for line in lines if "\t" in line)
    return {source: targets.split()[0] for source, targets in pairs}


#: Two-character phrases of OpenCC that lie across the words of ordinary text, as in 透明覆盖.
_ACCIDENTAL_PHRASES = frozenset(("明覆", "露覆", "示覆", "沈船", "有序"))
#: Traditional spellings of characters that exist in simplified text too, which therefore do not show
#: that a text is traditional.
_VARIANT_WORDS = {
    "噁心": "恶心", "答覆": "答复", "回覆": "回复", "反覆": "反复", "批覆": "批复", "藉口": "借口", "藉此": "借此", "藉助": "借助",
    "藉由": "借由", "藉以": "借以", "然後": "然后", "以後": "以后", "之後": "之后", "後来": "后来", "最後": "最后",
}  # fmt: skip


_VARIANTS = "覆藉後噁"
_HAN, _KANA = 2, 8  # classes of characters, see `text_kernels`


def traditional_characters() -> dict[str, str]:
    """The simplified form of each traditional character, whatever the word it stands in (OpenCC)."""
    return _dictionary("TSCharacters.txt")


@cache
def _traditional() -> tuple[dict[str, str], str]:
    """Replacements from traditional to simplified, longest first, and the characters that call for them."""
    characters = _dictionary("TSCharacters.txt")
    phrases = {
        source: target
        for source, target in _dictionary("TSPhrases.txt").items()
        if source not in _ACCIDENTAL_PHRASES
    }
    table = phrases | {source: target for source, target in characters.items() if source != target}
    # in the names of compounds (噁唑) this character is simplified already
    del characters["噁"], table["噁"]
    ordered = dict(sorted(table.items(), key=lambda item: (-len(item[0]), item[0])))
    telling = [char for char, target in characters.items() if char != target and not _encodes(char, "gb2312")]
    return ordered, "".join(sorted(telling))


def simplify(texts: pl.Series) -> pl.DataFrame:
    """Traditional to simplified characters, by OpenCC's dictionaries: `text`, `simplified`, `traditional`.

    A text is converted where it holds a character that simplified text does not (outside GB 2312) and
    is neither Japanese nor garbled. The longest phrase wins, from the left. `simplified` (UInt32) counts
    changed characters; `traditional` (String) holds, in order of the code points, each that was changed
    and what became of it, as 灣湾 臺台; null where none was.
    """
    table, telling = _traditional()
    maybe = texts.str.contains(f"[{telling}{_VARIANTS}]")
    counts = Block(texts.filter(maybe)).counts
    chinese = pl.Series(counts[:, _KANA] <= np.maximum(0.05 * counts[:, _HAN], 1), dtype=pl.Boolean)
    is_chinese = _put(maybe, maybe.arg_true(), chinese) if maybe.any() else maybe
    needs = texts.str.contains(f"[{telling}]") & is_chinese
    if needs.any():
        garbled = (
            _per_text(_count_garbled, texts.filter(needs))
            > 0.05 * texts.filter(needs).str.len_chars().to_numpy()
        )
        needs = _put(needs, needs.arg_true(), pl.Series(~garbled, dtype=pl.Boolean))
    after = _where(texts, needs, lambda some: some.str.replace_many(table, leftmost=True))
    variants = after.str.contains(f"[{_VARIANTS}]") & is_chinese
    after = _where(after, variants, lambda some: some.str.replace_many(_VARIANT_WORDS))
    count, pairs = _differences(texts, after)
    return pl.DataFrame({"text": after, "simplified": count, "traditional": pairs})


def _differences(before: pl.Series, after: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Characters that differ, place by place (plus the difference in length), UInt32, and which became which."""
    changed = before != after
    counts, pairs = pl.Series(np.zeros(len(before), dtype=np.uint32)), pl.Series([None], dtype=pl.String)
    pairs = pairs.new_from_index(0, len(before))
    if not changed.any():
        return counts, pairs
    found, met = [], []
    for one, other in zip(before.filter(changed), after.filter(changed), strict=True):
        found.append(sum(map(ne, one, other)) + abs(len(one) - len(other)))
        pairs_met = sorted(x + y for x, y in set(zip(one, other, strict=False)) if x != y)
        met.append(" ".join(pairs_met) if len(one) == len(other) else one)
    places = changed.arg_true()
    return _put(counts, places, pl.Series(found, dtype=pl.UInt32)), _put(pairs, places, met)


def normalise(texts: pl.Series, *, simplify: bool = True) -> pl.DataFrame:
    """The normal form of each text.

    Wrong decodings are undone where that can be done exactly (ftfy and two Chinese cases); widths are
    folded but for Chinese punctuation; characters are composed (NFC); control and zero-width
    characters go; white space is collapsed, line breaks and the indentation of code kept (one blank
    line at most); traditional characters become simplified ones unless `simplify` is false.

    Returns `text`, `changes`, a struct of `fixed_encoding` (Boolean), `control_chars`, `white_space`,
    `width`, `composed` and `simplified` (characters, UInt32), and `traditional`, the characters that were
    simplified (see `simplify`). The normal form of a normal form is itself.
    """
    parts = [_normalise_block(block, simplify) for block in blocks(texts)]
    result = pl.concat(parts) if parts else _normalise_block(texts, simplify)
    changes = pl.struct(pl.exclude("text", "traditional")).alias("changes")
    return result.select("text", changes, "traditional")


def _normalise_block(texts: pl.Series, simplify: bool) -> pl.DataFrame:
    before = texts.cast(pl.String).fill_null("").rename("text")
    result = _normalise_once(before, simplify)
    # Rarely one step makes work for another (a repaired text may be traditional): go on until it holds.
    pending = (result["text"] != before).arg_true()
    for _ in range(4):
        again = _normalise_once(result["text"].gather(pending), simplify)
        moved = again["text"] != result["text"].gather(pending)
        if not moved.any():
            break
        pending, again = pending.filter(moved), again.filter(moved)
        merged = _merged(result[pending], again)
        result = result.with_columns(
            *(_put(result[name], pending, merged[name]).alias(name) for name in result.columns)
        )
    return result


def _merged(earlier: pl.DataFrame, later: pl.DataFrame) -> pl.DataFrame:
    """The changes of two passes over the same texts, and the text of the later one."""
    counted = {
        name: earlier[name] + later[name] for name in earlier.columns if earlier[name].dtype == pl.UInt32
    }
    return later.with_columns(
        fixed_encoding=earlier["fixed_encoding"] | later["fixed_encoding"],
        traditional=pl.Series(
            [
                " ".join(filter(None, pair)) or None
                for pair in zip(earlier["traditional"], later["traditional"], strict=True)
            ],
            dtype=pl.String,
        ),
        **counted,
    )


def _repair_all(
    texts: pl.Series, codes: np.ndarray, starts: np.ndarray
) -> tuple[pl.Series, np.ndarray, np.ndarray]:
    """The texts with wrong decodings undone, also as code points."""
    from curation import text_kernels as k

    hinted = k.traits(codes, starts, np.diff(starts), _character_traits()) & k.MAYBE_GARBLED
    rows = np.flatnonzero(hinted)
    rows = rows[texts.gather(rows).str.contains(_MAYBE_GARBLED).to_numpy()]
    for repair in (_repair, _repair_gbk):
        if len(rows):
            repaired = _mapped(repair, texts.gather(rows))
            texts = _put(texts, rows, repaired)
            codes, starts = k.splice(codes, starts, rows, *code_points(repaired))
        rows = np.flatnonzero(_count_garbled(codes, starts) >= 3)
    return texts, codes, starts


def _normalise_once(texts: pl.Series, simple: bool) -> pl.DataFrame:
    from curation import text_kernels as k

    repaired, codes, starts = _repair_all(texts, *code_points(texts))
    lengths, removed, replaced, moved = k.tidy(codes, starts, _tidy_table())
    rows = np.flatnonzero(moved)
    text = _put(repaired, rows, _from_code_points(codes, starts[rows], lengths[rows]))
    traits = k.traits(codes, starts, lengths, _character_traits())
    result = {
        "fixed_encoding": repaired != texts,
        "control_chars": pl.Series(removed),
        "white_space": pl.Series((np.diff(starts) - lengths - removed).astype(np.uint32)),
        "width": pl.Series(replaced),
        "composed": pl.repeat(0, len(texts), dtype=pl.UInt32, eager=True),
        "simplified": pl.repeat(0, len(texts), dtype=pl.UInt32, eager=True),
        "traditional": pl.repeat(None, len(texts), dtype=pl.String, eager=True),
    }
    if len(rows := np.flatnonzero(traits & k.MAYBE_COMPOSED)):
        some = text.gather(rows)
        composed = _composed(some)
        result["composed"] = _put(result["composed"], rows, _differences(some, composed)[0])
        text = _put(text, rows, composed)
    if simple and len(rows := np.flatnonzero(traits & (k.MAYBE_COMPOSED | k.MAYBE_TRADITIONAL))):
        converted = _simplify(text.gather(rows))
        text = _put(text, rows, converted["text"])
        for name in ("simplified", "traditional"):
            result[name] = _put(result[name], rows, converted[name])
    return pl.DataFrame({"text": text, **result})


_simplify = simplify  # `normalise` has a parameter of that name


# -- personal data ------------------------------------------------------------------------------

_MAYBE_PII = r"\d{4}[ -]?\d{3,4}|@|＠|\d\.\d{1,3}\.\d|[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-Z]"
_PII = re.compile(
    r"(?P<email>[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,12}(?![A-Za-z]))"
    r"|(?<![0-9A-Za-z./=_-])(?:"
    r"(?P<id_number>[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx])"
    r"|(?P<bank_card>(?:4\d{12}|3[068]\d{12}|3[47]\d{13}|[3-6]\d{15,18})|[3-6]\d{3}([ -])\d{4}\4\d{4}\4\d{4}(?:\4\d{1,3})?)"
    r"|(?P<phone>(?:\+?86[ -]?)?1[3-9]\d(?:\d{8}|([ -])\d{4}\6\d{4}))"
    r"|(?P<ip>(?:\d{1,3}\.){3}\d{1,3})"
    r"|(?P<plate>[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·•]?(?=[A-Z]{0,3}\d)[A-HJ-NP-Z0-9]{5,6})"
    r")(?![0-9A-Za-z_])(?!\.\d)"
)
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def _id_number_holds(number: str) -> bool:
    """Check character of a mainland identity number (GB 11643-1999, ISO 7064 MOD 11-2)."""
    total = sum(weight * int(digit) for weight, digit in zip(_ID_WEIGHTS, number[:17], strict=True))
    return "10X98765432"[total % 11] == number[17].upper()


def _luhn_holds(number: str) -> bool:
    """Check digit of a card number (ISO/IEC 7812-1, Luhn)."""
    digits = [int(char) for char in reversed(number) if char.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(set(digits)) > 1 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _ip_holds(address: str) -> bool:
    """A public address; section numbers such as 3.2.1.4 and private addresses name nobody."""
    import ipaddress

    octets = [int(part) for part in address.split(".")]
    if max(octets) > 255 or max(octets) < 100:
        return False
    return ipaddress.IPv4Address(".".join(map(str, octets))).is_global


def _plate_holds(plate: str) -> bool:
    return sum(char.isdigit() for char in plate) >= 2


_HOLDS: dict[str, Callable[[str], bool]] = {
    "id_number": _id_number_holds,
    "bank_card": _luhn_holds,
    "ip": _ip_holds,
    "plate": _plate_holds,
}


def _mask(text: str) -> tuple[str, list[int]]:
    counts = dict.fromkeys(PII_TAGS, 0)

    def tag(match: re.Match[str]) -> str:
        kind = next(name for name in PII_TAGS if match[name])
        if kind in _HOLDS and not _HOLDS[kind](match[0]):
            return match[0]
        counts[kind] += 1
        return PII_TAGS[kind]

    return _PII.sub(tag, text), list(counts.values())


def mask_pii(texts: pl.Series) -> pl.DataFrame:
    """Replace personal data by tags such as `<PHONE>` (see `PII_TAGS`).

    E-mail addresses, mainland identity numbers (checksum), bank cards of 13 to 19 digits (Luhn),
    mainland mobile numbers, public IPv4 addresses, mainland car plates. Numbers inside longer numbers,
    words or URLs are left alone. Returns `text` and `n_masked`, a struct of counts by kind (UInt32).
    """
    texts = texts.cast(pl.String).fill_null("")
    counts = np.zeros((len(texts), len(PII_TAGS)), dtype=np.uint32)
    maybe = texts.str.contains(_MAYBE_PII)
    masked = [_mask(text) for text in texts.filter(maybe)]
    if masked:
        counts[maybe.arg_true().to_numpy()] = [found for _, found in masked]
    after = _put(texts, maybe.arg_true(), [text for text, _ in masked]) if masked else texts
    n_masked = pl.DataFrame({name: counts[:, place] for place, name in enumerate(PII_TAGS)})
    return pl.DataFrame({"text": after, "n_masked": n_masked.to_struct()})


# -- what is wrong with a text ------------------------------------------------------------------

_ESCAPES = (
    r"(?:\\u[0-9a-fA-F]{4}){2,}|(?:&#x?[0-9a-fA-F]{2,6};){2,}|(?:\\x[89a-fA-F][0-9a-fA-F]){2,}"
    r"|(?:=[89A-F][0-9A-F]){3,}|(?:%[89A-F][0-9A-F]){3,}"
)
_URL = r"https?://[^\s\p{Han}]+"


def _count_garbled(codes: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Characters of each text that look like a wrong decoding (int32)."""
    from curation import text_kernels

    counts: np.ndarray = text_kernels.garbled(codes, starts, character_classes(), gbk_roles(), _suspects())
    return counts


def _escaped(texts: pl.Series) -> np.ndarray:
    """Characters of each text that spell other characters as codes, outside URLs."""
    counts = np.zeros(len(texts), dtype=np.int64)
    maybe = texts.str.contains(_ESCAPES)
    if maybe.any():
        some = texts.filter(maybe).str.replace_all(_URL, "")
        gone = some.str.len_chars().cast(pl.Int64) - some.str.replace_all(_ESCAPES, "").str.len_chars().cast(
            pl.Int64
        )
        counts[maybe.arg_true().to_numpy()] = gone.to_numpy()
    return counts


def _garble_scores(block: Block) -> np.ndarray:
    over = np.maximum(block.visible, 1)
    scores: np.ndarray = np.minimum((_count_garbled(*block.codes) + _escaped(block.texts)) / over, 1.0)
    return scores


def garble_score(expr: pl.Expr) -> pl.Expr:
    """Share of characters that look garbled by a wrong encoding, 0–1.

    Counted are: replacement, private-use and control characters; runs of the upper half of Latin-1
    (UTF-8 or GBK read as Latin-1); runs of characters whose GBK bytes chain up to UTF-8; three and
    more Han characters in a row outside the everyday sets; 锟斤拷 and its like; runs of question
    marks; text spelt as \\uXXXX, numeric entities or quoted-printable. Measure it before `normalise`,
    which repairs what can be repaired.
    """
    return _expression(_garble_scores, expr)


def _repetition_scores(block: Block) -> np.ndarray:
    from curation import text_kernels

    scores: np.ndarray = text_kernels.repeated(*block.codes, character_classes(), 10, 40)
    return scores


def repetition_score(expr: pl.Expr) -> pl.Expr:
    """How much the text repeats earlier parts of itself, 0–1.

    The share of the text, in units of Han characters, Latin words and marks, that lies in runs of 10
    units that occurred before, in lines that occurred before, or in loops of three and more rounds;
    or, where that is more, the length of the longest loop n as n / (n + 40), for a loop is a fault
    however long the text before it. Numbers and table rules count only in very long loops. After the
    repetition rules of Gopher (Rae et al. 2021), on characters instead of words.
    """
    return _expression(_repetition_scores, expr)


_TAG_NAMES = (
    "a|abbr|address|article|aside|audio|b|base|big|blockquote|body|br|button|canvas|caption|center|cite|code|col|colgroup|dd|del|"
    "details|div|dl|dt|em|embed|fieldset|figcaption|figure|font|footer|form|frame|frameset|h[1-6]|head|header|hr|html|i|iframe|img|"
    "input|ins|label|legend|li|link|main|map|meta|nav|noscript|object|ol|optgroup|option|p|param|picture|pre|s|script|section|select|"
    "small|source|span|strike|strong|style|sub|sup|svg|table|tbody|td|textarea|tfoot|th|thead|time|title|tr|tt|u|ul|var|video"
)
_TAG = (
    rf"(?:<|&lt;)(?:/?(?:{_TAG_NAMES}|{_TAG_NAMES.upper()})(?:\s[a-zA-Z][a-zA-Z0-9:_-]{{0,30}}(?:[\s=/](?:[^<>&]|&quot;|&amp;|&#39;|&nbsp;){{0,500}})?)?\s?/?|!--.{{0,500}}?--|!(?:doctype|DOCTYPE)[^<>&]{{0,200}})(?:>|&gt;)"
    r"|&(?:nbsp|lt|gt|amp|quot|ldquo|rdquo|middot|hellip|mdash|copy|raquo|laquo|emsp|ensp);"
)
_CODE = r"(?s)```.*?```|`[^`\n]+`"
#: Phrases of page furniture (a regular expression that polars and `re` both read).
FURNITURE = (
    r"(?i)首页\s*(?:[>＞»›|/]|->)|(?:当前|您(?:现在)?的?|所在)(?:所在)?(?:的)?位置\s*[:：]|上一[篇页条章][\s:：]|下一[篇页条章](?:[\s:：]|$)|"
    r"(?:相关|精彩|热点)(?:推荐|阅读|文章|新闻|链接|标签|资讯|专题|搜索)|(?:推荐|为您)(?:新闻|推荐)|评论排行|(?:责任|本文|见习)?编辑\s*[:：]|版权(?:所有|声明)|未经.{0,12}(?:许可|授权|同意|允许).{0,12}(?:转载|复制|使用|不得)|不得转载|"
    r"[京沪粤浙苏鲁闽川渝津冀豫鄂湘赣皖辽吉黑晋陕甘青宁蒙新藏桂琼滇黔贵云]ICP[备证]|公网安备|ICP备|点击(?:进入|查看|下载|这里|此处|图片|浏览|阅读|关注)|字号\s*[:：]|字体\s*[:：]\s*[大中小]|"
    r"\[?打印(?:本页|本文)?\]?\s|关闭(?:本页|窗口)|分享(?:到|至)\s*[:：]?|(?:返回|回到)(?:顶部|首页|列表|目录)|关于我们|联系我们|网站地图|友情链接|免责声明|设为首页|加入收藏|"
    r"登录\s*[|/／]?\s*注册|扫一?[扫码].{0,10}(?:关注|二维码|下载)|微信公众[号平]|阅读全文|展开全文|热门(?:推荐|文章|标签|搜索|新闻|排行)|猜你喜欢|推荐阅读|延伸阅读|更多(?:精彩|相关|新闻|>>|»)|"
    r"发表评论|我要评论|网友评论|收藏本[站页文]|举报\s|我有话说|条?跟贴|浏览次数|阅读次数|点击数|共\s*\d+\s*页|"
    r"copyright\s*(?:©|\(c\)|\d{4})|©\s*\d{4}|all rights reserved|privacy policy|terms of (?:use|service)|skip to (?:main )?content|cookie (?:policy|settings)|sign (?:in|up)\s*[|/]|back to top|powered by\s"
)
_SENTENCE_END = r"[。！？；…”：:.!?;，,、）)」』|\]}]\s*$"


def _furniture(block: Block) -> np.ndarray:
    """Characters of each text in lines that are page furniture (int64).

    A short line with a cue is furniture whole; in a long one only the cue counts. Where there are two
    cues and more, short lines without punctuation (link lists) and bars of links count as well.
    """
    counts = np.zeros(len(block.texts), dtype=np.int64)
    rows = block.cued("furniture")
    rows = rows[block.texts.gather(rows).str.contains(FURNITURE).to_numpy()]
    if not len(rows):
        return counts
    line = pl.col("line")
    length = line.str.len_chars().cast(pl.Int64)
    lines = (
        pl.DataFrame({"row": rows, "line": block.texts.gather(rows).str.split("\n")})
        .explode("line")
        .with_columns(line.str.strip_chars())
        .with_columns(
            cues=line.str.count_matches(FURNITURE).cast(pl.Int64),
            cue_chars=length - line.str.replace_all(FURNITURE, "").str.len_chars().cast(pl.Int64),
            bar=line.str.count_matches(r"\s[|·/]\s|[>＞»›]").cast(pl.Int64) >= 3,
        )
        .with_columns(all_cues=pl.col("cues").sum().over("row"))
        .with_columns(
            chars=pl.when(
                (pl.col("cues") > 0)
                & ((length <= 40) | (pl.col("cues") * 25 >= length))
                & ((pl.col("cues") >= 3) | ~line.str.contains("。"))
            )
            .then(length)
            .when(
                (pl.col("all_cues") >= 2)
                & (pl.col("bar") | ((length <= 30) & ~line.str.contains(_SENTENCE_END)))
            )
            .then(length)
            .otherwise(pl.min_horizontal("cue_chars", length))
        )
        .group_by("row")
        .agg(pl.col("chars").sum())
    )
    counts[lines["row"].to_numpy()] = lines["chars"].to_numpy()
    return counts


def _markup_scores(block: Block) -> np.ndarray:
    texts, over = block.texts, np.maximum(block.chars.astype(np.float64), 1)
    tags = np.zeros(len(texts), dtype=np.float64)
    maybe = texts.str.contains(_TAG)
    if maybe.any():
        some = texts.filter(maybe).str.replace_all(_CODE, "")
        gone = some.str.len_chars().cast(pl.Int64) - some.str.replace_all(_TAG, "").str.len_chars().cast(
            pl.Int64
        )
        tags[maybe.arg_true().to_numpy()] = gone.to_numpy()
    scores: np.ndarray = np.minimum((tags + _furniture(block)) / over, 1.0)
    return scores


def markup_score(expr: pl.Expr) -> pl.Expr:
    """Share of the text that is HTML tags and entities or page furniture, 0–1.

    Furniture is what stands around an article: navigation paths, lists of links, share bars, notices
    of copyright and registration. Fenced code is not counted.
    """
    return _expression(_markup_scores, expr)


# Groups of advertising cues. One group is a topic; two and more together, close by, are an advertisement.
_PLAY = r"(?:app|[手电网中][机脑页文]版|安卓版|官网|官方|网址|网站|网投|线路|平台|入口|登[录陆入]|注册|下载|客户端|现金|真人|电子|直营|代理|开户|投注|彩金|返水|佣金|娱乐|国际|棋牌|体育|贵宾)"
_CASINOS = (
    r"亚博|yabo|欧宝|[a-z]{2,4}体育|华体会|乐鱼|leyu|kaiyun|必威|betway|bet365|bt365|爱游戏|币游|米乐|九游体育|雷火|乐动体育|manbetx|188bet|12bet|w88|bwin|韦德|伟德|"
    r"威廉希尔|明升|优德|沙巴体育|皇冠体育|凯发|尊龙|环亚|亚游|和记|乐虎|申博|博发|澳博|葡京|威尼斯人|js\d{2,}|天博|雷竞技|竞技宝|平博|德赢|bbin|澳洲幸运|秒速赛车|极速赛车|幸运飞艇"
)
#: Names that mean other things too, and what makes a casino of them.
_AMBIGUOUS = r"(?:金沙|太阳城|永利|银河|新濠|澳门|云顶|千亿|龙8|万博|开云|半岛|星空|江南|海德|火狐|同升|优乐|皇冠)(?:娱乐城?|网投|真人|线路|现金|棋牌|电子|体育|网址|网站|登[录陆入]|(?:国际|体育|娱乐)?(?:app|客户端|贵宾)|集团游戏)"
_SPAM = {
    "contact": r"(?i)(?:加|➕|\+)\s*(?:我|个)?\s*(?:v|vx|wx|微|薇|威|徽|q|qq|扣扣|微信|威信)\s*(?:信|号)?\s*[:：]?\s*[a-z0-9_-]{5,}|(?:微信|薇信|vx|wx|qq|扣扣)(?:号|群)?\s*[:：]?\s*[a-z0-9_-]{6,}|(?:电话|热线|手机|咨询|联系|订购|tel)\S{0,6}[:：]?\s*(?:<PHONE>|1[3-9]\d{9}|400[- ]?\d{3}|0\d{2,3}[- ]\d{7,8})|私信我?|加(?:群|微信|好友)(?:领取|咨询|了解)?",
    "gambling": r"时时彩|六合彩|百家乐|真人(?:娱乐|视讯|荷官|棋牌)|老虎机|博彩|(?:在线|网上|平台|官方)投注|北京赛车|PK10|(?:线上|网上|真人)赌场|赌场网|现金网|娱乐城|电玩城|骰宝|棋牌(?:游戏)?(?:平台|下载|官网)|体育投注|彩票(?:平台|开户|计划)|开户送|送彩金|必中|稳赚|特码|登录(?:网址|器)下载|开奖(?:结果)?网址|人工计划",
    "casino": rf"(?i)(?:{_CASINOS})[\p{{Han}}a-z0-9]{{0,4}}?{_PLAY}|{_AMBIGUOUS}|贵宾会(?:[^员议见客谈\p{{P}}]|$)|\p{{Han}}{{2}}(?:体育|国际|娱乐)(?:app|登[录陆入])|华体会|秒速赛车|澳洲幸运\d|(?:正规|靠谱|十大).{{0,4}}(?:体育|购彩|买球|投注|娱乐)平台",
    "adult": r"约炮|裸聊|一夜情|援交|上门(?:服务|按摩)|全套服务|小姐(?:上门|服务|电话)|包夜|成人(?:视频|电影|网站|小说|影院)|黄色(?:网站|视频)|无码|激情(?:视频|小说|网)|学生妹|楼凤|av在线|国产(?:自拍|偷拍)|催情|迷(?:药|奸)|壮阳",
    "offer": r"免费(?:领取|试用|咨询|体验|送)|限时(?:优惠|抢购|特价|免费|秒杀)|(?:最低|超低|全网|特)价|包邮|厂家直销|现货供应|价格(?:优惠|实惠|从优)|(?:诚招|招募|火热招|面向全国招)(?:代理|加盟|商)?|加盟(?:热线|电话|费用|条件)|欢迎(?:来电|咨询|选购|订购|前来|新老客户)|(?:批发|供应)(?:价格|厂家)|销售(?:热线|电话)|点击(?:购买|下单|咨询|链接)|立即(?:购买|抢购|下单|咨询|领取)|淘宝(?:店|网址)|天猫(?:旗舰)?店|优惠券|满减|返利|在线咨询|报价(?:表|单)?|品质保证|货到付款|量大从优",
    "fraud": r"代开(?:发票|增值税)|办(?:理)?(?:假证|各类证|文凭)|刷(?:单|信誉|钻)|日(?:赚|入|结)\s*\d|月入(?:过)?\s*[\d数万千]|无(?:抵押|担保)贷|(?:快速|秒)(?:放款|到账|下款)|兼职.{0,6}(?:日结|在家|打字|手机)|躺赚|稳赚不赔|内幕消息|荐股|套现|黑户|网赚",
    "tail": r"(?:祛|治疗|看)\S{0,8}(?:医院)?哪家(?:好|强|最好|医院)|哪家(?:医院)?(?:好|专业|靠谱|便宜)|多少钱(?:一)?(?:台|个|斤|吨|平)|(?:\S{2,12}(?:价格|图片|厂家|品牌|排名|排行榜)[_,，/\s]+){2}|热门城市\s*[:：]|相关标签\s*[:：]|本文关键词\s*[:：]",
}
#: What a cue of each group weighs. The names of casinos are planted into long texts that were made for
#: something else, so that their length thins them out less.
_SPAM_WEIGHTS = {"contact": 1.5, "gambling": 1.5, "casino": 3.0, "adult": 1.5, "offer": 1.0, "fraud": 1.5, "tail": 1.0}  # fmt: skip
#: Sites whose names look like a casino's.
_HONEST = r"(?i)(?:腾讯|新浪|搜狐|网易|央视|凤凰|虎扑|咪咕|优酷|阿里|人民|新华|中国|乐视|百度|京东|cctv\d?|pptv|espn|sina)(?:体育|国际|娱乐)(?:app|官网|官方|网站|下载|登[录陆入])"


def _spam_hits(block: Block, group: str) -> np.ndarray:
    hits = block.matches(f"spam_{group}", _SPAM[group])
    rows = np.flatnonzero(hits)
    if group == "casino" and len(rows):
        hits[rows] -= block.texts.gather(rows).str.count_matches(_HONEST).to_numpy()
    return np.maximum(hits, 0)


def _spam_strength(block: Block) -> np.ndarray:
    """Weight of the cues of each text for each 200 characters (float64)."""
    length = np.maximum(block.chars / 200, 1.0)
    hits = {group: _spam_hits(block, group) for group in _SPAM}
    # each further hit of a group says less than the one before
    weights = {group: _SPAM_WEIGHTS[group] * np.log2(1.0 + found) for group, found in hits.items()}
    several = 0.5 + 0.5 * sum((found > 0).astype(np.float64) for found in hits.values())
    del weights["casino"]
    planted = _SPAM_WEIGHTS["casino"] * hits["casino"] ** 0.75 / np.sqrt(length)
    strength: np.ndarray = several * (sum(weights.values()) / length + planted)
    return strength


def _spam_scores(block: Block) -> np.ndarray:
    scores: np.ndarray = 1.0 - np.exp2(-_spam_strength(block) / 4.0)
    return scores


def spam_score(expr: pl.Expr) -> pl.Expr:
    """How much a text looks like advertising, gambling or adult spam, 0–1.

    From the hits of seven groups of cues (contact details, gambling, names of casinos, adult, offers,
    fraud, search baiting), in relation to the length, where several groups together weigh more. One
    mention of a topic scores below 0.25; a half is reached by several groups within 200 characters.
    """
    return _expression(_spam_scores, expr)


def _title_spam_scores(block: Block) -> np.ndarray:
    scores: np.ndarray = 1.0 - np.exp2(-_spam_strength(block) / 2.0)
    return scores


def title_spam_score(expr: pl.Expr) -> pl.Expr:
    """As `spam_score`, for a title: it says what the page is for, so that its cues weigh twice, 0–1."""
    return _expression(_title_spam_scores, expr)


# -- what a page leaves behind --------------------------------------------------------------------

# Pieces that a page leaves in a text that was cut out of it carelessly: halves of dates and brackets, lines
# and texts that begin in the middle of a sentence, counters, attachments.
#: A text that begins in the middle of brackets; it can only lie in so many first characters.
_DEBRIS_HEAD, _HEAD_CHARS = r"\A[^\n(（]{6,80}[)）]", 82
_DEBRIS = (
    r"(?m)^[ \t]*\d{1,2}[ \t]+\d{1,2}:\d{2}(?::\d{2})?(?:[ \t]|$)|^[ \t]*\d{1,4}[ \t]*[\]】][ \t]*$|^[ \t]*[，。、；：][\p{Han}A-Za-z]|"
    + _DEBRIS_HEAD
    + "|"
    r"\d\s?[KM]B,?\s*下载次数|(?:下载|浏览)(?:次数|量)\s*[:：]?\s*\d+|阅读(?:次数|量|数)\s*[:：]?\s*\d+|阅读[(（]\d+[)）]|\(\d+\)\s*次(?:阅读|浏览)|\d+\s?(?:个|条)评论|\d+人气|\d+\s*人来访|(?:博文|图片数)\s*[:：]\s*\d+|"
    r"target=[\"']?_blank|本文(?:访问|链接)?(?:地址|链接|网址)\s*[:：]|成语接龙\s*[:：]|document\.write|"
    r"^[ \t]*(?:热门|相关|推荐)(?:城市|标签|文章|阅读|新闻|产品)\s*[:：]?[ \t]*$"
)
#: What such a piece counts, in lines: a sound text has none.
_PIECE = 4
#: A line of an index: an entry, and how often it occurs. From five they are a list.
_ENTRY = r"(?m)^[^\n=]{1,80}[(（]\d{1,6}[)）][ \t]*$"
#: A Han character with its reading in brackets, which hinders copying.
_READINGS = r"\p{Han}\([a-zü]{1,6}\)"
_MANY = 5


@cache
def line_marks() -> np.ndarray:
    """What each code point says about its line (uint8), see `text_kernels` for the names."""
    from curation import text_kernels as k

    marks = np.zeros(sys.maxunicode + 1, dtype=np.uint8)
    for names, mark in (
        ("={}<>|\\$^_#`*~[]", k.CODE_MARK),
        ("-•·●■◆★☆※①②③④⑤⑥⑦⑧⑨⑩+", k.ITEM_MARK),
        ("。；;…”』」’：:.,，、—～", k.SENTENCE_MARK),
        ("?!？！", k.CALL_MARK),
        ("()（）【】〔〕《》〈〉", k.BRACKET),
    ):
        marks[[ord(name) for name in names]] = mark
    return marks


def lines(texts: pl.Series) -> pl.DataFrame:
    """How the lines of each text look.

    Returns `n_lines` (UInt32, those that hold anything) and the shares of them (Float64) `ended` (by a
    mark as a sentence is) and `bare` (in runs of three and more lines of Chinese, 8 to 60 characters
    without an end, as the titles in a list of links), and `repeated`, the share of the text's visible characters
    that lies in lines of at least four which occurred before.
    """
    return measures(texts, ("n_lines", "ended", "bare", "repeated_lines")).rename(
        {"repeated_lines": "repeated"}
    )


def _n_lines(block: Block) -> np.ndarray:
    return block.line_shapes[:, 0].astype(np.uint32)


def _line_share(kind: int) -> Callable[[Block], np.ndarray]:
    """The share of one kind of lines; of the kinds see `text_kernels.line_shapes`."""

    def share(block: Block) -> np.ndarray:
        part: np.ndarray = block.line_shapes[:, kind] / np.maximum(block.line_shapes[:, 0], 1)
        return part

    return share


def _repeated_lines(block: Block) -> np.ndarray:
    part: np.ndarray = block.line_shapes[:, 3] / np.maximum(block.line_shapes[:, 4], 1)
    return part


def _debris_scores(block: Block) -> np.ndarray:
    begun = block.texts.str.head(_HEAD_CHARS).str.contains(_DEBRIS_HEAD).to_numpy()
    pieces = _PIECE * block.matches("debris", _DEBRIS, np.flatnonzero(begun))
    for name, pattern in (("readings", _READINGS), ("entry", _ENTRY)):
        found = block.matches(name, pattern)
        pieces += np.where(found >= _MANY, found, 0)
    n_lines = np.maximum(block.line_shapes[:, 0], 1)
    scores: np.ndarray = np.minimum(_line_share(2)(block) + pieces / n_lines, 1.0)
    return scores


def debris_score(expr: pl.Expr) -> pl.Expr:
    """Share of the lines of a text that a page left behind when its text was cut out carelessly, 0–1.

    Counted are lists of link titles (see `lines`), index entries with their numbers, readings that were
    put between the characters; and, four times each, what a sound text has none of: halves of dates and
    brackets, lines that begin in the middle of a sentence, counters of reads and replies, attachments.
    """
    return _expression(_debris_scores, expr)


# -- offence --------------------------------------------------------------------------------------

# Words of abuse, slurs against groups of people, and words of contempt that need company to offend.
_ABUSE = (
    r"(?i)傻[逼比屄叉屌子]|傻[bx](?:[^a-z]|$)|煞笔|沙比|(?:^|[^a-z])(?:sb|nmsl|cnm|tmd|wcnm)(?:[^a-z]|$)|[操草艹肏日干][你他她尼](?:妈|娘|大爷|全家|马|玛)|他妈的?|她妈的|[尼你]玛|妈[的逼蛋]|麻痹|特么|"
    r"狗(?:日|娘养|杂种|东西|屁|屎|男女|逼)|杂[种碎]|畜[生牲]|禽兽|人渣|渣滓|败类|贱(?:人|货|婢|种|逼|骨头)|下贱|犯贱|婊|荡妇|娼妇?|破鞋|母狗|公狗|骚货|脑残|脑瘫|智障|弱智|白痴|低能儿?|蠢[货猪驴蛋才]|废物|饭桶|窝囊废|"
    r"滚(?:出|回|蛋|粗|开|犊子)|(?:都|快|赶紧|怎么不)?去死|死全家|吃屎|[死臭]不要脸|不要[脸碧逼]|王八|龟孙|恶心|令人作呕|厚颜无耻|无耻|卑鄙|恶毒|丑陋|垃圾|[死臭]娘[们炮]|神经病|变态|毒瘤|祸害|蛀虫"
)
_SLUR = (
    r"(?i)黑鬼|尼哥|[黑白黄]皮猪?|黑[猪猴猿]|支那|小日本|鬼子|倭|棒子|阿三|老毛子|毛子|洋鬼子|洋垃圾|绿绿|木木|穆畜|绿教|蛮夷|乡巴佬|土[鳖包]|硬盘|蝗虫|井盖|(?:地域|河南|东北|上海|广东|新疆)(?:骗子|小偷|狗|猪)|穷[逼鬼]|"
    r"拳师|女拳|打拳|田园女权|直男癌|国[男蝻]|蝈[男蝻]|蝻|普信|龟男|舔狗|屌|娘炮|人妖|死?基佬|死(?:gay|给|同性恋|拉拉|胖子|肥宅)|男婊|捞女|圣母婊|婚驴|倒贴|接盘侠?|老实人接盘|公交车|骗婚|白嫖|媚[黑外洋]|easy ?girl|仙女们?"
)
_CONTEMPT = r"猴子?|猩猩|狗|猪|丑|臭|脏|贱|蠢|屎|屁|滚|懒|坏|骗|偷|抢|性病|艾滋|吸毒|强奸|野蛮|愚昧|劣[等根质]|低[等贱劣]|没(?:素质|教养|文化|脑子)|素质(?:低|差)|素质太|灭[绝族种]|入侵|寄生|活该|可悲|可笑|呵呵|嫌弃|讨厌|看不起|瞧不起|鄙视|歧视链|最烂|坑蒙拐骗|好吃懒做"
#: Who speaks against contempt uses its words as well.
_AGAINST = r"反对|尊重|平等|包容|刻板印象|偏见|歧视|请不要|不应该?|不能因为|消除|理解|呼吁|权益|保护|法律|研究|报道|统计"
_OFFENCE = {"abuse": (_ABUSE, 2.0), "slur": (_SLUR, 1.5), "contempt": (_CONTEMPT, 0.6)}


def _offence_scores(block: Block) -> np.ndarray:
    strength = np.zeros(len(block.texts))
    for name, (pattern, weight) in _OFFENCE.items():
        strength += weight * block.matches(name, pattern)
    rows = np.flatnonzero(strength)
    if len(rows):
        against = block.texts.gather(rows).str.count_matches(_AGAINST).to_numpy()
        length = np.maximum(block.chars[rows] / 100, 1.0)
        strength[rows] = 1.0 - np.exp2(-strength[rows] / (1.0 + against) / length)
    return strength


def offence_score(expr: pl.Expr) -> pl.Expr:
    """How offensive a Chinese text may be, 0–1: a hint for a person, not a verdict.

    From words of abuse, slurs and words of contempt in relation to the length; words by which people
    speak against contempt (prejudice, respect, equality) lower it. Irony and quotation are not seen.
    """
    return _expression(_offence_scores, expr)


# -- several measures at once ---------------------------------------------------------------------

_MEASURES: dict[str, Callable[[Block], np.ndarray | pl.Series]] = {
    "n_chars": _visible,
    "n_words": _n_words,
    **{name: _share_of(name) for name in _SHARES},
    "language": _languages,
    "garble": _garble_scores,
    "repetition": _repetition_scores,
    "markup": _markup_scores,
    "spam": _spam_scores,
    "debris": _debris_scores,
    "offence": _offence_scores,
    "n_lines": _n_lines,
    "ended": _line_share(1),
    "bare": _line_share(2),
    "repeated_lines": _repeated_lines,
}


def measures(texts: pl.Series, names: Collection[str]) -> pl.DataFrame:
    """Several measures of the same texts, which are decoded only once.

    `names`: `n_chars`, `n_words`, `language`, the shares of `shares`; `garble`, `repetition`, `markup`,
    `spam`, `debris` and `offence`, each as the function of the name with `_score`; `n_lines`, `ended`,
    `bare` and `repeated_lines` as in `lines`. Returns a column each, in that order.
    """
    parts = [_measured(block, names) for block in _blocks(texts)]
    return pl.concat(parts) if parts else _measured(Block(pl.Series([], dtype=pl.String)), names)


def _measured(block: Block, names: Collection[str]) -> pl.DataFrame:
    return pl.DataFrame({name: _MEASURES[name](block) for name in names})


# -- heads of texts -----------------------------------------------------------------------------


def first_tokens(texts: pl.Series, n: int) -> pl.Series:
    """The first n tokens of each text, white space between them kept.

    A token is one CJK character, one run of Latin letters and digits, or one mark: about what a
    BERT-like Chinese tokenizer counts. Nulls stay null.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    # no token is shorter than a character
    if not (texts.str.len_bytes() > n).any():
        return texts
    from curation import text_kernels

    classes = character_classes()
    lengths = _per_text(lambda codes, starts: text_kernels.head_lengths(codes, starts, classes, n), texts)
    frame = pl.DataFrame({"text": texts, "length": lengths})
    return frame.select(pl.col("text").str.head("length")).to_series().alias(texts.name)
