"""Encoders give unit vectors, whatever the order and the batches."""

import numpy as np
import polars as pl
import pytest

from curation.errors import UserError
from curation.settings import EncoderSettings
from resources.encoder import describe, embed, fit_encoder, load_encoder

TEXTS = pl.Series(
    [
        "春茶要趁早采",
        "咖啡豆要现磨",
        "茶汤要趁热喝，凉了就涩",
        "望远镜对准木星",
        "",
        "木星有许多卫星，最大的是木卫三",
    ]
    * 3
)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A tiny BERT of our own, saved as safetensors."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *sorted({char for text in TEXTS for char in text})]
    core = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    ).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_transformer_gives_the_same_vectors_in_any_batch(bert, pooling, tmp_path):
    small = EncoderSettings(kind="transformers", model=bert, pooling=pooling, batch_tokens=64)
    large = EncoderSettings(kind="transformers", model=bert, pooling=pooling, batch_tokens=4096)
    one = load_encoder(small, tmp_path).encode(TEXTS)
    two = load_encoder(large, tmp_path).encode(TEXTS.reverse())[::-1]
    assert one.shape == (18, 16)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert abs(one[0] @ one[1]) < 0.99


def test_a_transformer_reads_only_the_first_tokens(bert, tmp_path):
    settings = EncoderSettings(kind="transformers", model=bert, max_tokens=8)
    both = load_encoder(settings, tmp_path).encode(pl.Series(["木星有许多卫星最大", "木星有许多卫茶茶茶"]))
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)


def test_a_model_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"cannot load the encoder.*allowed: a folder or hub id"):
        load_encoder(EncoderSettings(kind="transformers", model=str(tmp_path)), tmp_path)


def test_lsa_comes_back_from_its_folder(tmp_path):
    settings = EncoderSettings(dimension=8)
    fitted = fit_encoder(settings, TEXTS, 1, tmp_path)
    loaded = load_encoder(settings, tmp_path)
    np.testing.assert_array_equal(fitted.encode(TEXTS), loaded.encode(TEXTS))
    row = describe(loaded, "_artefacts/x").row(0, named=True)
    assert (row["dimension"], row["fitted_on"], row["verdict"]) == (8, 18, "kept")


def test_a_text_without_anything_to_go_by_keeps_its_row(tmp_path):
    encoder = fit_encoder(EncoderSettings(dimension=8), TEXTS, 1, tmp_path)
    ids = [f"{place:032x}" for place in range(TEXTS.len())]
    rows = embed(encoder, pl.DataFrame({"record_id": ids, "shard": "s", "text": TEXTS}))
    assert rows["record_id"].to_list() == ids
    assert rows["vector"].list.len().unique().to_list() == [8]
    assert rows["evidence"].str.json_path_match("$.known").to_list()[:5] == ["true"] * 4 + ["false"]
