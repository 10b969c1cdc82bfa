"""Words and their parts of speech as `jieba.posseg` finds them, for many texts at once.

Belongs here: what no dictionary knows, cut and tagged by jieba's hidden Markov model whose states are places
in a word and parts of speech at once. Does not belong here: the words of the dictionary (`domain.words`), or
what words weigh (`domain.term_weights`).

The segmenter joins what its dictionary knows. Single characters are left, and each distinct run of them is
cut and tagged once. The probabilities are those of the installed jieba.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise
from typing import Any

import numpy as np

from curation.domain.words import Tokens, parts_of_speech, tokenise

#: What may be a part of a run: a character, or Latin letters and digits that the segmenter has joined.
_LOOSE = re.compile(r"[\u4e00-\u9fd5+#&._]|[a-zA-Z0-9]+")
#: The parts of a run: Chinese characters, which have no tag yet, and others.
_PARTS = {"": r"[\u4e00-\u9fd5]+", "m": r"[.0-9]+", "eng": r"[a-zA-Z0-9]+", "x": r"[+#&_]+"}
_PART = re.compile("|".join(f"({pattern})" for pattern in _PARTS.values()))
#: jieba's logarithm of the probability of what it never saw.
_NEVER = -3.14e100


def tokenise_tagged(texts: Iterable[str], jieba: Any) -> tuple[Tokens, np.ndarray]:
    """The words of each text, and the part of speech of each word, str [t], as of `jieba.posseg`.

    Parameters
    ----------
    jieba
        From `words.segmenter`.
    """
    pieces = tokenise(texts, jieba, guess=False)
    vocabulary = pieces.vocabulary
    loose = np.array(
        [bool(_LOOSE.fullmatch(one)) and (len(one) == 1 or not jieba.has_word(one)) for one in vocabulary],
        dtype=bool,
    )
    known = [vocabulary[place] for place in np.flatnonzero(~loose)]
    single = [vocabulary[place] for place in np.flatnonzero(loose)]
    begins, items, runs = _items(pieces, loose)
    guessed, tags, lengths = _cut([*single, *runs], jieba)
    behind = np.arange(len(vocabulary), len(vocabulary) + len(runs))
    rows = np.argsort(np.concatenate([np.flatnonzero(~loose), np.flatnonzero(loose), behind]))[items]
    held = np.concatenate([np.ones(len(known), dtype=np.int64), lengths])
    first, held = (np.cumsum(held) - held)[rows], held[rows]
    take = np.repeat(first - np.cumsum(held) + held, held) + np.arange(held.sum())
    places: defaultdict[str, int] = defaultdict()
    places.default_factory = places.__len__
    ids = np.array([places[word] for word in chain(known, guessed)], dtype=np.int32)
    named = np.array(parts_of_speech(known, jieba) + tags, dtype=np.str_)
    return Tokens(list(places), ids[take], np.repeat(pieces.docs[begins], held), pieces.n_docs), named[take]


def _items(pieces: Tokens, loose: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Where pieces and runs begin; which they are; and all runs of two loose pieces or more.

    An item is a place in the vocabulary, or behind the vocabulary one in the list of runs.
    """
    free = loose[pieces.ids]
    edge = (np.diff(pieces.docs, prepend=-1) > 0) | ~free
    edge[1:] |= ~free[:-1]
    begins = np.flatnonzero(edge)
    ends = np.append(begins, len(free))[1:]
    items = pieces.ids[begins].astype(np.int64)
    content, width = pieces.ids.tobytes(), pieces.ids.itemsize
    runs: defaultdict[bytes, int] = defaultdict()
    runs.default_factory = runs.__len__
    long = np.flatnonzero(ends - begins > 1)
    spans = zip((begins[long] * width).tolist(), (ends[long] * width).tolist(), strict=True)
    items[long] = [runs[content[begin:end]] for begin, end in spans]
    items[long] += len(loose)
    named = ["".join([pieces.vocabulary[one] for one in np.frombuffer(run, dtype=np.int32)]) for run in runs]
    return begins, items, named


def _cut(runs: Sequence[str], jieba: Any) -> tuple[list[str], list[str], np.ndarray]:
    """The words of all runs, their tags, and how many words each run has.

    A run that the dictionary holds, though the segmenter has not joined it, stays apart.
    """
    text = "".join(runs)
    starts = np.cumsum([0, *map(len, runs)])
    ends = np.zeros(len(text), dtype=bool)
    tags = np.full(len(text), "x", dtype="U16")
    unknown: list[tuple[int, int]] = []
    for run, start in zip(runs, starts.tolist(), strict=False):
        if len(run) == 1 or jieba.has_word(run):
            ends[start : start + len(run)] = True
            tags[start : start + len(run)] = [
                "x" if one.isascii() else jieba.tag(one, False)[0][1] for one in run
            ]
            continue
        for match in _PART.finditer(text, start, start + len(run)):
            end, tag = match.end(), list(_PARTS)[(match.lastindex or 1) - 1]
            ends[end - 1], tags[end - 1] = True, tag
            if not tag:
                unknown.append((match.start(), end))
    _model().mark(text, unknown, ends, tags)
    last = np.flatnonzero(ends)
    words = [text[begin:end] for begin, end in pairwise([0, *(last + 1).tolist()])]
    return words, tags[last].tolist(), np.diff(np.searchsorted(last, starts))


@dataclass(frozen=True)
class _Model:
    """The probabilities as `tagging_kernels.viterbi` reads them; observation 0 is any unknown character.

    `last` [s] says which states end a word, `tags` [s] its part of speech.
    """

    last: np.ndarray
    tags: np.ndarray
    observations: dict[str, int]
    tables: tuple[np.ndarray, ...]

    def mark(self, text: str, spans: Sequence[tuple[int, int]], ends: np.ndarray, tags: np.ndarray) -> None:
        """Mark in the spans of the text where words end, and there their tags."""
        from curation.domain import tagging_kernels

        seen = [self.observations.get(character, 0) for begin, end in spans for character in text[begin:end]]
        lengths = [end - begin for begin, end in spans]
        route = tagging_kernels.viterbi(
            np.array(seen, dtype=np.int64), np.cumsum([0, *lengths]), *self.tables
        )
        places = np.repeat([begin for begin, _ in spans] - np.cumsum(lengths) + lengths, lengths)
        places = (places + np.arange(len(route))).astype(np.int64)
        ends[places] |= self.last[route]
        tags[places] = self.tags[route]


@cache
def _model() -> _Model:
    from jieba.posseg import char_state_tab_P, emit_P, start_P, trans_P

    states = sorted(trans_P)
    number = {state: place for place, state in enumerate(states)}
    characters = sorted({*char_state_tab_P, *chain.from_iterable(emit_P.values())})
    observations = {character: place for place, character in enumerate(characters, 1)}
    steps = np.full((len(states), len(states)), -np.inf)
    for state, others in trans_P.items():
        for other, value in others.items():
            steps[number[other], number[state]] = value
    emitted = np.full((len(characters) + 1, len(states)), _NEVER)
    for state, held in emit_P.items():
        emitted[[observations[character] for character in held], number[state]] = list(held.values())
    likely = [
        sorted(number[state] for state in char_state_tab_P.get(character, states))
        for character in ["", *characters]
    ]
    begin = np.array([start_P[state] for state in states])
    bounds = np.cumsum([0, *map(len, likely)])
    return _Model(
        np.array([place in "ES" for place, _ in states]),
        np.array([tag for _, tag in states]),
        observations,
        (begin, steps, emitted, np.array(list(chain.from_iterable(likely))), bounds),
    )
