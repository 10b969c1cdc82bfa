"""The stages of the scores on a small pool, with every kind of reward model."""

import json
from itertools import product
from pathlib import Path

import polars as pl
import pytest

import assets
from assets.stage import STAGES, Run
from curation import schemas
from curation.records import digest
from curation.scores import adversarial
from curation.scores.language_model import train_tokenizer
from curation.settings import LanguageModelSettings, Profile, ScoreSettings, ScoresProfile
from resources.lake import Lake

CITIES = ("北京", "上海", "广州", "成都", "西安", "杭州", "南京", "昆明")
THINGS = ("小吃", "公园", "老街", "博物馆", "茶馆", "夜市", "书店")
RIVERS = "中国最长的河是哪一条？A. 长江 B. 黄河"


class Here(Run):
    """A run that finds what it learned itself."""

    def learned(self, asset: str) -> Path:
        return Path(str(self.lake.artefact(asset, self.run_id)))


class Nobody:
    def decisions(self, kind: str) -> pl.DataFrame:
        return pl.DataFrame(schema={"target": pl.String, "decision": pl.String})


@pytest.fixture(scope="module")
def pool() -> pl.DataFrame:
    rows = [
        (f"{city}有哪些{thing}？", f"{city}的{thing}很多，{thing}里最有名的在{city}老城，早上人少，适合慢慢看。")
        for city, thing in product(CITIES, THINGS)
    ]  # fmt: skip
    rows += [(RIVERS, "答案：A。长江全长约6300千米。"), (RIVERS, "选B，黄河是母亲河。")]
    messages = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": told}] for asked, told in rows
    ]
    return pl.DataFrame(
        {
            "record_id": [digest(*row) for row in rows],
            "source": ["people", "crawl"] * (len(rows) // 2),
            "shard": ["s"] * len(rows),
            "prompt": [asked for asked, _ in rows],
            "answer": [told for _, told in rows],
            "messages": messages,
        }
    )


@pytest.fixture(scope="module")
def named(pool: pl.DataFrame, tmp_path_factory) -> dict[str, str]:
    """A file of pairs, a tiny classifier, and a tiny model that rates."""
    from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("rewards")
    pairs = [
        {"prompt": asked, "chosen": told, "rejected": "不知道。"}
        for asked, told in pool.select("prompt", "answer").rows()
    ]
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(pair) for pair in [*pairs, {}]))
    tokenizer = train_tokenizer(pool["answer"].to_list(), 300)
    tokenizer.chat_template = None
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, **size)
    BertForSequenceClassification(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder / "rater")
    tokenizer.save_pretrained(folder / "rater")
    rater = str(folder / "rater")
    return {
        "preferences": str(folder / "pairs.jsonl"),
        "reward_model": str(folder / "model"),
        "complexity_scorer": rater,
        "quality_scorer": rater,
    }


def made_by(
    settings: ScoreSettings, pool: pl.DataFrame, folder: Path, tuned: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame, dict]:
    """The scores and the quality model of a pool, and what was noted of the latter."""
    assets.load()
    small = LanguageModelSettings(vocabulary=300, hidden=16, layers=1, heads=2, max_steps=3)
    profile = Profile(
        name="test",
        lake=str(folder),
        sources=(),
        scores=ScoresProfile(language_model=small, quality=settings),
    )
    lake, tables = Lake(root=str(folder)), {"sft_pool": pool.lazy()}
    for name in ("language_model", "quality_model", "scores"):
        run = Here("0" * 32, 1, profile, lake, name)
        shard = "s" if name == "scores" else None
        frames = {one: tables[one] for one in STAGES[name].loaded}
        made = STAGES[name].execute(shard, frames, run, {"reviews": Nobody()})
        tables[name] = made.lazy()
        made = schemas.conform(name, made.with_columns(run_id=pl.lit("0" * 32)))
        if name == "quality_model":
            learned, notes = made, run.notes
            checkpoint = run.artefact / "reward.safetensors"
            assert checkpoint.exists() == tuned
            for call in run.afterwards:
                call()
            assert not checkpoint.exists()
    return made, learned, notes


@pytest.mark.parametrize(
    "given",
    [
        (),
        ("preferences",),
        ("reward_model",),
        ("preferences", "reward_model"),
        ("complexity_scorer", "quality_scorer"),
    ],
    ids=str,
)
def test_the_reward_is_a_score_with_its_share_in_the_quality(given, pool, named, tmp_path) -> None:
    settings = ScoreSettings(
        made_up=20, folds=2, reward_epochs=1, reward_tokens=64, **{name: named[name] for name in given}
    )
    made, learned, notes = made_by(settings, pool, tmp_path, given == ("preferences", "reward_model"))
    contradicted = made.filter(pl.col("conflicts_with").is_not_null())
    assert set(contradicted["record_id"]) == set(pool.tail(2)["record_id"])
    assert notes["contradicted_samples"] == 2
    assert 0 <= notes["doubted_share_by_confident_learning"] < 0.5
    rewarded = bool({"preferences", "reward_model"} & set(given))
    assert made["reward"].null_count() == (0 if rewarded else made.height)
    assert notes["weights_of_quality"]["reward"] == pytest.approx(settings.reward_weight if rewarded else 0)
    assert made["evol"].null_count() == (0 if "quality_scorer" in given else made.height)
    assert ((made["complexity"] * made["answer_quality"] - made["evol"]).fill_null(0).abs() < 1e-9).all()
    assert ("reward" in learned["model"].to_list()) == (given == ("preferences",))
    assert ("preferred_pairs" in notes) == ("preferences" in given)
    if "preferences" in given:
        assert (notes["preferred_pairs"], notes["lines_that_are_no_pair"]) == (len(pool), 1)
    assert (tmp_path / "_losses").exists()


def test_trusted_sources_tell_the_rest_from_them_and_change_nothing_else(pool, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(adversarial, "_FEWEST", 20)
    off = ScoreSettings(made_up=20, folds=2, false_positive_rate=0)
    on = off.model_copy(update={"trusted_sources": ("people",)})
    strict = on.model_copy(update={"min_trust": 1.0})
    plain, (measured, _, notes), (judged, *_) = (
        made_by(off, pool, tmp_path / "off")[0],
        made_by(on, pool, tmp_path / "on"),
        made_by(strict, pool, tmp_path / "strict"),
    )
    assert plain["trust"].null_count() == pool.height
    assert "trust" not in plain["evidence"][0]
    assert measured.drop("trust", "evidence").equals(plain.drop("trust", "evidence"))
    assert notes["trusted_samples"] == (pool["source"] == "people").sum()
    trusted = measured["record_id"].is_in(pool.filter(pl.col("source") == "people")["record_id"].implode())
    assert measured.filter(trusted)["trust"].eq(1).all()
    assert measured.filter(~trusted)["trust"].is_between(0, 1, closed="left").all()
    assert judged.filter(~trusted)["reason"].eq("untrusted").all()
    assert (judged.filter(trusted)["verdict"] == "kept").all()
    told = json.loads(judged.filter(~trusted)["evidence"][0])
    assert told["trust"] == judged.filter(~trusted)["trust"][0]
    assert told["limits"]["min_trust"] == 1.0
