"""Models that rate with a digit: what they are asked, what is read off their answer, what is refused."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation.errors import UserError
from curation.scores import ratings
from curation.scores.language_model import BOS, train_tokenizer
from curation.settings import LanguageModelSettings, ScoreSettings
from resources.lake import Lake
from resources.rating_model import load_rater, rate_once

HOW = LanguageModelSettings(precision="float32", threads=1, scoring_tokens=256)
ASKED = ["怎么做番茄炒蛋？", "请用三句话说明潮汐是怎样形成的。", "Name a river.", ""]
TOLD = ["鸡蛋打散，番茄翻炒。", "月球的引力牵动海水，所以一天涨落两次。", "", "你好"]
TURNS = pl.DataFrame({"instruction": ASKED, "answer": TOLD})
KINDS = ("complexity", "answer_quality")


def tokenizer_of_digits():
    """Byte-level, digits apart, and with a token put before every text, as Llama's has it."""
    from tokenizers.processors import TemplateProcessing

    found = train_tokenizer([*ASKED, *TOLD], 300)
    found.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, found.bos_token_id)]
    )
    found.chat_template = None
    return found


def save(folder: Path, seed: int, tokenizer=None, positions: int = 512) -> str:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer or tokenizer_of_digits()
    config = LlamaConfig(
        vocab_size=max(300, len(tokenizer)), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=positions, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("scorers")
    return {kind: save(folder / kind, seed) for seed, kind in enumerate(KINDS)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_rating_is_the_expected_digit(kind: str, places: dict[str, str]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = load_rater(places[kind], kind, 500, HOW).rate(TURNS, 256)
    model = AutoModelForCausalLM.from_pretrained(places[kind]).eval()
    tokenizer = AutoTokenizer.from_pretrained(places[kind])
    digits = [tokenizer.convert_tokens_to_ids(digit) for digit in "123456"]
    asked = {
        "complexity": "You are a helpful assistant. Please identify the complexity score of the following user query. \n##Query: INSTRUCTION  \n##Complexity: ",
        "answer_quality": "You are a helpful assistant. Please identify the quality score of the Response corresponding to the Question. \n #Question#:\nINSTRUCTION\n#Response#:\nANSWER \n##Quality: ",
    }[kind]
    for row, (instruction, answer) in enumerate(TURNS.iter_rows()):
        ids = tokenizer(asked.replace("INSTRUCTION", instruction).replace("ANSWER", answer))["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].double()
        odds = [float(torch.exp(logits[digit])) for digit in digits]
        expected = sum((place + 1) * one for place, one in enumerate(odds)) / sum(odds)
        assert found[row] == pytest.approx(expected, abs=1e-5)
    assert np.ptp(found) > 0.01, "the texts make a difference"


def test_the_order_of_the_rows_and_the_size_of_a_batch_change_nothing(places: dict[str, str]) -> None:
    model = load_rater(places["answer_quality"], "answer_quality", 500, HOW)
    many = pl.concat([TURNS, TURNS.with_columns(answer="instruction")])
    found = model.rate(many, 600)
    order = np.random.default_rng(0).permutation(many.height)
    assert np.array_equal(model.rate(many[order], 600), found[order])
    assert np.array_equal(model.rate(many, 600, threads=3), found)
    np.testing.assert_allclose(model.rate(many, 64), found, atol=1e-5)


def test_long_texts_are_cut_and_the_prompt_stays_whole(places: dict[str, str]) -> None:
    model = load_rater(places["answer_quality"], "answer_quality", 220, HOW)
    long = pl.DataFrame({"instruction": ["潮" * 90], "answer": ["汐水" * 300]})
    ids = model._fitted(long.row(0, named=True))
    assert 200 < len(ids) <= 220
    text = model.model.tokenizer.decode(ids.tolist())
    before, _, after = ratings.LAYOUTS["answer_quality"].partition("{instruction}")
    assert text.startswith(BOS + before)
    assert text.endswith(after.partition("{answer}")[2])
    instruction, answer = text.count("潮"), text.count("汐") + text.count("水")
    assert instruction > 5
    assert abs(instruction - answer) <= 2, "both give way"
    assert 1 <= model.rate(long)[0] <= 6


def test_a_conversation_gets_the_sum_over_its_turns(places: dict[str, str], tmp_path) -> None:
    said = [
        [("system", "简短些。"), ("user", ASKED[0]), ("assistant", TOLD[0])],
        [("user", ASKED[0]), ("assistant", TOLD[0]), ("user", "谢谢。"), ("user", ASKED[1]), ("assistant", TOLD[1])],
    ]  # fmt: skip
    samples = pl.DataFrame(
        {
            "prompt": [ASKED[0], "全部"],
            "answer": [TOLD[0], TOLD[1]],
            "messages": [[{"role": role, "content": one} for role, one in talk] for talk in said],
        }
    )
    turns = pl.DataFrame({"instruction": [ASKED[0], f"谢谢。\n{ASKED[1]}"], "answer": TOLD[:2]})
    hard, good = (load_rater(places[kind], kind, 500, HOW).rate(turns) for kind in KINDS)
    settings = ScoreSettings(complexity_scorer=places["complexity"], quality_scorer=places["answer_quality"], scorer_tokens=500)  # fmt: skip
    lake = Lake(root=str(tmp_path))
    found = rate_once(samples, settings, HOW, lake)
    assert found.columns == ["complexity", "answer_quality", "evol"]
    np.testing.assert_allclose(found.row(0), [hard[0], good[0], hard[0] * good[0]], atol=1e-5)
    np.testing.assert_allclose(found.row(1), [hard.mean(), good.mean(), hard @ good], atol=1e-5)
    one = rate_once(samples, settings.model_copy(update={"quality_scorer": None}), HOW, lake)
    assert one["complexity"].equals(found["complexity"])
    assert one.select("answer_quality", "evol").null_count().row(0) == (2, 2)
    off = rate_once(samples, ScoreSettings(), HOW, lake)
    assert off.null_count().row(0) == (2, 2, 2)
    assert off.schema == found.schema


def test_a_turn_is_rated_once(places: dict[str, str], tmp_path, monkeypatch) -> None:
    asked, rate = [], ratings.Rater.rate
    monkeypatch.setattr(
        ratings.Rater, "rate", lambda self, turns, *more: asked.append(turns.height) or rate(self, turns, *more)
    )  # fmt: skip
    settings = ScoreSettings(complexity_scorer=places["complexity"], scorer_tokens=500)
    lake = Lake(root=str(tmp_path))
    samples = TURNS.select(prompt="instruction", answer="answer", messages=pl.lit(None))
    first = rate_once(samples[[0, 1, 0]], settings, HOW, lake)
    second = rate_once(samples[[2, 1]].with_columns(answer=pl.lit("另一个答案")), settings, HOW, lake)
    assert asked == [2, 1], "the complexity is the instruction's, whatever the answer"
    assert second["complexity"][1] == first["complexity"][1]
    rate_once(samples[:1], settings.model_copy(update={"scorer_tokens": 400}), HOW, lake)
    other = settings.model_copy(update={"complexity_scorer": places["answer_quality"]})
    rate_once(samples[:1], other, HOW, lake)
    assert asked == [2, 1, 1, 1], "other lengths and other weights are rated anew"


def test_a_tokenizer_without_digits_is_one_clear_line(tmp_path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "1": 2, "2": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    unable = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", unk_token="<unk>")
    with pytest.raises(UserError, match="no single token for each of the digits") as refused:
        load_rater(save(tmp_path / "words", 0, unable), "complexity", 500, HOW)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("spoil", ["nothing there", "pickled only", "no room"])
def test_what_cannot_rate_is_one_clear_line(spoil: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "model"
    if spoil != "nothing there":
        save(folder, 0, positions=64 if spoil == "no room" else 512)
    if spoil == "pickled only":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    says = "leave no room" if spoil == "no room" else "cannot load the scorer of the answer quality"
    with pytest.raises(UserError, match=says) as refused:
        load_rater(str(folder), "answer_quality", 500, HOW)
    assert "\n" not in str(refused.value)
