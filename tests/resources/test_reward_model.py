"""Sequence classifiers of transformers as reward models: loaded, refused, fine-tuned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation.errors import UserError
from curation.scores import snapshots
from curation.scores.classifier import Classifier, fine_tuned
from curation.scores.language_model import ASSISTANT, USER, train_tokenizer
from curation.scores.reward import prompt_folds
from curation.settings import ScoreSettings
from resources.lake import Lake
from resources.reward_model import load_classifier, read_preferences, reward_once, save_classifier

TEXTS = ["今天天气很好，我们去公园吧。", "怎么做番茄炒蛋？", "鸡蛋打散，番茄翻炒。", "很抱歉，我不知道。"]
CHAT = "{% for m in messages %}" + f"{{{{ '{USER}' if m['role'] == 'user' else '{ASSISTANT}' }}}}" + "{{ m['content'] }}{% endfor %}"  # fmt: skip
PROMPTS = pl.Series([f"第{number}道菜怎么做？" for number in range(60)])


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 300)


def save(folder: Path, kind: str, tokenizer, labels: int = 1, chat: str | None = None) -> str:
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        DebertaV2Config,
        DebertaV2ForSequenceClassification,
        Qwen2Config,
        Qwen2ForSequenceClassification,
    )

    size = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    size |= {"num_attention_heads": 2, "max_position_embeddings": 96, "num_labels": labels}
    kinds = {
        "bert": (BertConfig, BertForSequenceClassification, {}),
        "deberta": (DebertaV2Config, DebertaV2ForSequenceClassification, {}),
        "qwen2": (Qwen2Config, Qwen2ForSequenceClassification, {"num_key_value_heads": 2}),
    }
    config, network, more = kinds[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network(config(**size, **more, initializer_range=0.2)).save_pretrained(folder)
    template, tokenizer.chat_template = tokenizer.chat_template, chat
    tokenizer.save_pretrained(folder)
    tokenizer.chat_template = template
    return str(folder)


@pytest.mark.parametrize("kind", ["bert", "deberta", "qwen2"])
@pytest.mark.parametrize("labels", [1, 2, 5])
def test_a_loaded_model_says_what_transformers_says(kind, labels, tokenizer, tmp_path) -> None:
    import torch

    found = load_classifier(save(tmp_path, kind, tokenizer, labels), 64)
    asked, told = pl.Series([TEXTS[1]] * 3), pl.Series(["很好", TEXTS[2], ""])
    reward = found.reward(asked, told, batch_tokens=40)
    for row in range(3):
        ids = found.tokenizer(asked[row], told[row])["input_ids"]
        with torch.no_grad():
            logits = found.model(torch.tensor([ids])).logits[0].double()
        places = torch.arange(labels).double()
        expected = logits[0] if labels == 1 else logits[1] - logits[0] if labels == 2 else logits.softmax(-1) @ places  # fmt: skip
        assert reward[row] == pytest.approx(float(expected), abs=1e-4)
    np.testing.assert_allclose(found.reward(asked, told), reward, atol=1e-5)


def test_the_chat_template_is_honoured(tokenizer, tmp_path) -> None:
    found = load_classifier(save(tmp_path, "qwen2", tokenizer, chat=CHAT), 64)
    (ids,) = found.encode(pl.Series(["怎么做？"]), pl.Series(["翻炒。"]))
    assert found.tokenizer.decode(ids) == f"{USER}怎么做？{ASSISTANT}翻炒。"


@pytest.mark.parametrize("spoil", ["nothing there", "torn", "pickled only", "code of its own"])
def test_what_cannot_be_loaded_is_one_clear_line(spoil, tokenizer, tmp_path) -> None:
    import json

    folder = tmp_path / "model"
    if spoil != "nothing there":
        save(folder, "bert", tokenizer)
        weights = folder / "model.safetensors"
        if spoil == "torn":
            weights.write_bytes(weights.read_bytes()[:500])
        elif spoil == "pickled only":
            weights.rename(folder / "pytorch_model.bin")
        else:
            config = json.loads((folder / "config.json").read_text())
            config |= {"model_type": "own", "auto_map": {"AutoModelForSequenceClassification": "own.Model"}}
            (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot load the reward model") as refused:
        load_classifier(str(folder), 64)
    assert "\n" not in str(refused.value)


def pairs() -> pl.DataFrame:
    chosen = [f"先备料，再翻炒{number}分钟，最后调味。" for number in range(60)]
    return pl.DataFrame({"prompt": PROMPTS, "chosen": chosen, "rejected": ["很抱歉，我不知道。"] * 60})


def by_chance() -> pl.DataFrame:
    even = pl.int_range(60) % 2 == 0
    return pairs().with_columns(
        chosen=pl.when(even).then("chosen").otherwise("rejected"),
        rejected=pl.when(even).then("rejected").otherwise("chosen"),
    )


def test_fine_tuning_learns_what_is_preferred_and_is_saved(tokenizer, tmp_path) -> None:
    base = load_classifier(save(tmp_path / "base", "bert", tokenizer), 64)
    settings = ScoreSettings(reward_epochs=4, reward_learning_rate=5e-3, reward_batch=8)
    tuned, accuracy = fine_tuned(base, pairs(), settings, 1)
    assert accuracy == 1.0
    again, _ = fine_tuned(base, pairs(), settings, 1)
    told = pl.Series(["很抱歉，我不知道。", "先备料，再翻炒7分钟，最后调味。"])
    asked = pl.Series(["这道菜怎么做？"] * 2)
    low, high = tuned.reward(asked, told)
    assert high > low
    assert np.array_equal(again.reward(asked, told), [low, high])
    save_classifier(tuned, tmp_path / "tuned")
    loaded = load_classifier(str(tmp_path / "tuned"), 64)
    np.testing.assert_allclose(loaded.reward(asked, told), [low, high], rtol=1e-5)
    assert loaded.scale == tuned.scale
    with pytest.raises(UserError, match="too few"):
        fine_tuned(base, pairs().head(3), settings, 1)


def test_the_weights_that_are_best_on_held_out_questions_are_kept(tokenizer, tmp_path) -> None:
    base = load_classifier(save(tmp_path / "base", "bert", tokenizer), 64)
    wild = ScoreSettings(reward_epochs=2, reward_learning_rate=1.0, reward_batch=8)
    tuned, _ = fine_tuned(base, by_chance(), wild, 1)
    held = by_chance().filter(prompt_folds(PROMPTS, 10) == 0)
    first, last = (
        np.logaddexp(0, one.reward(held["prompt"], held["rejected"]) - one.reward(held["prompt"], held["chosen"])).mean()
        for one in (base, replace(tuned, scale=1.0))
    )  # fmt: skip
    assert last <= first + 1e-6


class Killed(Exception):
    pass


@pytest.mark.parametrize(("told", "rate", "looks"), [(pairs, 5e-3, 1), (pairs, 5e-3, 4), (by_chance, 1.0, 2)])
def test_a_killed_fine_tuning_goes_on_as_if_nothing_had_been(
    told, rate, looks, tokenizer, tmp_path, monkeypatch
) -> None:
    import torch

    base = load_classifier(save(tmp_path / "base", "bert", tokenizer), 64)
    settings = ScoreSettings(reward_epochs=2, reward_learning_rate=rate, reward_batch=4)
    keep, steps = snapshots.keep, []

    def counted(*given) -> None:
        keep(*given)
        steps.append(given[3]["step"])

    def killed(*given) -> None:
        counted(*given)
        if len(steps) == looks:
            raise Killed

    monkeypatch.setattr(snapshots, "keep", counted)
    whole, accuracy = fine_tuned(base, told(), settings, 1, tmp_path / "whole.safetensors")
    looked_at = steps.copy()
    steps.clear()
    monkeypatch.setattr(snapshots, "keep", killed)
    with pytest.raises(Killed):
        fine_tuned(base, told(), settings, 1, tmp_path / "killed.safetensors")
    with torch.random.fork_rng():
        torch.manual_seed(99)  # another process has other random numbers
        resumed, again = fine_tuned(base, told(), settings, 1, tmp_path / "killed.safetensors")
    assert steps == looked_at, "it goes on behind the last look, and ends where it would have ended"
    assert (len(steps) == 4) == (told is by_chance), "what gains nothing more ends early"
    assert (resumed.scale, again) == (whole.scale, accuracy)
    theirs = resumed.model.state_dict()
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, theirs[name]), name


def test_the_checkpoint_of_another_training_is_passed_over(tokenizer, tmp_path) -> None:
    base = load_classifier(save(tmp_path / "base", "bert", tokenizer), 64)
    settings = ScoreSettings(reward_epochs=1, reward_learning_rate=5e-3, reward_batch=8)
    told = pl.Series(["先备料，再翻炒7分钟，最后调味。"])
    file = tmp_path / "reward.safetensors"
    fine_tuned(base, pairs(), settings, 1, file)
    alone = fine_tuned(base, pairs(), settings, 2)[0].reward(PROMPTS[:1], told)
    assert fine_tuned(base, pairs(), settings, 2, file)[0].reward(PROMPTS[:1], told) == alone
    file.write_bytes(file.read_bytes()[:300])
    assert fine_tuned(base, pairs(), settings, 2, file)[0].reward(PROMPTS[:1], told) == alone


def test_an_answer_is_rewarded_once(tokenizer, tmp_path, monkeypatch) -> None:
    model = load_classifier(save(tmp_path / "m", "bert", tokenizer), 64)
    lake, asked = Lake(root=str(tmp_path / "lake")), []
    reward = Classifier.reward
    monkeypatch.setattr(
        Classifier, "reward", lambda self, prompts, told: asked.extend(told) or reward(self, prompts, told)
    )
    first = reward_once(model, pl.Series(["问", "问"]), pl.Series(["甲", "乙"]), lake)
    second = reward_once(model, pl.Series(["问", "问"]), pl.Series(["乙", "丙"]), lake)
    assert asked == ["甲", "乙", "丙"]
    assert second[0] == first[1]


def test_pairs_are_read_and_what_is_none_is_counted(tmp_path) -> None:
    file = tmp_path / "pairs.jsonl"
    good = '{"prompt": "问", "chosen": "好\u2028答", "rejected": "坏答", "kind": "human"}'
    file.write_text("\n".join([good, "", "{", "[1]", '{"prompt": "问", "chosen": "同", "rejected": "同"}']), encoding="utf-8")  # fmt: skip
    found, spoilt = read_preferences(str(file))
    assert found.rows() == [("问", "好\u2028答", "坏答")]
    assert spoilt == 3
    with pytest.raises(UserError, match="cannot be read"):
        read_preferences(str(tmp_path / "none.jsonl"))
