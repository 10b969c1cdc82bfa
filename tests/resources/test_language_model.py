"""Loading causal models that the tests make themselves."""

import json

import numpy as np
import polars as pl
import pytest

from curation.errors import UserError
from curation.scores import causal
from curation.scores import language_model as lm
from curation.scores.experience import experience_rows, experienced
from curation.settings import LanguageModelSettings
from resources import language_model as models
from resources.lake import Lake
from resources.language_model import load_base_model, load_language_model

TEXTS = ["今天天气很好，我们去公园吧。", "怎么做番茄炒蛋？", "鸡蛋打散，番茄翻炒。", "Hello world"]
CHAT = "{% for m in messages %}<|user|>{{ m['content'] | trim }}<|eos|>{% endfor %}<|assistant|>"


def settings(model=None, **more) -> LanguageModelSettings:
    return LanguageModelSettings(
        model=None if model is None else str(model), max_tokens=64, threads=1, **more
    )


@pytest.fixture(scope="module")
def tokenizer():
    return lm.train_tokenizer(TEXTS, 300)


def network(kind: str, vocabulary: int):
    import torch
    from transformers import (
        CohereConfig,
        CohereForCausalLM,
        Gemma2Config,
        Gemma2ForCausalLM,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    size = {"vocab_size": vocabulary, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    size |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 96}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "gpt2":
            return GPT2LMHeadModel(
                GPT2Config(vocab_size=vocabulary, n_embd=16, n_layer=2, n_head=2, n_positions=96)
            )
        if kind == "gemma2":
            # a cap as low as this changes every logit
            return Gemma2ForCausalLM(Gemma2Config(**size, head_dim=8, final_logit_softcapping=0.05))
        if kind == "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**size, tie_word_embeddings=True))
        if kind == "llama":
            return LlamaForCausalLM(LlamaConfig(**size))
        return CohereForCausalLM(CohereConfig(**size, logit_scale=0.25))


def save(folder, kind: str, tokenizer, chat_template: str | None):
    network(kind, len(tokenizer)).save_pretrained(folder)
    template, tokenizer.chat_template = tokenizer.chat_template, chat_template
    tokenizer.save_pretrained(folder)
    tokenizer.chat_template = template
    return folder


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "cohere", "qwen2", "llama"])
def test_a_loaded_model_scores_as_transformers_says(kind, tokenizer, tmp_path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = load_language_model(settings(save(tmp_path, kind, tokenizer, CHAT), precision="float32"))
    found = lm.score_answers(model, pl.Series(TEXTS[:2]), pl.Series(TEXTS[1:3]), settings())
    whole = AutoModelForCausalLM.from_pretrained(tmp_path).eval()

    def ids(text: str) -> list[int]:
        return model.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids

    user, end, assistant = model.tokenizer.convert_tokens_to_ids([lm.USER, lm.EOS, lm.ASSISTANT])
    for row in range(2):
        wanted = ids(TEXTS[row + 1])
        before = [user, *ids(TEXTS[row]), end, assistant]
        with torch.no_grad():
            logits = whole(torch.tensor([before + wanted])).logits[0, len(before) - 1 : -1]
        expected = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(wanted)).item()
        assert found["loss_conditional"][row] == pytest.approx(expected, abs=1e-5)


def test_without_a_chat_template_prompt_and_answer_are_two_lines(tokenizer, tmp_path) -> None:
    model = load_language_model(settings(save(tmp_path, "gpt2", tokenizer, None)))
    bos = tokenizer.bos_token_id
    before, after = model.template.around(("user",))
    assert before.tolist() == [bos]
    assert tokenizer.decode(after.tolist()) == "\n"
    assert model.template.alone.tolist() == [bos]


def test_samples_are_cut_to_the_positions_that_a_model_has(tokenizer, tmp_path) -> None:
    model = load_language_model(settings(save(tmp_path, "gpt2", tokenizer, CHAT)))
    wide = LanguageModelSettings(max_tokens=4096, threads=1)
    found = lm.score_answers(model, pl.Series(["天" * 500]), pl.Series(["气" * 500]), wide)
    assert np.isfinite(found.drop("disagreement", "ppl_text").to_numpy()).all()


def test_bfloat16_where_asked(tokenizer, tmp_path) -> None:
    import torch

    folder = save(tmp_path, "gpt2", tokenizer, CHAT)
    exact, rough = (load_language_model(settings(folder, precision=name)) for name in ("float32", "bfloat16"))
    assert (exact.model.dtype, rough.model.dtype) == (torch.float32, torch.bfloat16)
    exactly, roughly = (
        lm.score_answers(model, pl.Series(TEXTS[:2]), pl.Series(TEXTS[1:3]), settings())
        for model in (exact, rough)
    )
    for name in ("loss_conditional", "loss_alone", "ifd"):
        assert np.allclose(exactly[name], roughly[name], rtol=0.005), name
    assert not exactly.equals(roughly)


def test_the_trained_model_comes_from_its_folder(tmp_path) -> None:
    small = LanguageModelSettings(
        vocabulary=300, hidden=16, layers=1, heads=2, max_steps=2, batch_tokens=128, threads=1
    )
    trained = lm.train_language_model(TEXTS, TEXTS, small, seed=0)
    trained.save(tmp_path)
    loaded = load_language_model(small, tmp_path)
    texts = pl.Series(TEXTS)
    assert lm.score_answers(loaded, texts, texts, small).equals(
        lm.score_answers(trained, texts, texts, small)
    )
    by_path = load_language_model(settings(tmp_path, precision="float32"))
    for one, other in zip(
        by_path.template.around(("user",)), trained.template.around(("user",)), strict=True
    ):
        assert one.tolist() == other.tolist()


# -- what cannot be loaded ----------------------------------------------------------------------


def test_neither_model_nor_folder() -> None:
    with pytest.raises(UserError, match="neither"):
        load_language_model(settings())


@pytest.mark.parametrize("trained", [True, False])
def test_a_folder_that_is_missing(tmp_path, monkeypatch, trained) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    missing = tmp_path / "missing"
    with pytest.raises(UserError, match="cannot load the language model"):
        load_language_model(settings(None if trained else missing), missing)


def test_pickled_weights_are_refused(tokenizer, tmp_path) -> None:
    import torch

    folder = save(tmp_path, "gpt2", tokenizer, CHAT)
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot load the language model"):
        load_language_model(settings(folder))


def test_code_that_comes_with_a_model_is_never_run(tokenizer, tmp_path) -> None:
    folder = save(tmp_path, "gpt2", tokenizer, CHAT)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(UserError, match="cannot load the language model"):
        load_language_model(settings(folder))
    assert not (tmp_path / "ran").exists()


def test_a_chat_template_without_a_place_for_the_prompt(tokenizer, tmp_path) -> None:
    folder = save(tmp_path, "gpt2", tokenizer, "{{ raise_exception('only for tools') }}")
    with pytest.raises(UserError, match="chat template"):
        load_language_model(settings(folder))


@pytest.mark.parametrize("spoil", ["torn", "incomplete", "tokenizer"])
def test_a_corrupt_checkpoint_is_refused_in_one_line(tokenizer, tmp_path, spoil) -> None:
    from safetensors.torch import load_file, save_file

    folder = save(tmp_path, "llama", tokenizer, CHAT)
    weights = folder / "model.safetensors"
    if spoil == "torn":
        weights.write_bytes(weights.read_bytes()[:2000])
    elif spoil == "incomplete":
        tensors = load_file(weights)
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, weights, {"format": "pt"})
    else:
        (folder / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(UserError, match=r"cannot load the language model|lacks 1 weights") as refused:
        load_language_model(settings(folder))
    assert "\n" not in str(refused.value)


# -- conversations ------------------------------------------------------------------------------


def test_a_conversation_is_read_in_the_models_own_template(tokenizer, tmp_path) -> None:
    import torch

    model = load_language_model(settings(save(tmp_path, "llama", tokenizer, CHAT), precision="float32"))
    talk = [("user", "天气"), ("assistant", "很好"), ("user", "Hi"), ("assistant", "番茄")]
    samples = pl.DataFrame(
        {
            "prompt": ["?"],
            "answer": ["!"],
            "messages": [[{"role": role, "content": said} for role, said in talk]],
        }
    )
    found = lm.score_samples(model, samples, settings())
    losses = []
    user, end, assistant = model.tokenizer.convert_tokens_to_ids([lm.USER, lm.EOS, lm.ASSISTANT])
    ids = [model.tokenizer.backend_tokenizer.encode(said, add_special_tokens=False).ids for _, said in talk]
    for before, wanted in (
        ([user, *ids[0], end, assistant], ids[1]),
        ([user, *ids[0], end, user, *ids[1], end, user, *ids[2], end, assistant], ids[3]),
    ):
        with torch.no_grad():
            logits = model.model(torch.tensor([before + wanted])).logits[0, len(before) - 1 : -1]
        losses += torch.nn.functional.cross_entropy(logits, torch.tensor(wanted), reduction="none").tolist()
    assert found["loss_conditional"][0] == pytest.approx(np.mean(losses), abs=1e-5)


def test_only_new_contents_are_scored(tokenizer, tmp_path, monkeypatch) -> None:
    asked: list[list[str]] = []

    def score(model, samples, settings):
        asked.append(samples["answer"].to_list())
        return lm.score_samples(model, samples, settings)

    def said(*answers: str) -> pl.DataFrame:
        talk = [
            [{"role": "user", "content": "天气"}, {"role": "assistant", "content": one}] for one in answers
        ]
        return pl.DataFrame({"prompt": ["天气"] * len(answers), "answer": answers, "messages": talk})

    monkeypatch.setattr(models, "score_samples", score)
    model = load_language_model(settings(save(tmp_path / "a", "llama", tokenizer, None)))
    lake = Lake(root=str(tmp_path / "lake"))
    first = models.score_once(model, said("很好", "番茄", "很好"), settings(), lake)
    second = models.score_once(model, said("Hi", "番茄"), settings(), lake)
    assert asked == [["很好", "番茄"], ["Hi"]]
    assert first.row(0) == first.row(2) != first.row(1) == second.row(1)
    assert second.select("loss_alone", "entropy").null_count().row(0) == (0, 0)
    models.score_once(model, said("Hi"), settings().model_copy(update={"max_tokens": 20}), lake)
    models.score_once(load_language_model(settings(save(tmp_path / "b", "gpt2", tokenizer, None))), said("Hi"), settings(), lake)  # fmt: skip
    assert len(asked) == 4, "other settings and other weights are measured anew"


# -- the pre-experienced model ------------------------------------------------------------------


def experience(folder, **more) -> LanguageModelSettings:
    return settings(
        folder, pre_experience=True, experience_clusters=3, experience_rows=2, experience_learning_rate=1e-2, batch_tokens=64, **more
    )  # fmt: skip


def test_a_model_with_some_experience_knows_the_answers_better(tokenizer, tmp_path) -> None:
    folder = save(tmp_path / "base", "gpt2", tokenizer, None)
    wanted = experience(folder, precision="float32")
    prompts, answers = TEXTS * 8, (TEXTS[1:] + TEXTS[:1]) * 8
    asked, told = pl.Series(prompts[:4]), pl.Series(answers[:4])
    base = load_base_model(wanted)
    before = lm.score_answers(base, asked, told, wanted)
    rows = experience_rows(base, prompts, answers, wanted, seed=1)
    assert 3 <= len(rows) <= 6
    model = experienced(base, prompts, answers, wanted, seed=1)
    learned = sum(len(ids) for ids in causal.encode(tokenizer, [answers[row] for row in rows]))
    assert model.curve["tokens"][-1] == learned, "one epoch, and nothing but answers"
    after = lm.score_answers(model, asked, told, wanted)
    assert after["loss_conditional"].mean() < before["loss_conditional"].mean() - 0.1
    model.save(tmp_path / "experienced")
    loaded = load_language_model(wanted, tmp_path / "experienced")
    assert lm.score_answers(loaded, asked, told, wanted).equals(after)


def test_experience_comes_from_every_cluster_and_the_middle_of_it(tokenizer, tmp_path) -> None:
    model = load_base_model(experience(save(tmp_path, "gpt2", tokenizer, None)))
    wanted = experience(tmp_path)
    prompts = ["今天天气很好，我们去公园吧。"] * 5 + ["Hello world"] * 5
    answers = ["好", "鸡蛋", "番茄翻炒", "Hello", "天"] * 2
    losses = lm.score_answers(model, pl.Series(prompts), pl.Series(answers), wanted)[
        "loss_conditional"
    ].to_numpy()
    rows = experience_rows(model, prompts, answers, wanted, seed=0)
    for cluster in (range(5), range(5, 10)):
        middle = sorted(cluster, key=lambda row: abs(losses[row] - np.median(losses[list(cluster)])))[:2]
        assert sorted(row for row in rows if row in cluster) == sorted(middle)
