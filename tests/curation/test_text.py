"""Normal form, personal data, languages and faults of texts."""

from __future__ import annotations

import functools
import itertools
import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import text

PROSE = "春天到了，河边的柳树发了芽，孩子们在草地上放风筝，老人坐在长椅上晒太阳。"
ENGLISH = "The old bridge was closed for repairs, and the drivers had to take the road along the river."
CLASSICAL = "學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？人不知而不慍，不亦君子乎？"
JAPANESE = "今日は天気がとても良いので、友達と一緒に公園へ散歩に行きました。"
CODE = 'def add(a, b):\n    """Add two numbers."""\n    return a + b\n\n\nprint(add(1, 2))'
MATHS = "设 f(x)=x²+2x+1，则 f'(x)=2x+2，当 x≥−1 时函数单调递增，∫f dx = x³/3 + x² + x + C。"
TABLE = "| 年份 | 产量 |\n| --- | --- |\n| 2019 | 120 |\n| 2020 | 135 |\n| 2021 | 150 |"
SOUND = [PROSE, ENGLISH, CLASSICAL, JAPANESE, CODE, MATHS, TABLE]

characters = st.characters(codec="utf-8") | st.sampled_from(
    "，。　\u00a0\r\n\t ①ＡｂｃｶﾞÀé锟斤拷覆後臺灣乾坤ﬁ⼀\u3099\u200b\ufeff"
)
any_text = st.text(characters, max_size=60)


def one(function, value: str, **options):
    return function(pl.Series([value]), **options)["text"][0]


def measure(function, values: list[str]) -> list[float]:
    return pl.DataFrame({"text": values}).select(function(pl.col("text"))).to_series().to_list()


# -- normal form --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("ＡＢＣ１２３，你好！（一）", "ABC123，你好！（一）"),
        ("　　第一段  有   空格。\r\n\r\n\r\n\r\n　　第二段。　", "第一段 有 空格。\n\n第二段。"),
        ("零\u200b宽\ufeff字\x07符", "零宽字符"),
        ("面积是 5 m²，第①步", "面积是 5 m²，第①步"),
        ("⼀年⼆⽉", "一年二月"),
        ("ｶﾞｲﾄﾞ", "ガイド"),
        ("eﬃcient ﬁle", "efficient file"),
        ("Cafe\u0301", "Café"),
        ("for i in x:\n    print(i)\n\n\n\ny = 1  ", "for i in x:\n    print(i)\n\ny = 1"),
        ("for i in x:\n\tprint(i)", "for i in x:\n\tprint(i)"),
    ],
)
def test_widths_white_space_and_control_characters(before: str, after: str) -> None:
    assert one(text.normalise, before) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("臺灣的氣候溫暖潮濕", "台湾的气候温暖潮湿"),
        ("請給我答覆", "请给我答复"),
        ("回覆", "回复"),
        ("乾隆皇帝把麵包烤乾了", "乾隆皇帝把面包烤干了"),
        ("乾坤未定", "乾坤未定"),
        ("皇后在後面", "皇后在後面"),
        ("然後皇后走了", "然后皇后走了"),
        ("透明覆盖膜", "透明覆盖膜"),
        ("噁唑类药物", "噁唑类药物"),
        ("明天的天氣很好，請帶傘", "明天的天气很好，请带伞"),
        (JAPANESE, JAPANESE),
    ],
)
def test_traditional_characters(before: str, after: str) -> None:
    assert one(text.normalise, before) == after


def test_traditional_text_is_left_alone_when_asked() -> None:
    assert one(text.normalise, CLASSICAL, simplify=False) == CLASSICAL


@pytest.mark.parametrize(
    "garbled",
    [
        PROSE.encode("utf-8").decode("latin-1"),
        PROSE.encode("gb18030").decode("latin-1"),
        "".join(f"&#{ord(char)};" for char in PROSE),
    ],
)
def test_wrong_decodings_are_undone(garbled: str) -> None:
    result = text.normalise(pl.Series([garbled, PROSE]))
    assert result["text"].to_list() == [PROSE, PROSE]
    assert result["changes"].struct.field("fixed_encoding").to_list() == [True, False]


def test_utf8_read_as_gbk_is_undone_where_nothing_was_lost() -> None:
    whole = "春天到来天气晴朗"
    assert one(text.normalise, whole.encode("utf-8").decode("gb18030")) == whole


@pytest.mark.parametrize(
    "western", ["Crème brûlée à l’été, naïve façade", "ÄÖÜ äöü ß Straße", "Año nuevo, ¿qué tal?"]
)
def test_western_text_is_no_mojibake(western: str) -> None:
    assert one(text.normalise, western) == western
    assert measure(text.garble_score, [western]) == [0.0]


def test_changes_are_counted() -> None:
    result = text.normalise(pl.Series(["ＡＢ\x00  臺灣  Cafe\u0301", None, ""]))
    changes = result["changes"].struct.unnest()
    assert changes.row(0, named=True) == {
        "fixed_encoding": False,
        "control_chars": 1,
        "white_space": 2,
        "width": 2,
        "composed": 2,
        "simplified": 2,
    }
    assert changes.slice(1).rows() == [(False, 0, 0, 0, 0, 0)] * 2
    assert result["traditional"].to_list() == ["灣湾 臺台", None, None]


def test_what_two_passes_changed_is_added_up() -> None:
    garbled = "臺灣的氣候溫暖潮濕，四季都有水果。".encode().decode("latin-1")
    result = text.normalise(pl.Series([garbled]))
    assert result["text"][0] == "台湾的气候温暖潮湿，四季都有水果。"
    assert result["changes"][0]["fixed_encoding"]
    assert result["changes"][0]["simplified"] == 5
    assert result["traditional"][0] == "氣气 溫温 濕湿 灣湾 臺台"


@settings(max_examples=60, deadline=None)
@given(st.lists(any_text, max_size=6))
def test_the_normal_form_of_a_normal_form_is_itself(values: list[str]) -> None:
    once = text.normalise(pl.Series(values, dtype=pl.String))["text"]
    assert text.normalise(once)["text"].to_list() == once.to_list()
    for value in once:
        assert value == value.strip()
        assert "\n\n\n" not in value
        assert not any(unicodedata.category(char) == "Cc" and char not in "\n\t" for char in value)


def test_the_argument_is_not_changed() -> None:
    before = ["臺灣\x00", "联系：13800138000", PROSE.encode("gb18030").decode("latin-1")]
    series = pl.Series(before)
    text.normalise(series)
    text.mask_pii(series)
    assert series.to_list() == before


# -- personal data ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("身份证11010519491231002X，请核对", "身份证<ID_NUMBER>，请核对"),
        ("电话13800138000。", "电话<PHONE>。"),
        ("手机 138-0013-8000 或 +86 13900139000", "手机 <PHONE> 或 <PHONE>"),
        ("邮箱li.lei@example.com.cn谢谢", "邮箱<EMAIL>谢谢"),
        ("卡号4111111111111111", "卡号<BANK_CARD>"),
        ("卡号4111 1111 1111 1111到期", "卡号<BANK_CARD>到期"),
        ("服务器 8.8.4.254 宕机", "服务器 <IP> 宕机"),
        ("车牌京A12345违停", "车牌<PLATE>违停"),
    ],
)
def test_personal_data_is_masked(before: str, after: str) -> None:
    assert one(text.mask_pii, before) == after


@pytest.mark.parametrize(
    "harmless",
    [
        "身份证110105194912310021",  # wrong check digit
        "卡号4111111111111112",
        "订单号2024111513800138000123",
        "圆周率3.14159265358979323846",
        "见第3.2.1.4节，内网地址192.168.1.100",
        "https://news.example.com/2019/13800138000.html",
        "京ICP备05012345号",
        "@李雷 你好",
    ],
)
def test_other_numbers_are_left_alone(harmless: str) -> None:
    result = text.mask_pii(pl.Series([harmless]))
    assert result["text"][0] == harmless
    assert sum(result["n_masked"][0].values()) == 0


def test_masks_are_counted_by_kind() -> None:
    counts = text.mask_pii(pl.Series(["13800138000 13900139000 a@b.cn", None]))["n_masked"]
    assert counts[0] == {"email": 1, "id_number": 0, "bank_card": 0, "phone": 2, "ip": 0, "plate": 0}
    assert set(counts[1].values()) == {0}


# -- make-up ------------------------------------------------------------------------------------


def test_shares_of_scripts() -> None:
    shares = text.shares(pl.Series(["中文 ab12♪", "", None]))
    assert shares["n_chars"].to_list() == [7, 0, 0]
    assert shares["han"][0] == pytest.approx(2 / 7)
    assert shares["latin"][0] == pytest.approx(2 / 7)
    assert shares["digit"][0] == pytest.approx(2 / 7)
    assert shares["symbol"][0] == pytest.approx(1 / 7)
    assert shares["punctuation"][0] == 0
    assert shares.slice(1).select(pl.exclude("n_chars")).sum().row(0) == (0.0,) * 7


def test_single_measures_agree_with_shares() -> None:
    shares = text.shares(pl.Series(SOUND))
    for function, name in ((text.han_share, "han"), (text.latin_share, "latin"), (text.digit_share, "digit"), (text.symbol_share, "symbol"), (text.n_chars, "n_chars")):  # fmt: skip
        assert measure(function, SOUND) == shares[name].to_list()


@pytest.mark.parametrize(
    ("value", "language"),
    [
        (PROSE, "zh"),
        (CLASSICAL, "zh"),
        ("把 α 粒子和 β 受体写在一起", "zh"),
        (ENGLISH, "en"),
        (CODE, "en"),
        ("hello", "en"),
        ("使用 git rebase interactive mode 来 squash commits before pushing", "mixed"),
        (JAPANESE, "other"),
        ("오늘은 날씨가 좋아서 공원에 갔습니다.", "other"),
        ("Сегодня хорошая погода.", "other"),
        ("Der Zug ist nicht pünktlich und die Leute warten auf dem Bahnsteig mit den Kindern.", "other"),
        ("El perro de mi vecino es muy grande y no le gusta el agua que hay en la casa.", "other"),
        ("Le chat dort sur la table pendant que les enfants jouent dehors.", "other"),
        ("Morgen gaan wij met de trein naar Amsterdam om vrienden te bezoeken.", "other"),
        ("Watoto wanacheza mpira shuleni kila siku", "other"),
        ("Install numpy pandas scikit-learn", "en"),
        ("Machine learning model training loss curve", "en"),
        ("你哋今日去邊度食飯呀", "zh"),
        ("123 + 456 = 579", "other"),
        ("", "other"),
    ],
)
def test_languages(value: str, language: str) -> None:
    assert measure(text.language, [value]) == [language]


# -- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbled",
    [
        "".join("\ufffd" if place % 3 == 1 else char for place, char in enumerate(PROSE)),
        PROSE.encode("utf-8").decode("gbk", "replace"),
        PROSE.encode("utf-8").decode("latin-1"),
        PROSE.encode("gbk").decode("latin-1"),
        "他说锟斤拷锟斤拷今天锟斤拷不来",
        "".join(f"\\u{ord(char):04x}" for char in PROSE),
        "".join(f"&#{ord(char)};" for char in PROSE),
        "?????????????????，?????",
    ],
)
def test_garbled_text_scores_high(garbled: str) -> None:
    assert measure(text.garble_score, [garbled])[0] > 0.25


@pytest.mark.parametrize(
    "sound", [*SOUND, "恙虫病、飓风、龙卷风和瑜伽", "饕餮、魑魅魍魉", "什么????", "“ü”和“ö”两个元音"]
)
def test_sound_text_is_not_garbled(sound: str) -> None:
    assert measure(text.garble_score, [sound])[0] == 0.0


@pytest.mark.parametrize(
    "looped",
    [
        "同一句话同一句话同一句话",
        "这个问题很" + "好" * 40,
        "先说结论。" + "我也不知道该怎么办。" * 8,
        "第一行内容很长很长\n第二行也是这样的\n" * 3,
        "the answer is of of of of of of of of of of of of of of of of of of",
        "x = 1" + "1" * 80,
    ],
)
def test_loops_score_high(looped: str) -> None:
    assert measure(text.repetition_score, [looped])[0] >= 0.45


@pytest.mark.parametrize(
    "sound",
    [
        *SOUND,
        "好的",
        "哈哈哈，真有意思",
        "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
        "-" * 30 + "\n标题\n" + "-" * 30,
    ],
)
def test_sound_text_is_not_repeated(sound: str) -> None:
    assert measure(text.repetition_score, [sound])[0] < 0.2


@pytest.mark.parametrize(
    "marked",
    [
        '<div class="main"><p>你好，世界</p><br/></div>',
        "&lt;p&gt;你好&lt;/p&gt;&nbsp;&nbsp;",
        "首页 > 新闻 > 国内\n字号：大 中 小\n上一篇：下雨了\n责任编辑：王小明\n版权所有 未经许可不得转载",
    ],
)
def test_markup_and_furniture_score_high(marked: str) -> None:
    assert measure(text.markup_score, [marked])[0] > 0.5


@pytest.mark.parametrize(
    "sound",
    [
        *SOUND,
        "若 a<b 且 b>c",
        "```html\n<p>你好</p>\n```",
        "List<String> 是泛型",
        "版权法保护作者，未经作者许可不得使用其作品，这是为了平衡作者和公众的利益，也鼓励创作。",
    ],
)
def test_sound_text_is_not_markup(sound: str) -> None:
    assert measure(text.markup_score, [sound])[0] < 0.25


def test_spam_scores_above_what_talks_about_it() -> None:
    spam = [
        "加微信abc12345领取彩金，百家乐时时彩在线投注，开户送58元",
        "代开发票，办证刷单，日赚500，联系电话13800138000，欢迎来电咨询",
    ]
    sound = [*SOUND, "警方打击网络赌博，抓获犯罪嫌疑人三名，缴获手机若干，案件正在进一步办理之中。"]
    assert min(measure(text.spam_score, spam)) > 0.5
    assert max(measure(text.spam_score, sound)) < 0.25


@pytest.mark.parametrize(
    "title",
    ["yabo手机版登录", "必威betway中文版", "海德体育app下载", "威尼斯人现金网网址_登录器下载", "某某贵宾会"],
)
def test_titles_of_casinos(title: str) -> None:
    assert measure(text.title_spam_score, [title])[0] > 0.5


@pytest.mark.parametrize(
    "title",
    [
        "央视体育app更新说明", "贵宾会员制度", "澳门国际机场客流回升", "开云集团发布财报", "银河系的形状", "警方打击网络赌博",
        "金沙遗址博物馆官网", "体育国际交流", "千亿元国际贸易", "海底捞官网", "How the app works",
    ],
)  # fmt: skip
def test_titles_that_only_sound_like_a_casino(title: str) -> None:
    assert measure(text.title_spam_score, [title])[0] <= 0.5


def test_a_casino_planted_into_a_long_text_shows() -> None:
    news = "昨日市里召开了安全生产会议，要求各单位认真排查隐患。" * 15
    planted = news.replace("市里", "威尼斯人网址", 6)
    assert measure(text.spam_score, [planted])[0] > 0.5
    assert measure(text.spam_score, [news])[0] == 0


BYLINES = "李明：城市更新要先听居民的意见再动工\n王芳：乡村学校的操场为什么总是空着\n赵强：读懂一条河流要花多少年时间\n陈静：老字号如何留住年轻人的胃口\n周涛：从一张旧地图看港口的三次搬迁"
LINKS = "\n".join(
    ["河边的柳树发了芽春天真的来了", "市图书馆延长周末和节假日的开放时间", "六成居民赞成修建新的步行道", "怎样挑选一辆合适的自行车？", "山区学校迎来三位新的老师", "老城区的夜市重新开张"]
)  # fmt: skip


@pytest.mark.parametrize(
    "debris",
    [
        LINKS,
        PROSE + "\n" + LINKS,
        PROSE + "\n" + BYLINES,
        PROSE + "\n29 14:17\n16\n29 ]",
        "春(chun)天(tian)到了，河边的柳(liu)树(shu)发(fa)了芽。",
        "植物学 (634)\n生态学 (440)\n动物学 (86)\n地理学 (12)\n天文学 (3)",
        PROSE + "\n附图.png (32.35 KB, 下载次数: 0)\n本文访问地址：https://a.example.com/1",
    ],
)
def test_debris_of_a_page_scores_high(debris: str) -> None:
    assert measure(text.debris_score, [debris])[0] > 0.3


POEM = "轻轻的我走了\n正如我轻轻的来\n我轻轻的招手\n作别西天的云彩"
TALK = "阿远：我妈从柜顶翻出一饼旧茶，包装纸都黄了，能喝不\n蓉姐：有霉味没\n阿远：没有，闻着像枣，还有点药房的味道\n蓉姐：那你发了，撬六克，沸水快冲两道醒一醒\n阿远：我拿菜刀撬行吗\n蓉姐：行，顺便把医院挂号约上"
WRAPPED = "The old bridge was closed for repairs in the\nspring and the drivers had to take the narrow\nroad along the river until the first snow came\nand the workers went home."
RECIPE = "# 番茄炒蛋\n\n- 番茄两个切成小块备用\n- 鸡蛋三个打散加少许盐\n- 葱花适量最后撒在上面\n\n1. 热锅倒油，放入鸡蛋。\n2. 再放番茄，翻炒两分钟。"


@pytest.mark.parametrize("sound", [*SOUND, POEM, TALK, WRAPPED, RECIPE, PROSE + "\n\n" + PROSE])
def test_sound_text_is_no_debris(sound: str) -> None:
    assert measure(text.debris_score, [sound])[0] < 0.1


def test_shapes_of_lines() -> None:
    shape = text.lines(pl.Series([PROSE + "\n" + LINKS, f"{ENGLISH}\n\n{ENGLISH}", "", None]))
    assert shape["n_lines"].to_list() == [7, 2, 0, 0]
    assert shape["ended"].to_list() == [2 / 7, 1, 0, 0]
    assert shape["bare"].to_list() == [6 / 7, 0, 0, 0]
    assert shape["repeated"].to_list() == [0, 0.5, 0, 0]


def test_offence_scores_above_what_speaks_against_it() -> None:
    rude = ["你这个白痴，赶紧滚出去", "这种人渣真是不要脸的废物"]
    civil = [*SOUND, "我们反对用白痴这样的词，它伤害了需要理解和尊重的人。"]
    assert min(measure(text.offence_score, rude)) > 0.7
    assert max(measure(text.offence_score, civil)) < 0.4


def test_words() -> None:
    assert measure(text.n_words, ["今天天气很好，我们去公园。", "a b c", "……", ""]) == [6, 3, 0, 0]


SCORES = (text.garble_score, text.repetition_score, text.markup_score, text.spam_score, text.title_spam_score, text.debris_score, text.offence_score)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.lists(any_text | st.none(), max_size=5))
def test_scores_lie_between_0_and_1_and_do_not_depend_on_the_neighbours(values: list[str | None]) -> None:
    frame = pl.DataFrame({"text": pl.Series(values, dtype=pl.String)})
    for score in SCORES:
        together = frame.select(score(pl.col("text"))).to_series()
        assert len(together) == len(values)
        assert all(0 <= value <= 1 for value in together)
        assert together.to_list() == [measure(score, [value])[0] for value in values]


# -- heads and blocks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "n", "head"),
    [
        ("今天 use Python3 写代码", 3, "今天 use"),
        ("今天 use Python3 写代码", 4, "今天 use Python3"),
        ("你好。", 2, "你好"),
        ("短", 9, "短"),
        ("", 1, ""),
    ],
)
def test_first_tokens(value: str, n: int, head: str) -> None:
    assert text.first_tokens(pl.Series([value]), n).to_list() == [head]


def test_first_tokens_keeps_nulls_and_refuses_zero() -> None:
    assert text.first_tokens(pl.Series([None, "天地玄黄"], dtype=pl.String), 2).to_list() == [None, "天地"]
    with pytest.raises(ValueError, match="at least 1"):
        text.first_tokens(pl.Series(["a"]), 0)


def test_blocks_hold_all_texts_in_order() -> None:
    series = pl.Series(["天" * 10, "", None, "地" * 100, "玄", "黄"])
    parts = list(text.blocks(series, block_bytes=40))
    assert len(parts) > 2
    assert pl.concat(parts).to_list() == series.to_list()


@settings(max_examples=30, deadline=None)
@given(st.lists(any_text, max_size=6), st.integers(0, 3))
def test_code_points_of_any_slice(values: list[str], skipped: int) -> None:
    series = pl.Series(values, dtype=pl.String).slice(skipped)
    codes, starts = text.code_points(series)
    assert ["".join(map(chr, codes[a:b])) for a, b in itertools.pairwise(starts)] == series.to_list()


def test_measures_are_those_of_the_single_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pl.Series(
        "text", [*SOUND, PROSE + "\n" + LINKS, "ä½\xa0å¥½" * 9, "加微信 abc12345 领取优惠券", "", None]
    )
    single = {
        "language": text.language,
        "garble": text.garble_score,
        "repetition": text.repetition_score,
        "markup": text.markup_score,
        "spam": text.spam_score,
        "debris": text.debris_score,
        "offence": text.offence_score,
        "n_chars": text.n_chars,
        "han": text.han_share,
    }
    expected = texts.to_frame().select(**{name: score(pl.col("text")) for name, score in single.items()})
    assert text.measures(texts, list(single)).equals(expected)
    monkeypatch.setattr(text, "blocks", functools.partial(text.blocks, block_bytes=100))
    assert text.measures(texts, list(single)).equals(expected)
    assert text.normalise(texts).equals(
        pl.concat([text.normalise(texts[row : row + 1]) for row in range(len(texts))])
    )


def test_empty_columns() -> None:
    empty = pl.Series([], dtype=pl.String)
    assert text.normalise(empty).height == text.mask_pii(empty).height == text.shares(empty).height == 0
    for function in (*SCORES, text.language, text.n_chars):
        assert pl.DataFrame({"text": empty}).select(function(pl.col("text"))).height == 0
