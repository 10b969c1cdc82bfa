"""The small language model: tokens, training, scores."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import progress
from curation.scores import language_model as lm
from curation.settings import LanguageModelSettings

TINY = LanguageModelSettings(
    vocabulary=400, hidden=32, layers=2, heads=2, max_steps=200, max_epochs=40, batch_tokens=256, max_tokens=48, heldout_rows=8, threads=1, learning_rate=0.02
)  # fmt: skip
DISHES = {
    "红烧肉": "五花肉切块，小火慢炖",
    "番茄炒蛋": "鸡蛋打散，番茄翻炒",
    "凉拌黄瓜": "黄瓜拍碎，淋上香醋",
    "清蒸鱼": "鲈鱼洗净，上锅蒸熟",
}
ASKED = ("怎么做{}？", "请教我做{}。", "{}的做法是什么？", "我想学{}，步骤呢？", "说说{}怎么烧")
TOLD = ("{}。", "{}就好。", "先{}，再装盘。", "{}，最后撒葱花。", "很简单：{}！")
PROMPTS = [asked.format(dish) for dish in DISHES for asked in ASKED for _ in TOLD]
ANSWERS = [told.format(how) for how in DISHES.values() for _ in ASKED for told in TOLD]


@pytest.fixture(scope="module")
def model() -> lm.LanguageModel:
    return lm.train_language_model(PROMPTS, ANSWERS, TINY, seed=7)


def scores(
    model: lm.LanguageModel, prompts: list, answers: list, given: LanguageModelSettings = TINY
) -> pl.DataFrame:
    series = (pl.Series(texts, dtype=pl.String) for texts in (prompts, answers))
    return lm.score_answers(model, *series, given)


def one_by_one(model: lm.LanguageModel, prompt: str, answer: str) -> tuple[float, float, float]:
    """Loss with and without the prompt and the entropy, by the whole model and torch's own functions."""
    import torch

    def ids(text: str) -> list[int]:
        return model.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids

    def special(name: str) -> int:
        return model.tokenizer.convert_tokens_to_ids(name)

    wanted = torch.tensor(ids(answer))
    found = []
    with_prompt = [special(lm.BOS), special(lm.USER), *ids(prompt), special(lm.ASSISTANT)]
    for before in (with_prompt, [special(lm.BOS)]):
        with torch.no_grad():
            logits = model.model(torch.tensor([before + wanted.tolist()])).logits[0, len(before) - 1 : -1]
        found.append(torch.nn.functional.cross_entropy(logits, wanted).item())
        if len(found) == 1:
            entropy = torch.distributions.Categorical(logits=logits).entropy().mean().item()
    return found[0], found[1], entropy


# -- tokens -------------------------------------------------------------------------------------


@given(st.text())
@settings(deadline=None, max_examples=50)
def test_every_text_can_be_encoded_and_comes_back(model: lm.LanguageModel, text: str) -> None:
    (ids,) = lm._encode(model.tokenizer, [text])
    assert model.tokenizer.backend_tokenizer.decode(ids.tolist()) == text
    assert all(ids > 3), "special tokens must not come from text"


def test_a_text_cannot_write_special_tokens(model: lm.LanguageModel) -> None:
    (ids,) = lm._encode(model.tokenizer, [f"你好{lm.ASSISTANT}{lm.EOS}"])
    special = set(model.tokenizer.convert_tokens_to_ids([lm.BOS, lm.EOS, lm.USER, lm.ASSISTANT]))
    assert len(special) == 4
    assert not special & set(ids.tolist())


@given(st.integers(0, 60), st.integers(0, 60), st.integers(2, 40))
def test_cutting_keeps_the_prompts_tail_and_the_answers_beginning(
    prompt: int, answer: int, room: int
) -> None:
    given_prompt, given_answer = np.arange(prompt, dtype=np.int32), np.arange(answer, dtype=np.int32)
    kept_prompt, kept_answer = lm._cut(given_prompt, given_answer, room)
    assert len(kept_prompt) + len(kept_answer) == min(room, prompt + answer)
    assert kept_prompt.tolist() == given_prompt[prompt - len(kept_prompt) :].tolist()
    assert kept_answer.tolist() == given_answer[: len(kept_answer)].tolist()
    assert len(kept_answer) >= min(answer, room - room // 2)
    assert len(kept_prompt) >= min(prompt, room // 2, room - min(answer, room - room // 2))


# -- training -----------------------------------------------------------------------------------


def test_training_learns_and_its_curve_says_so(model: lm.LanguageModel) -> None:
    curve = model.curve
    assert curve.columns == ["step", "loss", "heldout_loss", "tokens"]
    assert curve.height == 10
    assert curve["step"].is_sorted()
    assert curve["tokens"].is_sorted()
    assert curve["heldout_loss"][-1] < 0.5 * curve["heldout_loss"][0] < math.log(len(model.tokenizer))
    assert curve["tokens"][-1] == pytest.approx(200 * 256, rel=0.02)


def test_the_same_seed_gives_the_same_bytes(tmp_path) -> None:
    short = TINY.model_copy(update={"max_steps": 8})
    first, again = (lm.train_language_model(PROMPTS, ANSWERS, short, seed=7) for _ in range(2))
    first.save(tmp_path / "a")
    again.save(tmp_path / "b")
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(names)
    assert not [name for name in names if not name.endswith((".json", ".safetensors", ".jinja"))]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert again.curve.equals(first.curve)


def test_another_seed_gives_another_model(model: lm.LanguageModel) -> None:
    short = TINY.model_copy(update={"max_steps": 2})
    first, second = (lm.train_language_model(PROMPTS, ANSWERS, short, seed=seed) for seed in (1, 2))
    assert first.curve["loss"][-1] != second.curve["loss"][-1]


def test_training_leaves_the_global_state_alone() -> None:
    import torch

    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    lm.train_language_model(PROMPTS[:10], ANSWERS[:10], TINY.model_copy(update={"max_steps": 1}), seed=0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_samples_are_enough(rows: int) -> None:
    short = TINY.model_copy(update={"max_steps": 2})
    model = lm.train_language_model(PROMPTS[:rows], ANSWERS[:rows], short, seed=0)
    assert (model.curve.height > 0) == (rows > 0)
    assert scores(model, ["问"], ["答"])["ppl"][0] > 1


def test_no_sample_is_read_more_often_than_allowed() -> None:
    model = lm.train_language_model(PROMPTS, ANSWERS, TINY.model_copy(update={"max_epochs": 1}), seed=0)
    read = sum(len(ids) for texts in (PROMPTS, ANSWERS) for ids in lm._encode(model.tokenizer, texts))
    assert 0.7 * read < model.curve["tokens"][-1] < read + 2 * 256


def test_samples_of_the_same_kind_train_a_better_model_than_others(model: lm.LanguageModel) -> None:
    held = PROMPTS[::7], ANSWERS[::7]
    same = lm.train_on(model.tokenizer, PROMPTS, ANSWERS, *held, TINY, 24, seed=3)
    noise = ["".join(reversed(text)) for text in PROMPTS], ["".join(reversed(text)) for text in ANSWERS]
    other = lm.train_on(model.tokenizer, *noise, *held, TINY, 24, seed=3)
    assert same < other
    assert same == lm.train_on(model.tokenizer, PROMPTS, ANSWERS, *held, TINY, 24, seed=3)
    assert math.isnan(lm.train_on(model.tokenizer, PROMPTS, ANSWERS, [], [], TINY, 1, seed=3))


def test_progress_is_told() -> None:
    heard = []
    with progress.listen(lambda what, done, total: heard.append((what, done, total))):
        model = lm.train_language_model(PROMPTS, ANSWERS, TINY.model_copy(update={"max_steps": 2}), seed=0)
        scores(model, PROMPTS[:3], ANSWERS[:3])
    assert ("tokens trained on", 512, 512) in heard
    assert heard[-1] == ("answers scored", 6, 6)


# -- scoring ------------------------------------------------------------------------------------


def test_scores_are_those_of_the_whole_model_one_by_one(model: lm.LanguageModel) -> None:
    prompts = ["怎么做清蒸鱼？", "", "Hello, 世界 🙂", "请" * 8]
    answers = ["鲈鱼洗净，上锅蒸熟。", "好", "番茄翻炒", "黄瓜拍碎" * 3]
    found = scores(model, prompts, answers)
    for row, prompt, answer in zip(found.iter_rows(named=True), prompts, answers, strict=True):
        conditional, alone, entropy = one_by_one(model, prompt, answer)
        assert row["loss_conditional"] == pytest.approx(conditional, abs=1e-5)
        assert row["loss_alone"] == pytest.approx(alone, abs=1e-5)
        assert row["entropy"] == pytest.approx(entropy, abs=1e-5)
        assert row["ppl"] == pytest.approx(math.exp(conditional), rel=1e-4)
        assert row["ifd"] == pytest.approx(conditional / alone, abs=1e-5)
        assert row["ifd_ppl"] == pytest.approx(math.exp(conditional - alone), abs=1e-4)


def test_the_right_prompt_helps_and_a_wrong_one_does_not(model: lm.LanguageModel) -> None:
    right = scores(model, PROMPTS, ANSWERS)
    shifted = PROMPTS[50:] + PROMPTS[:50]
    wrong = scores(model, shifted, ANSWERS)
    assert right["ifd"].mean() < 0.9
    assert (right["ifd"] < wrong["ifd"]).mean() > 0.8


@given(st.permutations(range(12)), st.sampled_from([64, 200, 5000]))
@settings(deadline=None, max_examples=15)
def test_neither_order_nor_batches_change_a_score(
    model: lm.LanguageModel, order: list[int], batch: int
) -> None:
    prompts, answers = PROMPTS[::9][:12], ANSWERS[::9][:12]
    expected = scores(model, prompts, answers)
    shuffled = scores(
        model,
        [prompts[row] for row in order],
        [answers[row] for row in order],
        TINY.model_copy(update={"batch_tokens": batch}),
    )
    assert np.allclose(shuffled.to_numpy(), expected[order].to_numpy(), rtol=1e-5, atol=1e-5)
    same_batches = scores(model, [prompts[row] for row in order], [answers[row] for row in order])
    assert same_batches.equals(expected[order])


def test_an_answer_without_tokens_has_no_score(model: lm.LanguageModel) -> None:
    found = scores(model, ["问", None, "问", "问"], ["", "答", None, " "])
    assert found.columns == ["loss_conditional", "loss_alone", "ppl", "ifd", "ifd_ppl", "entropy"]
    assert found["ppl"].is_null().to_list() == [True, False, True, False]
    assert found.null_count().row(0) == (2,) * 6
    assert set(found.dtypes) == {pl.Float64}


def test_an_empty_frame_gives_an_empty_frame(model: lm.LanguageModel) -> None:
    found = scores(model, [], [])
    assert found.shape == (0, 6)
    assert set(found.dtypes) == {pl.Float64}


def test_long_samples_are_cut_the_same_way_with_and_without_the_prompt(model: lm.LanguageModel) -> None:
    short = scores(model, ["做" * 24], ["炒" * 24])
    (asked,), (told,) = (lm._encode(model.tokenizer, [text]) for text in ("做" * 24, "炒" * 24))
    long = scores(model, ["怎" * 90 + "做" * 200], ["炒" * 200])
    if len(asked) == len(told) == 24:
        assert long.equals(short)
    assert long["loss_alone"][0] == pytest.approx(
        scores(model, ["做" * 200], ["炒" * 200])["loss_alone"][0], abs=1e-6
    )


def test_a_saved_model_scores_the_same(model: lm.LanguageModel, tmp_path) -> None:
    model.save(tmp_path / "model")
    loaded = lm.load(tmp_path / "model")
    expected = scores(model, PROMPTS[:20], ANSWERS[:20])
    assert scores(loaded, PROMPTS[:20], ANSWERS[:20]).equals(expected)
    assert loaded.curve.is_empty()


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="twice the heads"):
        LanguageModelSettings(hidden=36, heads=4)
