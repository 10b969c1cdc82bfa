"""A small pool of samples about dishes and cities, as many as are needed, no two alike."""

from itertools import product

import polars as pl
import pytest

from curation.records import digest

DISHES = (
    "红烧肉",
    "清蒸鱼",
    "炒青菜",
    "番茄汤",
    "包子",
    "凉面",
    "蛋炒饭",
    "豆腐羹",
    "烤鸭",
    "春卷",
    "米线",
    "酸菜锅",
)
CITIES = ("北京", "上海", "广州", "成都", "西安", "杭州", "南京", "昆明", "青岛", "厦门", "拉萨", "哈尔滨")


def _samples() -> list[tuple[str, str]]:
    cooking = [
        (
            f"请告诉我{dish}怎么做才好吃，我在{city}学的做法总不对。",
            f"做{dish}要先备好新鲜的材料，火候要足。按{city}人的口味，{dish}可以少放些盐，出锅前再加一点葱花。",
        )
        for dish, city in product(DISHES, CITIES)
    ]
    travel = [
        (
            f"第一次去{city}旅行，{season}有什么建议？",
            f"{season}的{city}很适合慢慢走。先去老城看看，再到{city}的博物馆坐一坐，记得提前订好住处。路上带一件外套就够了。",
        )
        for city, season in product(CITIES, ("春天", "夏天", "秋天", "冬天"))
    ]
    labels = [
        (f"下面这句话说的是菜还是城市？{word}很有名。", "菜" if word in DISHES else "城市")
        for word in DISHES + CITIES
    ]
    return cooking + travel + labels


@pytest.fixture(scope="session")
def pool() -> pl.DataFrame:
    """Columns record_id, shard, prompt, answer; sound samples, some of them with a class label for an answer."""
    pairs = _samples()
    ids = [digest("test", prompt) for prompt, _ in pairs]
    return pl.DataFrame(
        {
            "record_id": ids,
            "shard": ["s0"] * len(ids),
            "prompt": [pair[0] for pair in pairs],
            "answer": [pair[1] for pair in pairs],
        }
    )
