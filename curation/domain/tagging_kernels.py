"""The compiled loop of tagging. Importing it imports numba, so import it where it is used.

Belongs here: the most likely states of a hidden Markov model. Does not belong here: what the states mean
and where the probabilities come from (`domain.tagging`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def viterbi(
    observed: Any, starts: Any, first: Any, steps: Any, emitted: Any, likely: Any, bounds: Any
) -> Any:
    """The most likely state of each observation, int64 [t]; of equally likely ones the last.

    An observation is first sought among the states `likely` for it, then among all that can be reached
    from the one before it.

    Parameters
    ----------
    observed, starts
        Observations of all sequences end to end, and where each begins, and the last ends.
    first, steps, emitted
        Logarithms of the probabilities to begin in a state [s], to come to one from another [s, s], and of
        the observations by state [o, s].
    likely, bounds
        The likely states of observation o, ascending, are likely[bounds[o] : bounds[o + 1]].
    """
    size = len(first)
    every = np.arange(size)
    route = np.empty(len(observed), np.int64)
    longest = np.diff(starts).max() if len(starts) > 1 else 0
    score = np.empty((longest, size))
    back = np.empty((longest, size), np.int64)
    reached = np.empty((2, size), np.int64)
    for sequence in range(len(starts) - 1):
        begin, end = starts[sequence], starts[sequence + 1]
        count, now = 0, 0
        for place in range(end - begin):
            seen = observed[begin + place]
            wanted = likely[bounds[seen] : bounds[seen + 1]]
            before, known = reached[now], count
            now, count = 1 - now, 0
            for effort in range(3):
                for state in every if effort else wanted:
                    best, origin = -np.inf, -1
                    if place == 0:
                        best, origin = first[state] + emitted[seen, state], 0
                    for rank in range(known):
                        other = before[rank]
                        step = steps[state, other]
                        if step > -np.inf or effort == 2:
                            total = score[place - 1, other] + step + emitted[seen, state]
                            if total >= best:
                                best, origin = total, other
                    if origin >= 0:
                        score[place, state], back[place, state] = best, origin
                        reached[now, count] = state
                        count += 1
                if count:
                    break
        last = reached[now, 0]
        for rank in range(count):
            if score[end - begin - 1, reached[now, rank]] >= score[end - begin - 1, last]:
                last = reached[now, rank]
        for place in range(end - begin - 1, -1, -1):
            route[begin + place] = last
            last = back[place, last]
    return route
