"""Tokens: cutting, conversations, batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.scores import causal


def turn(roles: list[str], lengths: list[int], answer: int) -> causal.Turn:
    return causal.Turn(
        tuple(roles), tuple(np.arange(n, dtype=np.int32) for n in lengths), np.arange(answer, dtype=np.int32)
    )


@given(st.integers(0, 60), st.integers(0, 60), st.integers(2, 40))
def test_cutting_keeps_the_prompts_tail_and_the_answers_beginning(
    prompt: int, answer: int, room: int
) -> None:
    given_turn = turn(["user"], [prompt], answer)
    kept = causal.cut(given_turn, room)
    (kept_prompt,), kept_answer = kept.context, kept.answer
    assert len(kept) == min(room, prompt + answer)
    assert kept_prompt.tolist() == given_turn.context[0][prompt - len(kept_prompt) :].tolist()
    assert kept_answer.tolist() == given_turn.answer[: len(kept_answer)].tolist()
    assert len(kept_answer) >= min(answer, room - room // 2)
    assert len(kept_prompt) >= min(prompt, room // 2, room - min(answer, room - room // 2))


@given(st.lists(st.integers(0, 20), min_size=1, max_size=7), st.integers(0, 30), st.integers(2, 60))
def test_a_cut_conversation_fits_and_never_begins_with_an_answer(
    lengths: list[int], answer: int, room: int
) -> None:
    roles = ["user" if place % 2 == 0 else "assistant" for place in range(len(lengths))]
    if len(roles) % 2 == 0:
        roles, lengths = roles[:-1], lengths[:-1]
    given_turn = turn(roles, lengths, answer)
    kept = causal.cut(given_turn, room)
    assert len(kept) <= max(room, 2)
    assert kept.roles[0] == "user"
    assert kept.roles[-1] == "user"
    assert kept.roles == tuple(roles[len(roles) - len(kept.roles) :]) or len(given_turn) <= room


def test_messages_of_which_nothing_is_left_go_with_their_role() -> None:
    kept = causal.cut(turn(["user", "assistant", "user"], [10, 10, 6], 6), 14)
    assert kept.roles == ("user",)
    assert [len(kept.context[0]), len(kept.answer)] == [6, 6]


def test_batches_hold_no_more_than_they_may() -> None:
    lengths = np.array([9, 7, 7, 4, 4, 1], dtype=np.int64)
    found = [rows.tolist() for rows in causal.batches(np.arange(6), lengths, 14)]
    assert found == [[0], [1, 2], [3, 4, 5]]


def test_what_is_predicted_is_the_end_of_each_sequence() -> None:
    queue = causal.Queue([np.array([5, 6, 7], np.int32), np.array([8, 9], np.int32)], np.array([2, 1]))
    matrix, predicts, targets = causal.predictions(queue, np.array([0, 1]), "cpu")
    assert matrix.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert predicts.tolist() == [0, 1, 3]
    assert targets.tolist() == [6, 7, 9]


@pytest.mark.parametrize("tokens", [1, 3])
def test_a_sequence_longer_than_a_batch_is_a_batch(tokens: int) -> None:
    assert [list(rows) for rows in causal.batches(np.array([0]), np.array([5]), tokens)] == [[0]]
