"""The keyword table: terms of the domain, mined from the seeds, with a person's decisions on top.

Belongs here: candidates (words that jieba knows, and new words), their score, the suggestion and the
verdict. Does not belong here: cutting and weighing words (`domain.words`, `domain.new_words`,
`domain.term_weights`), what a decision is (`domain.reviews`), or finding the terms in documents
(`domain.recall`).
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from curation.domain import words
from curation.domain.new_words import new_words
from curation.domain.reviews import synonyms_of
from curation.domain.tagging import tokenise_tagged
from curation.domain.term_weights import inverse_document_frequency, log_odds, text_rank, tf_idf
from curation.domain.words import Lexicon, Tokens, UserWord
from curation.records import digest
from curation.settings import KeywordSettings
from curation.verdicts import KEPT, Rule, Verdict, judge

_CHINESE = re.compile(r"[\u4e00-\u9fff]{2,8}")
_LATIN = re.compile(r"[a-z][a-z0-9+.#-]{1,30}")
#: A word of three characters or more that begins or ends with one of these is a piece of a sentence.
_LOOSE_EDGES = frozenset("的了和与及或是在而且但也都还就又把被吗呢吧")
#: A new word neither begins with such a part of speech (adverb, pronoun, preposition, ...) nor ends so.
_LOOSE_TAGS = ("d", "r", "p", "c", "u", "f", "m", "q", "t", "y")
#: Weight of the prior in documents: a tenth of all, but no more than this.
_PRIOR_DOCS, _PRIOR_SHARE = 100.0, 0.1
#: z-score at which the log-odds count half.
_HALF_SURE = 5.0
#: General documents that score like the better half of the seeds count for the domain; those that score
#: like all but the worst tenth do not speak against it.
_LIKE_SEEDS, _UNLIKE_SEEDS = 0.5, 0.1
_SHORTEST_TEXT = 5
_MOST_PARENTS, _MOST_EXAMPLES, _CONTEXT = 10, 3, 20

_COLUMNS: dict[str, Any] = {
    "record_id": pl.String, "term": pl.String, "score": pl.Float64, "log_odds": pl.Float64, "z_score": pl.Float64,
    "tf_idf": pl.Float64, "text_rank": pl.Float64, "seed_docs": pl.UInt32, "general_docs": pl.UInt32,
    "part_of_speech": pl.String, "known": pl.Boolean, "example": pl.String, "suggested": pl.String,
    "decided_by": pl.String, "merged_into": pl.String, "synonyms": pl.List(pl.String), "parents": pl.List(pl.String),
    "verdict": Verdict, "reason": pl.String, "evidence": pl.String,
}  # fmt: skip


def mine_keywords(
    seeds: pl.DataFrame,
    general: pl.DataFrame,
    settings: KeywordSettings,
    decisions: pl.DataFrame,
    lexicon: Lexicon = Lexicon(),  # noqa: B008
) -> pl.DataFrame:
    """Mine and judge the terms of the domain.

    From the documents that hold a term come its log-odds in the domain against general text, and their
    z-score z. It scores the geometric mean of z and of the log-odds times z / (z + 5), since one says how
    surely it is commoner and the other by how much; times the weight of its part of speech. General text holds documents of the domain too: after a first pass
    those that score like the seeds are counted for the domain, or not at all.

    Parameters
    ----------
    seeds, general
        record_id and text: the domain's documents, and a sample of general ones to contrast with.
    decisions
        A person's decisions: target (the term), decision (accept, reject, add, merge), reviewer, at,
        note, edited (merge: the other term).
    lexicon
        A user's words and stop words.

    Returns
    -------
    Rows of the table `keyword_table` but for run_id, the best score first.

    Raises
    ------
    UserError
        Terms are merged in a circle.
    """
    texts = pl.concat([frame.sort("record_id").select("record_id", "text") for frame in (seeds, general)])
    decided = {row["target"]: row for row in decisions.iter_rows(named=True)}
    synonyms = synonyms_of(decisions)
    wanted = sorted({*decided, *synonyms.values()})
    found = _new_words(texts["text"].head(seeds.height), settings, lexicon)
    fixed = [UserWord(word) for word in [*found, *wanted] if not words.jieba_dictionary().has_word(word)]
    jieba = words.segmenter([*lexicon.words, *fixed])
    cut = words.tokenise(texts["text"], jieba)
    plain = _lower(cut, decided)
    own = {*found, *wanted, *(one.word for one in lexicon.words)}
    tagged, tags = tokenise_tagged(texts["text"].head(seeds.height), jieba)
    measure = _Measure(texts, seeds.height, settings, lexicon, jieba, own, (_lower(tagged, decided), tags))
    rows = measure.rows(plain.renamed(synonyms), [term for term in wanted if term not in synonyms], synonyms)
    if synonyms:
        rows += measure.rows(plain, sorted(synonyms), {}, only=True)
    rows.sort(key=lambda row: (-row["score"], row["term"]))
    return _judge(rows, decided, synonyms, settings)


def _lower(tokens: Tokens, but: Container[str]) -> Tokens:
    return tokens.renamed({word: word.lower() for word in tokens.vocabulary if word not in but})


def coverage(table: pl.DataFrame, **texts: pl.Series) -> dict[str, float]:
    """Share of each group of texts that hold at least one of the kept terms, or a synonym of one."""
    kept = table.filter(KEPT)
    forms = [*kept["term"], *kept["synonyms"].explode().drop_nulls()]
    return {
        f"{name}_coverage": round(
            float(group.str.contains_any(forms, ascii_case_insensitive=True).sum()) / len(group), 4
        )
        for name, group in texts.items()
        if len(group) and forms
    }


def _new_words(texts: pl.Series, settings: KeywordSettings, lexicon: Lexicon) -> list[str]:
    """New words of the seeds whose parts do not look like a piece of a sentence."""
    dictionary = words.jieba_dictionary()
    found = new_words(
        texts,
        [dictionary.cut(text) for text in texts],
        dictionary.has_word,
        longest=settings.longest_new_word,
        min_count=settings.min_new_word_count,
        min_pmi=settings.min_pmi,
        min_entropy=settings.min_entropy,
    )
    return [word for word in found if _holds_together(dictionary.tag(word, False), lexicon)]


def _holds_together(parts: Sequence[tuple[str, str]], lexicon: Lexicon) -> bool:
    if any(part in lexicon.stop_words for part, _ in parts):
        return False
    (first, first_tag), (last, last_tag) = parts[0], parts[-1]
    if any(tag.startswith(_LOOSE_TAGS) or tag == "z" for tag in (first_tag, last_tag)):
        return False
    if all(len(part) == 1 for part, _ in parts):
        return not (first_tag == "a" and last_tag == "v")
    # a one-character verb takes what stands beside it: a thing before, or a thing behind
    before = len(first) == 1 and first_tag.startswith("v")
    behind = len(last) == 1 and last_tag == "v"
    return not (before or behind)


class _Measure:
    """Measures the terms of the seeds, beside the general texts that come after them."""

    def __init__(
        self,
        texts: pl.DataFrame,
        n_seeds: int,
        settings: KeywordSettings,
        lexicon: Lexicon,
        jieba: Any,
        own: set[str],
        tagged: tuple[Tokens, np.ndarray],
    ) -> None:
        self._ids, self._texts, self._n_seeds = texts["record_id"], texts["text"], n_seeds
        self._settings, self._lexicon, self._jieba, self._own = settings, lexicon, jieba, own
        self._words_in_place, tags = tagged
        named, weight = (
            map(self._words_in_place.vocabulary.__getitem__, self._words_in_place.ids),
            cache(self._weight),
        )
        self._linked = np.array(
            [weight(word, tag) > 0 for word, tag in zip(named, tags.tolist(), strict=True)], dtype=bool
        )

    def rows(
        self, tokens: Tokens, wanted: Sequence[str], synonyms: Mapping[str, str], *, only: bool = False
    ) -> list[dict[str, Any]]:
        """One row a term of the seeds, and one for each wanted term whatever it is; or these `only`."""
        size, is_seed = len(tokens.vocabulary), np.arange(tokens.n_docs) < self._n_seeds
        in_seeds = _held(tokens, is_seed)
        tags = self._tags(tokens.vocabulary, in_seeds)
        weight = np.array(
            [self._weight(word, tag) for word, tag in zip(tokens.vocabulary, tags, strict=True)]
        )
        inside, outside = _domain(tokens, is_seed)
        ratio, error = _contrast(_held(tokens, inside), _held(tokens, outside), inside, outside)
        seeds, allowed = tokens.select(0, self._n_seeds), weight > 0
        tf_idfs = tf_idf(seeds, inverse_document_frequency(tokens), allowed).total(size)
        ranks = self._ranks(synonyms)
        holders = _holders(seeds)
        forms: dict[str, list[str]] = {}
        for variant, term in synonyms.items():
            forms.setdefault(term, []).append(variant)
        enough = allowed & (in_seeds >= self._settings.min_seed_docs)
        place_of = {
            tokens.vocabulary[place]: place for place in ([] if only else np.flatnonzero(enough).tolist())
        }
        known = dict(zip(tokens.vocabulary, range(size), strict=True))
        place_of |= {term: known[term] for term in wanted if term in known}
        outside_seeds = _held(tokens, ~is_seed)
        rows = [
            self._row(
                term,
                [term, *forms.get(term, [])],
                float(ratio[place]),
                float(error[place]),
                weight=float(weight[place]) or 1.0,
                tf_idf=round(float(tf_idfs[place]), 6),
                text_rank=round(ranks.get(term, 0.0), 6),
                seed_docs=int(in_seeds[place]),
                general_docs=int(outside_seeds[place]),
                part_of_speech=tags[place],
                holders=holders.get(place, []),
            )
            for term, place in place_of.items()
        ]
        missing = [term for term in wanted if term not in known]
        return rows + [self._uncut(term, forms.get(term, []), is_seed, inside, outside) for term in missing]

    def _ranks(self, synonyms: Mapping[str, str]) -> dict[str, float]:
        """TextRank of each word, summed over the seeds; words that are guessed rank as any other."""
        tokens = self._words_in_place.renamed(synonyms)
        ranks = text_rank(tokens, self._linked).total(len(tokens.vocabulary))
        return dict(zip(tokens.vocabulary, ranks.tolist(), strict=True))

    def _tags(self, vocabulary: Sequence[str], in_seeds: np.ndarray) -> list[str]:
        """Parts of speech of the words of the seeds; `new` for those found, none for all others."""
        tags = [""] * len(vocabulary)
        places = np.flatnonzero(in_seeds).tolist()
        found = words.parts_of_speech([vocabulary[place] for place in places], self._jieba)
        for place, tag in zip(places, found, strict=True):
            tags[place] = "new" if tag == "x" and vocabulary[place] in self._own else tag
        return tags

    def _weight(self, word: str, tag: str) -> float:
        """Weight of a word as a term: 0 for what is none, such as a guess of jieba that was not confirmed."""
        if (
            not tag
            or word in self._lexicon.stop_words
            or not (_CHINESE.fullmatch(word) or _LATIN.fullmatch(word))
        ):
            return 0.0
        if word in self._own:
            return 1.0
        loose = len(word) > 2 and (word[0] in _LOOSE_EDGES or word[-1] in _LOOSE_EDGES)
        if loose or tag == "x":
            return 0.0
        weights = self._settings.part_of_speech
        return max(
            ((len(start), value) for start, value in weights.items() if tag.startswith(start)),
            default=(0, 0.0),
        )[1]

    def _row(
        self,
        term: str,
        forms: Sequence[str],
        ratio: float,
        error: float,
        *,
        weight: float,
        holders: Sequence[int],
        **figures: Any,
    ) -> dict[str, Any]:
        surely = max(ratio / error, 0.0)
        shrunk = max(ratio, 0.0) * surely / (surely + _HALF_SURE)
        return {
            "record_id": digest("keyword", term),
            "term": term,
            "score": round(weight * float(np.sqrt(surely * shrunk)), 6),
            "log_odds": round(ratio, 6),
            "z_score": round(ratio / error, 6),
            "known": words.jieba_dictionary().has_word(term),
            "example": self._examples(forms, holders),
            "synonyms": sorted(forms[1:]),
            "parents": [self._ids[int(place)] for place in holders[:_MOST_PARENTS]],
            **figures,
        }

    def _uncut(
        self, term: str, variants: Sequence[str], is_seed: np.ndarray, inside: np.ndarray, outside: np.ndarray
    ) -> dict[str, Any]:
        """The row of a wanted term that no text holds as a word: it is looked for letter by letter."""
        forms = [term, *variants]
        holds = np.zeros(len(self._texts), dtype=bool)
        for form in forms:
            holds |= self._texts.str.contains(form, literal=True).to_numpy()
        held, other = (np.array([float((holds & group).sum())]) for group in (inside, outside))
        ratio, error = _contrast(held, other, inside, outside)
        return self._row(
            term,
            forms,
            float(ratio[0]),
            float(error[0]),
            weight=1.0,
            tf_idf=0.0,
            text_rank=0.0,
            seed_docs=int((holds & is_seed).sum()),
            general_docs=int((holds & ~is_seed).sum()),
            part_of_speech="new",
            holders=np.flatnonzero(holds & is_seed).tolist(),
        )

    def _examples(self, forms: Sequence[str], holders: Sequence[int]) -> str | None:
        """The term with some characters to either side, in the first documents that hold it, one a line."""
        pattern = re.compile("|".join(map(re.escape, forms)), re.IGNORECASE)
        shown = []
        for place in holders[:_MOST_EXAMPLES]:
            text = self._texts[int(place)]
            match = pattern.search(text)
            if match:
                around = text[max(0, match.start() - _CONTEXT) : match.end() + _CONTEXT]
                shown.append(" ".join(around.split()))
        return "\n".join(shown) or None


def _held(tokens: Tokens, of: np.ndarray) -> np.ndarray:
    """In how many of these texts (bool [n]) each word is, float64 [size of the vocabulary]."""
    docs, ids, _, _ = tokens.counts
    return np.bincount(ids[of[docs]], minlength=len(tokens.vocabulary)).astype(np.float64)


def _holders(seeds: Tokens) -> dict[int, list[int]]:
    """The texts that hold each word, by word."""
    docs, ids, _, _ = seeds.counts
    order = np.argsort(ids, kind="stable")
    held, begins = np.unique(ids[order], return_index=True)
    return (
        {
            int(word): part[:_MOST_PARENTS].tolist()
            for word, part in zip(held, np.split(docs[order], begins[1:]), strict=True)
        }
        if len(held)
        else {}
    )


def _contrast(
    counts: np.ndarray, other: np.ndarray, inside: np.ndarray, outside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds and their standard errors from numbers of documents that hold each word."""
    totals = float(inside.sum()), float(outside.sum())
    return log_odds(counts, other, totals, min(_PRIOR_DOCS, _PRIOR_SHARE * sum(totals)))


def _domain(tokens: Tokens, is_seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which texts count for the domain and which against it, bool [n] each.

    A text scores the mean log-odds of its words, each pulled towards 0 by one standard error.
    """
    ratio, error = _contrast(_held(tokens, is_seed), _held(tokens, ~is_seed), is_seed, ~is_seed)
    weight = np.sign(ratio) * np.maximum(np.abs(ratio) - error, 0)
    docs, ids, _, _ = tokens.counts
    total = np.bincount(docs, weights=weight[ids], minlength=tokens.n_docs)
    scores = total / np.maximum(np.bincount(docs, minlength=tokens.n_docs), _SHORTEST_TEXT)
    if not is_seed.any():
        return is_seed, ~is_seed
    low, high = np.quantile(scores[is_seed], [_UNLIKE_SEEDS, _LIKE_SEEDS])
    return is_seed | (scores >= high), ~is_seed & (scores < low)


def _judge(
    rows: list[dict[str, Any]],
    decided: Mapping[str, Mapping[str, Any]],
    synonyms: Mapping[str, str],
    settings: KeywordSettings,
) -> pl.DataFrame:
    """A person's decision counts; else the best `keep` terms with at least `min_score` are kept."""
    for rank, row in enumerate(rows, 1):
        decision = decided.get(row["term"], {})
        good = rank <= settings.keep and row["score"] >= settings.min_score
        row |= {
            "suggested": "accept" if good else "reject",
            "decided_by": decision.get("reviewer"),
            "merged_into": synonyms.get(row["term"]),
            "_rank": rank,
            **{f"_{name}": decision.get(name) for name in ("decision", "at", "note")},
        }
    columns = {name: kind for name, kind in _COLUMNS.items() if name not in ("verdict", "reason", "evidence")}
    extra: dict[str, Any] = {"_rank": pl.Int64, "_decision": pl.String, "_at": pl.String, "_note": pl.String}
    frame = pl.DataFrame(rows, schema=columns | extra, orient="row")
    by_person = {"suggested": pl.col("suggested"), "decision": pl.col("_decision"), "decided_by": pl.col("decided_by"), "at": pl.col("_at"), "note": pl.col("_note")}  # fmt: skip
    low = (pl.col("suggested") == "reject") & pl.col("_decision").is_null()
    rules = [
        Rule("rejected_by_reviewer", pl.col("_decision") == "reject", by_person),
        Rule("synonym_of", pl.col("_decision") == "merge", {"merged_into": pl.col("merged_into")}),
        Rule("below_keyword_score", low, {"score": pl.col("score"), "rank": pl.col("_rank")}, {"min_score": settings.min_score, "keep": settings.keep}),
    ]  # fmt: skip
    noted = ("log_odds", "z_score", "seed_docs", "general_docs", "part_of_speech", "synonyms")
    return judge(frame, rules, **{name: pl.col(name) for name in noted}).select(list(_COLUMNS))
