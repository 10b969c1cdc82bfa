"""Seeds in one language recall documents in another where the encoder can, and it is said where it cannot.

The encoder that can is made here: vectors of words from sentences and their translations, by latent
semantic indexing of both at once (Dumais et al. 1997), in a file that is loaded as any other.
"""

import numpy as np
import polars as pl
import pytest

import assets
from assets.stage import STAGES, Run
from curation.settings import EncoderSettings, Profile, RecallSettings
from curation.static_vectors import words
from resources.encoder import embed, fit_encoder, load_encoder
from resources.lake import Lake

#: Sentences with their translations: tea, and the night sky.
PARALLEL = {
    "Fresh tea leaves wither in the shade": "新鲜的茶叶在阴凉处萎凋",
    "Rolling breaks the leaves and releases the aroma": "揉捻使叶片破碎，释放香气",
    "Green tea is heated in a pan to stop oxidation": "绿茶在锅中加热，停止氧化",
    "Black tea needs full oxidation before drying": "红茶在干燥前需要充分氧化",
    "Brew the tea with hot water for two minutes": "用热水冲泡茶叶两分钟",
    "The aroma of oolong comes from slow drying": "乌龙茶的香气来自缓慢干燥",
    "Farmers pick tea leaves early in spring": "茶农在早春采摘茶叶",
    "A pot of hot tea keeps its aroma": "一壶热茶保留着香气",
    "The telescope points at the bright planet": "望远镜对准明亮的行星",
    "Jupiter has many moons and bright bands": "木星有许多卫星和明亮的条纹",
    "A comet shows a long tail near the sun": "彗星在太阳附近露出长长的尾巴",
    "Stars in the galaxy turn around its centre": "星系中的恒星围绕中心旋转",
    "The telescope shows the moons of Saturn": "望远镜看到土星的卫星",
    "Clouds of gas become new stars": "气体云变成新的恒星",
    "Astronomers measure the orbit of the comet": "天文学家测量彗星的轨道",
    "The planet moves along its orbit around the sun": "行星沿着轨道围绕太阳运动",
}
SEEDS = [
    "Wither the fresh tea leaves, then stop the oxidation in a hot pan.",
    "Slow drying keeps the aroma of black tea.",
    "Rolling and drying the tea leaves releases the aroma of oolong.",
    "Pick the leaves in early spring and brew green tea with hot water.",
]
TEA = [
    "绿茶用热水冲泡，香气才会释放。",
    "茶叶先萎凋，再揉捻，最后干燥。",
    "红茶的氧化比乌龙茶充分。",
    "早春采摘的茶叶，冲泡后香气保留得久。",
]
SKY = [
    "望远镜里能看到木星的卫星。",
    "彗星的轨道靠近太阳时，尾巴很长。",
    "恒星围绕星系的中心旋转。",
    "天文学家用望远镜测量行星的轨道。",
]


@pytest.fixture(scope="module")
def bilingual(tmp_path_factory):
    """A file of word vectors: words that stand in translations of each other lie together."""
    texts = [[word.lower() for word in words(f"{one} {other}", 99)] for one, other in PARALLEL.items()]
    units = sorted({word for text in texts for word in text if word.strip()})
    held = np.array([[text.count(unit) for text in texts] for unit in units], dtype=np.float64)
    surprise = np.log(len(texts) / (held > 0).sum(axis=1))
    left, values, _ = np.linalg.svd(held * surprise[:, None], full_matrices=False)
    points = left[:, :8] * values[:8]
    lines = [f"{unit} {' '.join(f'{x:.5f}' for x in row)}" for unit, row in zip(units, points, strict=True)]
    file = tmp_path_factory.mktemp("vectors") / "bilingual.txt"
    file.write_text(f"{len(units)} 8\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return EncoderSettings(kind="static", model=str(file))


def recalled(encoder, tmp_path):
    """The Chinese documents that English seeds recall, and what the stage says of it."""
    general = (TEA + SKY) * 5
    texts = {"a": SEEDS, "d": [f"{text}（{place}）" for place, text in enumerate(general)]}
    fit_encoder(encoder, pl.Series([*texts["a"], *texts["d"]]), 0, tmp_path)
    lake = Lake(root=str(tmp_path))
    tables = []
    for prefix, language in (("a", "en"), ("d", "zh")):
        ids = [f"{prefix}{place:031x}" for place in range(len(texts[prefix]))]
        frame = pl.DataFrame({"record_id": ids, "shard": "s", "language": language, "text": texts[prefix]})
        points = embed(load_encoder(encoder, tmp_path), frame, lake)
        tables += [frame.lazy(), points.lazy()]
    seeds, seed_points, docs, doc_points = tables
    assets.load()
    profile = Profile(name="test", lake=str(tmp_path), sources=())
    run = Run("r" * 32, 0, profile, lake, "nearest_docs")
    settings = RecallSettings(per_seed=8, min_similarity=0.5)
    rows = STAGES["nearest_docs"].body(seeds, seed_points, doc_points, docs, docs, settings, run)
    found = rows.filter(pl.col("verdict") == "kept")["doc_id"].unique().to_list()
    return [general[int(one[1:], 16)] for one in found], run.notes


def test_english_seeds_recall_the_chinese_documents_of_their_subject(bilingual, tmp_path):
    found, notes = recalled(bilingual, tmp_path)
    assert len(found) >= 15
    assert set(found) <= set(TEA)
    assert notes["languages_out_of_reach"] == "none"


def test_it_is_said_that_the_default_cannot(tmp_path):
    found, notes = recalled(EncoderSettings(), tmp_path)
    assert found == []
    assert notes["reach_zh"] < 0.1
    assert notes["languages_out_of_reach"] == "zh (40 documents)"
