"""The reward model learns what is preferred, treats both sides alike, and comes back from disk as it was."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation.errors import UserError
from curation.scores import reward

CITIES = ("北京", "上海", "广州", "成都", "西安", "杭州", "南京", "昆明", "青岛", "厦门")
THINGS = ("小吃", "公园", "博物馆", "大学", "河流", "节日")


@pytest.fixture(scope="module")
def pairs() -> pl.DataFrame:
    """Full answers are preferred to refusals and to answers about something else; lengths tell nothing."""
    rows = []
    for number, (city, thing) in enumerate((city, thing) for city in CITIES for thing in THINGS):
        other = CITIES[(number + 3) % len(CITIES)]
        good = f"{city}的{thing}很有名。1. 老城里最多。2. 例如东门一带，{city}人常去。"
        bad = (
            f"很抱歉，作为一个人工智能语言模型，我不清楚，可能没有办法告诉您。{'请谅解。' * (number % 4)}"
            if number % 2
            else f"{other}是个好地方，{other}的春天很美，{other}的秋天也很美，那里有海。"
        )
        rows.append((f"{city}有哪些有名的{thing}？", good, bad))
    return pl.DataFrame(rows, schema=["prompt", "chosen", "rejected"], orient="row")


def fit(pairs: pl.DataFrame, seed: int = 0) -> reward.RewardModel:
    return reward.fit_pairs(pairs["prompt"], pairs["chosen"], pairs["rejected"], seed)


def test_unseen_pairs_are_told_right(pairs: pl.DataFrame) -> None:
    seen, unseen = pairs.head(40), pairs.tail(20)
    model = fit(seen)
    assert model.accuracy > 0.9
    assert model.trained_on == 40
    better, worse = (model.reward(unseen["prompt"], unseen[side]) for side in ("chosen", "rejected"))
    assert np.mean(better > worse) > 0.9


def test_the_other_way_round_the_weights_change_sign(pairs: pl.DataFrame) -> None:
    there = fit(pairs)
    back = reward.fit_pairs(pairs["prompt"], pairs["rejected"], pairs["chosen"], 0)
    np.testing.assert_allclose(there.weights, -back.weights, atol=1e-3)
    assert there.intercept == back.intercept == 0.0


def test_saved_and_loaded_it_is_the_same(pairs: pl.DataFrame, tmp_path: Path) -> None:
    model, again = fit(pairs), fit(pairs)
    assert model.weights.tobytes() == again.weights.tobytes()
    model.save(tmp_path)
    loaded = reward.RewardModel.load(tmp_path)
    ask = pairs["prompt"], pairs["chosen"]
    assert loaded.reward(*ask).tobytes() == model.reward(*ask).tobytes()
    assert (loaded.accuracy, loaded.trained_on) == (model.accuracy, model.trained_on)


def test_verdicts_are_learned_and_are_probabilities(pairs: pl.DataFrame) -> None:
    prompts = pl.concat([pairs["prompt"]] * 2)
    told = pl.concat([pairs["chosen"].rename("told"), pairs["rejected"].rename("told")])
    good = np.repeat([1.0, 0.0], len(pairs))
    model = reward.fit_verdicts(prompts, told, good, 0)
    assert model.accuracy > 0.95
    assert ((model.reward(prompts, told) > 0) == (good == 1)).mean() > 0.95


def test_noise_teaches_nothing(pairs: pl.DataFrame) -> None:
    """Labels by the toss of a coin: the penalty is as large as it gets, the log-odds stay near nought."""
    coin = pl.Series(np.random.default_rng(5).random(len(pairs)) < 0.5)
    mixed = pairs.select(
        "prompt",
        chosen=pl.when(coin).then("chosen").otherwise("rejected"),
        rejected=pl.when(coin).then("rejected").otherwise("chosen"),
    )
    model = fit(mixed)
    ahead = model.reward(mixed["prompt"], mixed["chosen"]) - model.reward(mixed["prompt"], mixed["rejected"])
    assert np.abs(ahead).mean() < 0.5
    assert np.abs(fit(pairs).reward(pairs["prompt"], pairs["chosen"])).mean() > 0.5


def test_what_cannot_be_learned_from_is_said(pairs: pl.DataFrame) -> None:
    with pytest.raises(UserError, match="3 pairs are too few"):
        fit(pairs.head(3))
    with pytest.raises(UserError, match="all verdicts are the same"):
        reward.fit_verdicts(pairs["prompt"], pairs["chosen"], np.ones(len(pairs)), 0)


def test_a_question_is_in_one_fold_however_it_is_spaced() -> None:
    folds = reward.prompt_folds(
        pl.Series(["北京 在哪里？", "北京在哪里", "北京在哪里?!", "上海在哪里？"]), 997
    )
    assert len(set(folds[:3])) == 1
    assert folds[3] != folds[0]
