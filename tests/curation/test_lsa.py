"""LSA: texts about the same thing are near to each other; what is read is bounded and repeatable."""

import numpy as np
import polars as pl

from curation.lsa import Lsa
from curation.settings import EncoderSettings

TEA = ["绿茶要用八十度的水来泡", "泡绿茶的水不能太烫", "杀青是绿茶的一道工序", "绿茶杀青以后要揉捻"]
STARS = ["木星有四颗大卫星", "望远镜里能看见木星的卫星", "土星的光环由冰块组成", "用望远镜看土星的光环"]
SETTINGS = EncoderSettings(dimension=8, max_tokens=20)


def test_texts_about_the_same_subject_are_nearer():
    lsa = Lsa.fit(pl.Series(TEA + STARS), SETTINGS, 1)
    points = lsa.transform(pl.Series(TEA + STARS))
    similarity = points @ points.T
    within = (similarity[:4, :4].sum() - 4 + similarity[4:, 4:].sum() - 4) / 24
    across = similarity[:4, 4:].mean()
    assert within > across + 0.2


def test_the_same_texts_give_the_same_bytes(tmp_path):
    one, two = (Lsa.fit(pl.Series(TEA + STARS), SETTINGS, 1) for _ in range(2))
    assert one.components.tobytes() == two.components.tobytes()
    one.save(tmp_path)
    loaded = Lsa.load(tmp_path)
    assert loaded.transform(pl.Series(TEA)).tobytes() == one.transform(pl.Series(TEA)).tobytes()


def test_only_the_first_tokens_are_read():
    lsa = Lsa.fit(pl.Series(TEA + STARS), SETTINGS, 1)
    long = "绿茶要用八十度的水来泡才好喝呢大家都知道这个"  # 20 characters and more
    points = lsa.transform(pl.Series([long[:20], long[:20] + "木星土星望远镜卫星光环"]))
    np.testing.assert_array_equal(points[0], points[1])


def test_an_empty_text_is_a_vector_of_zeros():
    lsa = Lsa.fit(pl.Series(TEA), SETTINGS, 1)
    assert not lsa.transform(pl.Series(["", None], dtype=pl.String)).any()
    assert lsa.transform(pl.Series([], dtype=pl.String)).shape == (0, 8)
