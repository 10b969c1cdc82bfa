"""The small language model: tokens, training, scores."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import progress
from curation.scores import causal
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
def model() -> causal.LanguageModel:
    return lm.train_language_model(PROMPTS, ANSWERS, TINY, seed=7)


def scores(
    model: causal.LanguageModel, prompts: list, answers: list, given: LanguageModelSettings = TINY
) -> pl.DataFrame:
    series = (pl.Series(texts, dtype=pl.String) for texts in (prompts, answers))
    return lm.score_answers(model, *series, given)


def one_by_one(model: causal.LanguageModel, prompt: str, answer: str) -> tuple[float, float, float]:
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
def test_every_text_can_be_encoded_and_comes_back(model: causal.LanguageModel, text: str) -> None:
    (ids,) = causal.encode(model.tokenizer, [text])
    assert model.tokenizer.backend_tokenizer.decode(ids.tolist()) == text
    assert all(ids > 3), "special tokens must not come from text"


def test_a_text_cannot_write_special_tokens(model: causal.LanguageModel) -> None:
    (ids,) = causal.encode(model.tokenizer, [f"你好{lm.ASSISTANT}{lm.EOS}"])
    special = set(model.tokenizer.convert_tokens_to_ids([lm.BOS, lm.EOS, lm.USER, lm.ASSISTANT]))
    assert len(special) == 4
    assert not special & set(ids.tolist())


# -- training -----------------------------------------------------------------------------------


def test_training_learns_and_its_curve_says_so(model: causal.LanguageModel) -> None:
    curve = model.curve
    assert curve.columns == ["step", "loss", "heldout_loss", "tokens"]
    assert curve.height == 10
    assert curve["step"].is_sorted()
    assert curve["tokens"].is_sorted()
    assert curve["heldout_loss"][-1] < 0.5 * curve["heldout_loss"][0] < math.log(len(model.tokenizer))
    assert curve["tokens"][-1] == pytest.approx(200 * 256, rel=0.02)


def same_folder(one, other) -> None:
    names = sorted(file.name for file in one.iterdir())
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(names)
    assert not [name for name in names if not name.endswith((".json", ".safetensors", ".jinja"))]
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize("more", [{}, {"dropout": 0.2}])
def test_neither_a_second_time_nor_more_threads_change_a_byte(tmp_path, more) -> None:
    short = TINY.model_copy(update={"max_steps": 8, **more})
    first = lm.train_language_model(PROMPTS, ANSWERS, short, seed=7)
    again = lm.train_language_model(PROMPTS, ANSWERS, short.model_copy(update={"threads": 3}), seed=7)
    first.save(tmp_path / "a")
    again.save(tmp_path / "b")
    same_folder(tmp_path / "a", tmp_path / "b")
    assert again.curve.equals(first.curve)


class Killed(Exception):
    pass


def test_a_training_that_was_killed_goes_on_where_it_stopped(tmp_path) -> None:
    short, file = TINY.model_copy(update={"max_steps": 60}), tmp_path / "at" / "training.safetensors"
    whole = lm.train_language_model(PROMPTS, ANSWERS, short, seed=7)
    budget, told = 60 * 256, []

    def kill(what: str, done: int, total: int | None) -> None:
        if what == "tokens trained on":
            told.append(done)
            if done > 0.7 * budget:
                raise Killed

    with progress.listen(kill), pytest.raises(Killed):
        lm.train_language_model(PROMPTS, ANSWERS, short, seed=7, checkpoint=file)
    told.clear()
    with progress.listen(lambda what, done, total: told.append(done) if "trained" in what else None):
        resumed = lm.train_language_model(PROMPTS, ANSWERS, short, seed=7, checkpoint=file)
    assert told[0] > 0.5 * budget, "it began again"
    assert resumed.curve.equals(whole.curve)
    whole.save(tmp_path / "whole")
    resumed.save(tmp_path / "resumed")
    same_folder(tmp_path / "whole", tmp_path / "resumed")


@pytest.mark.parametrize("spoil", ["torn", "of another training"])
def test_a_checkpoint_that_does_not_belong_is_passed_over(tmp_path, spoil) -> None:
    short, file = TINY.model_copy(update={"max_steps": 4}), tmp_path / "training.safetensors"
    whole = lm.train_language_model(PROMPTS, ANSWERS, short, seed=7)
    lm.train_language_model(PROMPTS, ANSWERS, short, seed=7 if spoil == "torn" else 8, checkpoint=file)
    if spoil == "torn":
        file.write_bytes(file.read_bytes()[:1000])
    again = lm.train_language_model(PROMPTS, ANSWERS, short, seed=7, checkpoint=file)
    assert again.curve.equals(whole.curve)


def test_the_time_that_training_may_take_bounds_what_it_reads() -> None:
    quick = TINY.model_copy(update={"max_seconds": 0.005})
    read = lm.train_language_model(PROMPTS, ANSWERS, quick, seed=0).curve["tokens"][-1]
    longer = quick.model_copy(update={"max_seconds": 0.02})
    assert 3 < lm.train_language_model(PROMPTS, ANSWERS, longer, seed=0).curve["tokens"][-1] / read < 5


def test_another_seed_gives_another_model(model: causal.LanguageModel) -> None:
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
    read = sum(len(ids) for texts in (PROMPTS, ANSWERS) for ids in causal.encode(model.tokenizer, texts))
    assert 0.7 * read < model.curve["tokens"][-1] < read + 2 * 256


def test_progress_is_told() -> None:
    heard = []
    with progress.listen(lambda what, done, total: heard.append((what, done, total))):
        model = lm.train_language_model(PROMPTS, ANSWERS, TINY.model_copy(update={"max_steps": 2}), seed=0)
        scores(model, PROMPTS[:3], ANSWERS[:3])
    assert ("tokens trained on", 512, 512) in heard
    assert heard[-1] == ("sequences scored", 6, 6)


# -- scoring ------------------------------------------------------------------------------------


def test_scores_are_those_of_the_whole_model_one_by_one(model: causal.LanguageModel) -> None:
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


def test_copies_and_threads_change_no_bit(model: causal.LanguageModel) -> None:
    prompts, answers = PROMPTS[::3], ANSWERS[::3]
    expected = scores(model, prompts, answers)
    threads = scores(model, prompts, answers, TINY.model_copy(update={"threads": 3}))
    assert threads.equals(expected)
    twice = scores(model, prompts * 2, answers * 2)
    assert twice.equals(pl.concat([expected, expected]))


def by_hand(probabilities: dict[str, float], vocabulary: int, tokenizer) -> causal.LanguageModel:  # type: ignore[no-untyped-def]
    """A model without layers that predicts the same, whatever it has read: its logits can be set by hand."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=8, intermediate_size=8, num_hidden_layers=0, num_attention_heads=1, rms_norm_eps=1e-12
    )  # fmt: skip
    network = LlamaForCausalLM(config)
    with torch.no_grad():
        network.model.embed_tokens.weight.zero_()
        network.lm_head.weight.zero_()
        # a token sees itself only: after USER's prompt comes ASSISTANT, after which these are likely
        for place, before in enumerate((lm.ASSISTANT, lm.BOS)):
            network.model.embed_tokens.weight[tokenizer.convert_tokens_to_ids(before), place] = 1
            for text, probability in probabilities[before].items():  # type: ignore[attr-defined]
                (ids,) = causal.encode(tokenizer, [text])
                assert len(ids) == 1
                # RMSNorm makes the one that is there the square root of the width
                network.lm_head.weight[ids[0], place] = math.log(probability) / math.sqrt(8)
    return causal.adopt(network, tokenizer)


def test_an_example_by_hand(model: causal.LanguageModel) -> None:
    """After the prompt the answer a has logit ln 40 and b ln 20, all others 0; alone a has ln 10."""
    tokenizer = model.tokenizer
    size = len(tokenizer)
    given_logits = {lm.ASSISTANT: {"a": 40.0, "b": 20.0}, lm.BOS: {"a": 10.0}}
    found = scores(by_hand(given_logits, size, tokenizer), ["q"], ["a"]).row(0, named=True)
    total, alone = 40 + 20 + size - 2, 10 + size - 1
    conditional_loss, alone_loss = math.log(total / 40), math.log(alone / 10)
    assert found["loss_conditional"] == pytest.approx(conditional_loss, abs=1e-5)
    assert found["loss_alone"] == pytest.approx(alone_loss, abs=1e-5)
    assert found["ifd"] == pytest.approx(conditional_loss / alone_loss, abs=1e-5)
    assert found["ifd_ppl"] == pytest.approx((total / 40) / (alone / 10), abs=1e-5)
    assert found["ppl"] == pytest.approx(total / 40, rel=1e-5)
    assert found["least_confidence"] == pytest.approx(1 - 40 / total, abs=1e-5)
    assert found["margin"] == pytest.approx(20 / total, abs=1e-5)
    parts = [40 / total, 20 / total, *[1 / total] * (size - 2)]
    assert found["entropy"] == pytest.approx(-sum(p * math.log(p) for p in parts), abs=1e-5)


# -- conversations ------------------------------------------------------------------------------


def conversations(*talks: list[tuple[str, str]]) -> pl.DataFrame:
    said = [[{"role": role, "content": content} for role, content in talk] for talk in talks]
    return pl.DataFrame(
        {
            "prompt": [talk[0][1] for talk in talks],
            "answer": [talk[-1][1] for talk in talks],
            "messages": said,
        }
    )


TALK = [
    ("user", "怎么做清蒸鱼？"),
    ("assistant", "鲈鱼洗净。"),
    ("user", "然后呢？"),
    ("assistant", "上锅蒸熟就好"),
]


def test_a_conversation_is_scored_turn_by_turn(model: causal.LanguageModel) -> None:
    found = lm.score_samples(model, conversations(TALK, TALK[:2]), TINY)
    # the trained model has learned single prompts only: all that was said before is one
    prompts = ["怎么做清蒸鱼？", "怎么做清蒸鱼？\n鲈鱼洗净。\n然后呢？"]
    answers = ["鲈鱼洗净。", "上锅蒸熟就好"]
    single = scores(model, prompts, answers)
    lengths = np.array([len(ids) for ids in causal.encode(model.tokenizer, answers)])
    for name in ("loss_conditional", "loss_alone", "entropy", "margin"):
        mean = (single[name].to_numpy() * lengths).sum() / lengths.sum()
        assert found[name][0] == pytest.approx(mean, abs=1e-5)
        assert found[name][1] == pytest.approx(single[name][0], abs=1e-5)
    assert found["ifd"][0] == pytest.approx(found["loss_conditional"][0] / found["loss_alone"][0])


def test_samples_of_one_answer_are_scored_by_prompt_and_answer(model: causal.LanguageModel) -> None:
    samples = conversations(TALK[:2], [("user", "怎么做番茄炒蛋？"), ("assistant", "")]).with_columns(
        messages=pl.Series([None, []], dtype=pl.List(pl.Struct({"role": pl.String, "content": pl.String})))
    )
    found = lm.score_samples(model, samples, TINY)
    assert found.equals(scores(model, samples["prompt"].to_list(), samples["answer"].to_list()))
    assert found["ppl"].is_null().to_list() == [False, True]


# -- disagreement -------------------------------------------------------------------------------


def test_thinned_models_disagree_more_about_what_was_never_learned(model: causal.LanguageModel) -> None:
    thin = TINY.model_copy(update={"dropout": 0.2, "dropout_passes": 4})
    known = scores(model, PROMPTS[::5], ANSWERS[::5], thin)
    odd = ["".join(reversed(text)) for text in ANSWERS[::5]]
    unknown = scores(model, PROMPTS[::5], odd, thin)
    assert known["disagreement"].min() >= 0
    assert unknown["disagreement"].mean() > 1.5 * known["disagreement"].mean()
    assert (unknown["disagreement"] <= unknown["entropy"] + 1).all()


def test_disagreement_is_the_same_in_any_order_and_leaves_the_model_whole(
    model: causal.LanguageModel,
) -> None:
    thin = TINY.model_copy(update={"dropout": 0.2, "dropout_passes": 2})
    before = scores(model, PROMPTS[::9], ANSWERS[::9])
    found = scores(model, PROMPTS[::9], ANSWERS[::9], thin)
    back = scores(model, PROMPTS[::9][::-1], ANSWERS[::9][::-1], thin.model_copy(update={"threads": 2}))
    assert back.reverse().equals(found)
    assert found.drop("disagreement").equals(before.drop("disagreement"))
    assert scores(model, PROMPTS[::9], ANSWERS[::9]).equals(before)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dropout": 0.1, "dropout_passes": 1}, "cannot disagree"),
        ({"dropout_passes": 2}, "needs a dropout"),
        ({"dropout": 0.1, "model": "x"}, "needs dropout_passes"),
        ({"pre_experience": True}, "needs a model"),
    ],
)
def test_settings_without_effect_are_refused(wrong, said) -> None:
    with pytest.raises(ValueError, match=said):
        LanguageModelSettings(**wrong)


def test_the_right_prompt_helps_and_a_wrong_one_does_not(model: causal.LanguageModel) -> None:
    right = scores(model, PROMPTS, ANSWERS)
    shifted = PROMPTS[50:] + PROMPTS[:50]
    wrong = scores(model, shifted, ANSWERS)
    assert right["ifd"].mean() < 0.9
    assert (right["ifd"] < wrong["ifd"]).mean() > 0.8


@given(st.permutations(range(12)), st.sampled_from([64, 200, 5000]))
@settings(deadline=None, max_examples=15)
def test_neither_order_nor_batches_change_a_score(
    model: causal.LanguageModel, order: list[int], batch: int
) -> None:
    prompts, answers = PROMPTS[::9][:12], ANSWERS[::9][:12]
    expected = scores(model, prompts, answers)
    shuffled = scores(
        model,
        [prompts[row] for row in order],
        [answers[row] for row in order],
        TINY.model_copy(update={"scoring_tokens": batch}),
    )
    measured = (
        shuffled.drop("disagreement", "ppl_text").to_numpy(),
        expected.drop("disagreement", "ppl_text")[order].to_numpy(),
    )
    assert np.allclose(*measured, rtol=1e-5, atol=1e-5)
    same_batches = scores(model, [prompts[row] for row in order], [answers[row] for row in order])
    assert same_batches.equals(expected[order])


def test_an_answer_without_tokens_has_no_score(model: causal.LanguageModel) -> None:
    found = scores(model, ["问", None, "问", "问"], ["", "答", None, " "])
    assert found.columns == [
        "loss_conditional", "loss_alone", "ppl", "ifd", "ifd_ppl", "entropy", "least_confidence", "margin", "disagreement", "ppl_text",
    ]  # fmt: skip
    assert found["ppl"].is_null().to_list() == [True, False, True, False]
    assert found.drop("disagreement", "ppl_text").null_count().row(0) == (2,) * 8
    assert set(found.dtypes) == {pl.Float64}


def test_the_perplexity_of_the_whole_text_by_hand(model: causal.LanguageModel) -> None:
    import torch

    prompts, answers = PROMPTS[:3], [*ANSWERS[:2], ""]
    found = scores(model, prompts, answers, TINY.model_copy(update={"whole_text": True}))
    assert found.drop("ppl_text").equals(scores(model, prompts, answers).drop("ppl_text"))
    for row in range(2):
        turn = causal.turns(model, [[("user", prompts[row])]], [answers[row]], 48)[0]
        ids = torch.from_numpy(model.template.conditional(turn).astype(np.int64))[None]
        with torch.inference_mode():
            loss = float(model.model(input_ids=ids, labels=ids).loss)
        assert found["ppl_text"][row] == pytest.approx(math.exp(loss), rel=1e-4)
    assert found["ppl_text"][2] is None


def test_an_empty_frame_gives_an_empty_frame(model: causal.LanguageModel) -> None:
    found = scores(model, [], [])
    assert found.shape == (0, 10)
    assert set(found.dtypes) == {pl.Float64}


def test_long_samples_are_cut_the_same_way_with_and_without_the_prompt(model: causal.LanguageModel) -> None:
    short = scores(model, ["做" * 24], ["炒" * 24])
    (asked,), (told,) = (causal.encode(model.tokenizer, [text]) for text in ("做" * 24, "炒" * 24))
    long = scores(model, ["怎" * 90 + "做" * 200], ["炒" * 200])
    if len(asked) == len(told) == 24:
        assert long.equals(short)
    assert long["loss_alone"][0] == pytest.approx(
        scores(model, ["做" * 200], ["炒" * 200])["loss_alone"][0], abs=1e-6
    )


def test_a_saved_model_scores_the_same(model: causal.LanguageModel, tmp_path) -> None:
    model.save(tmp_path / "model")
    loaded = causal.load(tmp_path / "model")
    expected = scores(model, PROMPTS[:20], ANSWERS[:20])
    assert scores(loaded, PROMPTS[:20], ANSWERS[:20]).equals(expected)
    assert loaded.curve.is_empty()


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="twice the heads"):
        LanguageModelSettings(hidden=36, heads=4)
