"""Trusted samples, and a rest of which half is spoiled: the discriminator tells which half."""

from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from curation.errors import UserError
from curation.lsa import Lsa
from curation.records import digest
from curation.scores import adversarial, mismatch
from curation.settings import ScoreSettings

NOBODY = pl.DataFrame(schema={"target": pl.String, "decision": pl.String})
SETTINGS = ScoreSettings(trusted_sources=("people",))
DISHES = ("红烧肉", "清蒸鱼", "炒青菜", "番茄汤", "包子", "凉面", "蛋炒饭", "豆腐羹", "烤鸭", "春卷")
CITIES = ("北京", "上海", "广州", "成都", "西安", "杭州", "南京", "昆明", "青岛", "厦门", "哈尔滨")


def made(style: str, spoiled: float) -> pl.DataFrame:
    """Samples of `people`, and twice as many of `crawl`, of which a share has the answers of others."""
    pairs = [
        pair
        for dish, city in product(DISHES, CITIES)
        for pair in (
            (f"请告诉我{dish}怎么做才好吃，我在{city}学的做法总不对。", f"做{dish}要先备好新鲜的材料，火候要足。按{city}人的口味，{dish}可以少放些盐，出锅前再加一点葱花。"),
            (f"{city}哪家馆子的{dish}最地道？", f"在{city}，老街口那家小馆的{dish}最受街坊称赞。想吃{dish}要趁早，{city}人常常午饭前就排起队来。"),
            (f"{dish}从什么时候开始在{city}流行起来？", f"{dish}传到{city}已有多年。起初只有码头边的摊子卖{dish}，后来{city}的饭馆也纷纷添上了这道菜。"),
        )
    ]  # fmt: skip
    rows = np.random.default_rng(3).permutation(len(pairs))
    first = len(rows) // 3
    bad = rows[first : first + round(spoiled * (len(rows) - first))]
    told = [answer for _, answer in pairs]
    for row, other in zip(bad, np.roll(bad, 1), strict=True):
        told[row] = style.format(pairs[other][1])
    return pl.DataFrame(
        {
            "record_id": [digest(prompt) for prompt, _ in pairs],
            "source": np.where(np.isin(np.arange(len(pairs)), rows[:first]), "people", "crawl"),
            "prompt": [prompt for prompt, _ in pairs],
            "answer": told,
            "bad": np.isin(np.arange(len(pairs)), bad),
        }
    )


def encoder(pool: pl.DataFrame) -> Lsa:
    return Lsa.fit(pl.concat([pool["prompt"], pool["answer"].rename("prompt")]), mismatch.ENCODER, 1)


@pytest.fixture(scope="module")
def pool() -> pl.DataFrame:
    return made("亲，{}赶紧收藏吧！", 0.5)


@pytest.fixture(scope="module")
def vectors(pool: pl.DataFrame) -> Lsa:
    return encoder(pool)


@pytest.fixture(scope="module")
def model(pool: pl.DataFrame, vectors: Lsa) -> adversarial.TrustModel:
    return adversarial.fit_trust(pool, NOBODY, vectors, SETTINGS, 1)


@pytest.mark.parametrize("style", ["亲，{}赶紧收藏吧！", "{}"])
def test_what_is_spoiled_is_told_from_what_is_not(style: str) -> None:
    pool = made(style, 0.5)
    found = adversarial.fit_trust(pool, NOBODY, encoder(pool), SETTINGS, 1)
    trust = pool.with_columns(found.trust(pool, encoder(pool)))
    assert trust.filter(pl.col("source") == "people")["trust"].eq(1).all()
    rest = trust.filter(pl.col("source") == "crawl")
    assert roc_auc_score(~rest["bad"].to_numpy(), rest["trust"]) > 0.9
    assert rest.filter("bad")["trust"].mean() < 0.2
    assert rest.filter(~pl.col("bad"))["trust"].mean() > 0.7
    assert found.kind.share == pytest.approx(0.5, abs=0.1)
    assert 1 < found.rounds <= SETTINGS.trust_rounds
    assert 0 < found.joined < rest.height


def test_a_rest_that_is_no_worse_is_trusted_in_any_number_of_rounds() -> None:
    pool = made("{}", 0.0)
    vectors = encoder(pool)
    for rounds in (1, 5):
        settings = SETTINGS.model_copy(update={"trust_rounds": rounds})
        found = adversarial.fit_trust(pool, NOBODY, vectors, settings, 1)
        assert found.kind.share > 0.85
        assert found.auc == pytest.approx(0.5, abs=0.1)
        assert found.trust(pool, vectors).mean() > 0.85


def test_the_same_bytes_whatever_the_order_and_shard_by_shard(
    pool: pl.DataFrame, vectors: Lsa, model: adversarial.TrustModel, tmp_path: Path
) -> None:
    shuffled = pool[np.random.default_rng(5).permutation(pool.height)]
    again = adversarial.fit_trust(shuffled, NOBODY, vectors, SETTINGS, 1)
    for name, one in (("first", model), ("again", again)):
        (tmp_path / name).mkdir()
        one.save(tmp_path / name)
    for name in ("trust.npz", "trust.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    loaded = adversarial.TrustModel.load(tmp_path / "first")
    whole = model.trust(pool, vectors)
    assert loaded.trust(pool, vectors).equals(whole)
    parts = [loaded.trust(pool[start : start + 37], vectors) for start in range(0, pool.height, 37)]
    assert pl.concat(parts).equals(whole)


def test_what_a_person_decided_counts_before_the_source(pool: pl.DataFrame, vectors: Lsa) -> None:
    accepted = pool.filter((pl.col("source") == "crawl") & ~pl.col("bad"))["record_id"][:20]
    rejected = pool.filter(pl.col("source") == "people")["record_id"][:5]
    decisions = pl.DataFrame({"target": [*accepted, *rejected], "decision": ["accept"] * 20 + ["reject"] * 5})
    found = adversarial.fit_trust(pool, decisions, vectors, SETTINGS, 1)
    trust = pool.with_columns(found.trust(pool, vectors))
    assert found.trusted == (pool["source"] == "people").sum() + 15
    assert trust.filter(pl.col("record_id").is_in(accepted.implode()))["trust"].eq(1).all()
    assert trust.filter(pl.col("record_id").is_in(rejected.implode()))["trust"].lt(1).all()


def test_neither_side_takes_the_place_of_the_other(pool: pl.DataFrame, vectors: Lsa) -> None:
    found = adversarial.fit_trust(pool, NOBODY, vectors, SETTINGS.model_copy(update={"train_rows": 160}), 1)
    assert found.trusted == 80
    rest = pool.with_columns(found.trust(pool, vectors)).filter(pl.col("source") == "crawl")
    assert roc_auc_score(~rest["bad"].to_numpy(), rest["trust"]) > 0.8


def test_too_few_are_one_clear_line(pool: pl.DataFrame, vectors: Lsa) -> None:
    for settings, says in (
        (ScoreSettings(trusted_sources=("people",)), "49 trusted samples are too few"),
        (ScoreSettings(trusted_sources=("peple",)), "0 trusted samples are too few"),
        (ScoreSettings(trusted_sources=("crawl",)), "49 samples that are not trusted are too few"),
    ):
        few = pl.concat([pool.filter(pl.col("source") == "people")[:49], pool.filter(pl.col("source") == "crawl")])  # fmt: skip
        with pytest.raises(UserError, match=says) as refused:
            adversarial.fit_trust(few, NOBODY, vectors, settings, 1)
        assert "\n" not in str(refused.value)
