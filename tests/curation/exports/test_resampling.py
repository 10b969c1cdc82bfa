"""Resampling: shares by hand, repeats in the files, divergences in the card."""

from __future__ import annotations

import json
from collections import Counter

import polars as pl
import pytest
from pydantic import ValidationError

from curation import schemas
from curation.errors import UserError
from curation.exports.card import card_figures, dataset_card
from curation.exports.formats import sft_files
from curation.exports.resampling import repeats, resampling_figures, wanted_shares
from curation.records import digest
from curation.settings import ExportSettings, Resampling
from curation.verdicts import conservation

HALF = Resampling(by="language", shares={"en": 0.5})


def _samples() -> pl.DataFrame:
    """60 Chinese, 20 English, 10 mixed samples, and one that cannot be trained on."""
    languages = ["zh"] * 60 + ["en"] * 20 + ["mixed"] * 10 + ["en"]
    said = [{"role": "user", "content": "问"}, {"role": "assistant", "content": "答"}]
    return pl.DataFrame(
        {
            "record_id": [digest(str(number)) for number in range(91)],
            "messages": [said] * 90 + [said[:1]],
            "language": languages,
            "source": ["甲"] * 91,
            "task": pl.Series([None] * 91, dtype=pl.String),
        },
        schema_overrides={"messages": schemas.Messages},
    )


def test_values_that_are_not_named_share_what_is_left() -> None:
    group = pl.Series("group", ["zh"] * 6 + ["en"] * 2 + ["mixed"] * 2)
    assert wanted_shares(group, {"en": 0.6}) == pytest.approx({"en": 0.6, "mixed": 0.1, "zh": 0.3})
    assert wanted_shares(group, {"zh": 0.8, "en": 0.2}) == pytest.approx({"en": 0.2, "mixed": 0, "zh": 0.8})
    assert wanted_shares(group[:6], {"zh": 0.4}) == {"zh": 1}


def test_the_files_have_the_distribution() -> None:
    samples = _samples()
    settings = ExportSettings(formats=("openai",), resample=HALF)
    rows, files = sft_files(samples, settings, seed=0)
    assert conservation("judge", samples.lazy(), rows.lazy()).ok
    schemas.conform("sft_files", rows.with_columns(run_id=pl.lit("0" * 32)))
    lines = [json.loads(line)["record_id"] for line in files["sft.openai.jsonl"]]
    language = dict(samples.select("record_id", "language").iter_rows())
    counts = Counter(language[one] for one in lines)
    assert len(lines) == 90
    assert abs(counts["en"] - 45) <= 1
    assert abs(counts["zh"] - 60 / 70 * 45) <= 1
    times = Counter(lines)
    for row in rows.iter_rows(named=True):
        assert times[row["record_id"]] == row["times"]
        if row["verdict"] == "kept":
            assert lines[row["line"]] == row["record_id"]
    # what is repeated comes again after all others
    assert len(set(lines[: len(times)])) == len(times)
    reasons = dict(rows.group_by("reason").len().iter_rows())
    assert reasons["no_answer"] == 1
    assert reasons["over_represented"] == (rows["times"] == 0).sum() - 1
    english = rows.join(samples, on="record_id").filter(pl.col("language") == "en", pl.col("times") > 0)
    noted = json.loads(english["evidence"][0])
    assert (noted["group"], noted["rate"]) == ("en", 2.25)
    again, _ = sft_files(samples.reverse(), settings, seed=0)
    assert again.equals(rows)
    other, _ = sft_files(samples, settings, seed=1)
    assert not other.equals(rows)


def test_the_card_says_how_far_it_came() -> None:
    samples = _samples()
    able = samples[:90].hstack(repeats(samples[:90]["language"].alias("group"), HALF, seed=0))
    figures = resampling_figures(able, HALF)
    assert figures["before.language.en"] == 20
    assert figures["wanted.language.en"] == pytest.approx(45)
    assert figures["kl_after"] < 0.001 < figures["kl_before"]
    assert 0 <= figures["js_after"] < figures["js_before"] < 1
    card = dataset_card("茶", card_figures(samples, {}) | figures, [], {})
    assert "重采样 · Resampling" in card
    assert "up to 3 times" in card
    assert "| en | 20 (22.2%) | 45 (50.0%) |" in card
    assert "重采样" not in dataset_card("茶", card_figures(samples, {}), [], {})


def test_mistakes_are_named() -> None:
    with pytest.raises(ValidationError, match="at most 1"):
        Resampling(by="language", shares={"zh": 0.8, "en": 0.4})
    with pytest.raises(UserError, match="no chosen sample has one of the values fr; there are zh"):
        repeats(pl.Series("group", ["zh"]), Resampling(by="language", shares={"fr": 1.0}), seed=0)


def test_nothing_to_resample() -> None:
    rows, files = sft_files(_samples().clear(), ExportSettings(resample=HALF), seed=0)
    assert rows.height == 0
    assert all(list(lines) == [] for lines in files.values())
