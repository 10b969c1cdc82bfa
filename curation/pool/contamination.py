"""Contamination: training texts that hold a benchmark question.

Belongs here: finding them. Does not belong here: what becomes of the sample (`pool.samples`).

A text is looked at by the usual rule for decontamination (Brown et al. 2020, "Language models are few-shot
learners", appendix C: 13-grams), counted in characters for scripts written without spaces and in words
for the others. By that alone a paragraph of a law, or a phrase of exams, would be a leak; so the text has to hold
a good part of the question too, in whatever pieces: a question that was edited here and there is found as well.
Texts are compared in the canonical form: NFKC, lower case, letters and digits only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from curation import progress
from curation.text import blocks

#: What more benchmark questions than this hold is a phrase of exams, not a leak; likewise a short run that
#: is followed by more than so many different texts.
COMMON = 3
#: A short benchmark text of fewer units (characters or words) than this must be the whole text.
MIN_CONTAINED = 6
LEAKS = {
    "record_id": pl.String, "benchmark_id": pl.String, "match": pl.String, "length": pl.UInt32, "share": pl.Float64,
}  # fmt: skip
#: Share of a question's trigrams that a text has to hold.
LEAST_SHARE = 0.5
_TRIGRAM = 3
_FOUND = {name: kind for name, kind in LEAKS.items() if name != "share"} | {
    "spaced": pl.Boolean,
    "after": pl.String,
}
_CONTEXT = 8
#: Characters that an option has at most.
_OPTION = 120
#: Texts are looked at in blocks of about so many bytes, which bounds the memory.
_BLOCK_BYTES = 8 << 20
_FILTER_BITS = 22
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Bopomofo}"


def canonical(texts: pl.Series) -> pl.Series:
    """NFKC, lower case, letters and digits only: `records.canonical` for a whole column."""
    return _folded(texts).str.replace_all(r"[^\p{L}\p{N}]", "")


def spaced_words(texts: pl.Series) -> pl.Series:
    """The lower-case words of each text with one space around each; "\\n" where characters without spaces stood."""
    runs = (
        _folded(texts)
        .str.replace_all("['’]", "")
        .str.extract_all(rf"[{_UNSPACED}]+|[\p{{L}}\p{{N}}--{_UNSPACED}]+")
    )
    return " " + runs.list.eval(pl.element().str.replace(f"^[{_UNSPACED}]+$", "\n")).list.join(" ") + " "


def _folded(texts: pl.Series) -> pl.Series:
    return texts.fill_null("").str.normalize("NFKC").str.to_lowercase()


def find_leaks(
    texts: pl.DataFrame,
    benchmark: pl.DataFrame,
    n_chars: int = 13,
    n_words: int = 10,
    least_share: float = LEAST_SHARE,
) -> pl.DataFrame:
    """The benchmark question that each record holds, and the longest run that they share.

    Parameters
    ----------
    texts
        Columns record_id and text. A record may come in several texts, such as prompt and answer; each
        is looked at by itself.
    benchmark
        Columns id and text. A question may come in several texts, such as with and without its options.
    n_chars
        Characters in a row that make a leak. At least half of them must be of a script written without
        spaces.
    n_words
        Words in a row that make a leak in a script written with spaces.
    least_share
        Share of the question's different trigrams (of characters or words) that one text of the record has to hold.

    Returns
    -------
    One row for each record that leaks, sorted by record_id: record_id, benchmark_id, match (the shared
    run in its canonical form), length (its characters or words), and share (of the question that is there).

    Notes
    -----
    A benchmark text too short for either kind of run counts when a text holds all of it, or, if it has
    fewer than `MIN_CONTAINED` units, when it is the whole text. Stock phrases do not count: what more
    than `COMMON` benchmark questions hold, and what is shorter than two runs and is followed in the texts
    by more than `COMMON` different continuations (a leaked question is followed by its options, a phrase
    by anything). Of the forms in which a question comes, one that is shorter than two runs says little
    without its options: in a text of more than twice its length only the longest form counts. N-grams are looked up by a 64-bit hash, and every hit is compared.
    """
    questions = benchmark.select("id", text=pl.col("text").cast(pl.String)).drop_nulls().sort("id")
    kinds: list[_Characters | _Words] = [
        _Characters(n_chars),
        _Words(n_words, _vocabulary(questions["text"])),
    ]
    indices = [_Index.of(questions, kind) for kind in kinds]
    short = _Short.of(questions, long=np.logical_or(*(index.reached for index in indices)))
    found = [pl.DataFrame(schema=_FOUND)]
    done = 0
    for block in blocks(texts["text"].cast(pl.String), _BLOCK_BYTES):
        part = pl.DataFrame(
            {"record_id": texts["record_id"].slice(done, len(block)), "text": block.fill_null("")}
        )
        found += [_runs(part, index) for index in indices] + short.find(part)
        done += len(block)
        progress.report("contamination", done, texts.height)
    two_runs = pl.when("spaced").then(2 * n_words).otherwise(2 * n_chars)
    leaks = _with_shares(_without_phrases(pl.concat(found), two_runs), texts, questions, n_chars, n_words)
    ranked = leaks.filter(pl.col("share") >= least_share).sort(
        "record_id", "length", "benchmark_id", "match", descending=[False, True, False, False]
    )
    return ranked.unique("record_id", keep="first", maintain_order=True).select(*LEAKS)


def phrasings(benchmark: pl.DataFrame) -> pl.DataFrame:
    """The ways in which benchmark questions with options are met: columns id and text.

    A text whose first line is followed by two to eight short ones is taken for a question with options. It
    is looked for as it is, with its options lettered, and without them.
    """
    lines = (
        pl.col("text")
        .str.split("\n")
        .list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))
    )
    options = pl.col("lines").list.slice(1)
    chosen = (
        benchmark.select("id", "text", lines=lines)
        .filter(
            options.list.len().is_between(2, 8)
            & (options.list.eval(pl.element().str.len_chars()).list.max() <= _OPTION)
        )
        .with_columns(question=pl.col("lines").list.first())
    )
    lettered = [
        (pl.lit(f"\n{letter}. ") + options.list.get(place, null_on_oob=True)).fill_null("")
        for place, letter in enumerate("ABCDEFGH")
    ]
    return pl.concat(
        [
            benchmark.select("id", "text"),
            chosen.select("id", text="question"),
            chosen.select("id", text=pl.concat_str("question", *lettered)),
        ]
    )


def _without_phrases(found: pl.DataFrame, long: pl.Expr) -> pl.DataFrame:
    """Leave out short runs that are followed by many different texts."""
    return found.filter((pl.col("length") >= long) | (pl.col("after").n_unique().over("match") <= COMMON))


def _with_shares(
    found: pl.DataFrame, texts: pl.DataFrame, questions: pl.DataFrame, n_chars: int, n_words: int
) -> pl.DataFrame:
    """Add the share of the question that the record holds: the largest over its texts and the question's forms."""
    shares = pl.Series(np.zeros(found.height))
    for spaced, run in ((False, n_chars), (True, n_words)):
        rows = found["spaced"].eq(spaced).arg_true()
        pairs = found[rows].select("record_id", "benchmark_id")
        of_texts = _grams_by(texts, "record_id", pairs["record_id"], spaced)
        of_questions = _grams_by(questions, "id", pairs["benchmark_id"], spaced)
        held = [_share(of_texts[record], of_questions[asked], 2 * run) for record, asked in pairs.iter_rows()]
        shares = shares.scatter(rows, pl.Series(held, dtype=pl.Float64))
    return found.with_columns(share=shares)


def _grams_by(
    frame: pl.DataFrame, key: str, wanted: pl.Series, spaced: bool
) -> dict[str, list[tuple[int, set[Any]]]]:
    """For each wanted key the units and the different trigrams of its texts."""
    rows = frame.filter(pl.col(key).is_in(wanted.unique().implode()))
    units = _word_lists(rows["text"]) if spaced else canonical(rows["text"])
    found: dict[str, list[tuple[int, set[Any]]]] = {}
    for name, told in zip(rows[key], units, strict=True):
        whole = tuple(told) if spaced else told
        starts = range(max(1, len(whole) - _TRIGRAM + 1))
        grams = {whole[start : start + _TRIGRAM] for start in starts}
        found.setdefault(name, []).append((len(whole), grams))
    return found


def _share(texts: list[tuple[int, set[Any]]], forms: list[tuple[int, set[Any]]], enough: int) -> float:
    longest = max(units for units, _ in forms)
    return max(
        len(grams & held) / len(grams) if units == longest or units >= enough or length <= 2 * units else 0.0
        for length, held in texts
        for units, grams in forms
    )


# -- units --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sequence:
    """Texts as one sequence of units, one text after the other."""

    units: np.ndarray  # uint64 [total]
    counted: np.ndarray  # bool [total]: units that make an n-gram count
    offsets: np.ndarray  # int64 [texts + 1]

    def grams(self, n: int, least: int) -> tuple[np.ndarray, np.ndarray]:
        """Places and hashes of the n-grams that lie in one text and have `least` counted units."""
        size = max(0, len(self.units) - n + 1)
        hashes = np.zeros(size, dtype=np.uint64)
        for step in range(n):  # a polynomial over the window, modulo 2^64
            hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + self.units[step : step + size]
        hashes = (hashes ^ (hashes >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        hashes ^= hashes >> np.uint64(32)
        counts = np.concatenate([[0], np.cumsum(self.counted, dtype=np.int64)])
        ends = np.repeat(self.offsets[1:], np.diff(self.offsets))[:size]
        fits = (np.arange(size) + n <= ends) & (counts[n : n + size] - counts[:size] >= least)
        places = np.flatnonzero(fits)
        return places, hashes[places]

    def text_of(self, places: np.ndarray) -> np.ndarray:
        """Number of the text that each place lies in."""
        return np.searchsorted(self.offsets, places, side="right") - 1

    def window(self, places: np.ndarray, n: int) -> np.ndarray:
        return self.units[places[:, None] + np.arange(n)]


def _offsets(lengths: pl.Series) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths.to_numpy().astype(np.int64))])


@dataclass(frozen=True)
class _Characters:
    """Runs of characters; at least half of them of a script written without spaces."""

    n: int
    spaced = False

    @property
    def least(self) -> int:
        return (self.n + 1) // 2

    def plain(self, texts: pl.Series) -> pl.Series:
        return canonical(texts)

    def sequence(self, texts: pl.Series) -> _Sequence:
        plain = canonical(texts)
        units = np.frombuffer("".join(plain).encode("utf-32-le", "surrogatepass"), dtype="<u4")
        unspaced = (
            ((units >= 0x3040) & (units <= 0x9FFF))
            | ((units >= 0xAC00) & (units <= 0xD7AF))
            | (units >= 0x20000)
        )
        return _Sequence(units.astype(np.uint64), unspaced, _offsets(plain.str.len_chars()))

    def spelled(self, plain: str, start: int, length: int) -> str:
        return plain[start : start + length]


@dataclass(frozen=True)
class _Words:
    """Runs of words of the benchmark's vocabulary; other words are 0 and break a run."""

    n: int
    vocabulary: pl.DataFrame
    spaced = True

    @property
    def least(self) -> int:
        return self.n

    def plain(self, texts: pl.Series) -> pl.Series:
        return spaced_words(texts)

    def sequence(self, texts: pl.Series) -> _Sequence:
        lists = _word_lists(texts)
        flat = pl.DataFrame({"word": lists.explode().drop_nulls()}, schema={"word": pl.String})
        numbers = flat.join(self.vocabulary, on="word", how="left", maintain_order="left")["number"]
        units = numbers.fill_null(0).to_numpy().astype(np.uint64)
        return _Sequence(units, units > 0, _offsets(lists.list.len()))

    def spelled(self, plain: str, start: int, length: int) -> str:
        return " ".join(plain[1:-1].split(" ")[start : start + length])


def _word_lists(texts: pl.Series) -> pl.Series:
    return spaced_words(texts).str.extract_all(r"[^ ]+")


def _vocabulary(texts: pl.Series) -> pl.DataFrame:
    """Columns word and number (from 1) of all words in the texts."""
    distinct = _word_lists(texts).explode().drop_nulls().unique().sort().cast(pl.String)
    return pl.DataFrame({"word": distinct.filter(distinct != "\n")}).with_row_index("number", offset=1)


# -- runs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Index:
    """The n-grams of the benchmark, sorted by hash."""

    kind: _Characters | _Words
    ids: pl.Series
    sequence: _Sequence
    hashes: np.ndarray  # distinct, ascending
    places: np.ndarray  # of the first such n-gram
    present: np.ndarray  # bool: which low bits of a hash occur at all
    reached: np.ndarray  # bool [questions]: the question has an n-gram

    @classmethod
    def of(cls, questions: pl.DataFrame, kind: _Characters | _Words) -> _Index:
        sequence = kind.sequence(questions["text"])
        places, hashes = sequence.grams(kind.n, kind.least)
        owners = sequence.text_of(places)
        reached = np.zeros(questions.height, dtype=bool)
        reached[owners] = True
        grams = pl.DataFrame({"hash": hashes, "place": places, "id": questions["id"].gather(owners)})
        rare = (
            grams.group_by("hash")
            .agg(pl.col("place").min(), pl.col("id").n_unique().alias("questions"))
            .filter(pl.col("questions") <= COMMON)
            .sort("hash")
        )
        present = np.zeros(2**_FILTER_BITS, dtype=bool)
        present[rare["hash"].to_numpy() & np.uint64(2**_FILTER_BITS - 1)] = True
        return cls(
            kind,
            questions["id"],
            sequence,
            rare["hash"].to_numpy(),
            rare["place"].to_numpy(),
            present,
            reached,
        )

    def hits(self, sequence: _Sequence) -> tuple[np.ndarray, np.ndarray]:
        """Places in the texts whose n-gram the benchmark holds, and the place there."""
        places, hashes = sequence.grams(self.kind.n, self.kind.least)
        maybe = self.present[hashes & np.uint64(2**_FILTER_BITS - 1)]
        places, hashes = places[maybe], hashes[maybe]
        at = np.searchsorted(self.hashes, hashes)
        at[at == len(self.hashes)] = 0
        equal = self.hashes[at] == hashes if len(self.hashes) else np.zeros(len(hashes), dtype=bool)
        places, there = places[equal], self.places[at[equal]] if len(self.hashes) else places[equal]
        same = (sequence.window(places, self.kind.n) == self.sequence.window(there, self.kind.n)).all(axis=1)
        return places[same], there[same]


def _runs(texts: pl.DataFrame, index: _Index) -> pl.DataFrame:
    """The longest stretch of shared n-grams in each text: columns as in `_FOUND`."""
    sequence = index.kind.sequence(texts["text"])
    places, there = index.hits(sequence)
    text, question = sequence.text_of(places), index.sequence.text_of(there)
    begins = np.ones(len(places), dtype=bool)
    begins[1:] = (np.diff(places) != 1) | (np.diff(text) != 0) | (np.diff(question) != 0)
    first = np.flatnonzero(begins)
    runs = pl.DataFrame(
        {
            "text": text[first],
            "benchmark_id": index.ids.gather(question[first]),
            "start": places[first] - sequence.offsets[text[first]],
            "length": np.diff(np.append(first, len(places))) + index.kind.n - 1,
        }
    )
    order = runs.sort("text", "length", "start", descending=[False, True, False])
    longest = order.unique("text", keep="first", maintain_order=True)
    plain = index.kind.plain(texts["text"].gather(longest["text"]))
    parts = zip(plain, longest["start"], longest["length"], strict=True)
    spelled = [index.kind.spelled(*part) for part in parts]
    return _in_context(
        longest.select("benchmark_id", "length").with_columns(
            record_id=texts["record_id"].gather(longest["text"]),
            plain=plain,
            match=pl.Series(spelled, dtype=pl.String),
        ),
        index.kind.spaced,
    )


def _in_context(found: pl.DataFrame, spaced: bool) -> pl.DataFrame:
    """Add what stands after the match in the text; columns as in `_FOUND`."""
    sides = found.with_columns(
        pl.col("plain").str.split(pl.col("match")).alias("sides"), spaced=pl.lit(spaced)
    )
    return sides.with_columns(
        after=pl.col("sides").list.get(1, null_on_oob=True).str.head(_CONTEXT),
    ).select(pl.col(name).cast(dtype) for name, dtype in _FOUND.items())


# -- short benchmark texts ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Short:
    """Benchmark texts without an n-gram of their own: columns id, pattern, units; as characters and as words."""

    characters: pl.DataFrame
    words: pl.DataFrame

    @classmethod
    def of(cls, questions: pl.DataFrame, long: np.ndarray) -> _Short:
        rows = questions.filter(~pl.Series(long))
        plain, spaced = canonical(rows["text"]), spaced_words(rows["text"])
        n_words = spaced.str.count_matches(r"[^ \n]+")
        unspaced = plain.str.count_matches(f"[{_UNSPACED}]")
        as_words = n_words > unspaced
        patterns = rows.select("id").with_columns(plain=plain, spaced=spaced)
        in_characters = patterns.filter(~as_words).select(
            "id", pattern="plain", units=pl.col("plain").str.len_chars()
        )
        in_words = (
            patterns.with_columns(units=n_words).filter(as_words).select("id", "units", pattern="spaced")
        )
        return cls(
            _rare(in_characters, questions.with_columns(plain=canonical(questions["text"]))),
            _rare(in_words, questions.with_columns(plain=spaced_words(questions["text"]))),
        )

    def find(self, texts: pl.DataFrame) -> list[pl.DataFrame]:
        """Leaks of the short texts: two frames with columns as in `_FOUND`."""
        plain, spaced = canonical(texts["text"]), spaced_words(texts["text"])
        return [
            _contained(texts.with_columns(plain=plain), self.characters, spaced=False),
            _contained(texts.with_columns(plain=spaced), self.words, spaced=True),
        ]


def _rare(patterns: pl.DataFrame, questions: pl.DataFrame) -> pl.DataFrame:
    """Distinct patterns that at most `COMMON` questions hold, none of them empty."""
    distinct = patterns.filter(pl.col("units") > 0).unique("pattern", keep="first", maintain_order=True)
    holders = (
        _holders(questions, distinct["pattern"])
        .group_by("pattern")
        .agg(pl.col("id").n_unique().alias("questions"))
    )
    return distinct.join(holders, on="pattern").filter(pl.col("questions") <= COMMON).drop("questions")


def _holders(frame: pl.DataFrame, patterns: pl.Series) -> pl.DataFrame:
    """The rows whose column `plain` holds a pattern, once for each pattern, which is added as `pattern`."""
    if patterns.is_empty():
        return frame.clear().with_columns(pattern=pl.lit(None, dtype=pl.String))
    held = (
        pl.col("plain")
        .str.extract_many(patterns.to_list(), overlapping=True)
        .list.unique(maintain_order=True)
    )
    return frame.with_columns(pattern=held).explode("pattern").drop_nulls("pattern")


def _contained(texts: pl.DataFrame, patterns: pl.DataFrame, *, spaced: bool) -> pl.DataFrame:
    found = (
        _holders(texts, patterns["pattern"])
        .join(patterns, on="pattern")
        .filter((pl.col("units") >= MIN_CONTAINED) | (pl.col("plain") == pl.col("pattern")))
        .select(
            "record_id",
            "plain",
            benchmark_id="id",
            match=pl.col("pattern").str.strip_chars(" "),
            length="units",
        )
    )
    return _in_context(found, spaced)
