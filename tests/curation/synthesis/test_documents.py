"""What is asked of a document, and what is better not asked."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.synthesis.documents import grounded_prompts
from curation.synthesis.passages import documents_of, parse

TERMS = frozenset(["绿茶", "红茶", "杀青", "茶叶", "黄茶", "紫砂壶", "green tea", "普洱茶"])


def found(text, title=None, seed=0):
    return grounded_prompts(parse("doc", title, text, TERMS), seed)


def one(text, title=None, task=None):
    samples = [sample for sample in found(text, title) if task in (None, sample.task)]
    assert len(samples) == 1, samples
    return samples[0]


def test_an_entry_is_a_definition():
    text = "杀青：绿茶制作中的关键工序，以高温钝化鲜叶中的酶，使叶子保持绿色。温度不够，叶梗会发红。"
    sample = one(text, task="definition")
    assert "杀青" in sample.instruction
    assert sample.answer.startswith("杀青是绿茶制作中的关键工序，以高温")
    assert sample.answer.endswith("叶梗会发红。")


def test_a_defining_sentence_is_quoted_with_what_goes_on_about_it():
    text = "到了春天，人们上山。绿茶是未经发酵的一种茶类，保留了鲜叶的颜色。它的汤色清亮。山上还有竹子。"
    sample = one(text, task="definition")
    assert sample.answer == "绿茶是未经发酵的一种茶类，保留了鲜叶的颜色。它的汤色清亮。"


@pytest.mark.parametrize(
    "text",
    [
        "绿茶是最讨人喜欢的，谁也不能否认这一点，喝过的都说好。",
        "绿茶是我从小喝到大的一种饮料，祖父每天早上都泡一壶。",
        "绿茶是因为没有发酵才保持绿色的，这个道理并不难懂。",
        "绿茶是这个镇上的主要收入来源，家家户户都靠它吃饭。",
        "绿茶是关键，别的都好商量，价钱可以再谈，日子也可以再定。",
        "目的：研究绿茶在不同温度下的冲泡效果。方法采用感官审评的方法，共三十份样品。",
        "绿茶：程序的结果取决于多个环节穿插的先后次序，而次序又无法预知时，便称绿茶。",
    ],
)
def test_not_every_sentence_with_is_defines(text):
    assert [sample for sample in found(text) if sample.task == "definition"] == []


def test_a_sentence_with_its_own_subject_is_no_definition_of_the_title():
    text = "桐木关的青楼跟戏文里的意思不相干，是一种三层木楼。底层砌灶道，烧马尾松，松烟从楼板的缝里往上走。"
    assert [sample for sample in found(text, "松烟") if sample.task == "definition"] == []


def test_an_entry_without_its_subject_takes_it_from_the_title():
    text = "茶树特有的一种氨基酸，约占茶叶游离氨基酸的一半，在根部合成。\n单独尝，茶氨酸有鲜味，略带甜。"
    assert one(text, "茶氨酸", "definition").answer.startswith("茶氨酸是茶树特有的一种氨基酸，约占")


def test_a_title_that_asks_is_answered_by_a_text_that_explains():
    text = "绿茶怕光、怕潮、怕热。密封以后放进冰箱冷藏，可以存放半年。取出后应等回到室温再开封。"
    sample = one(text, "绿茶怎样储存？", "qa")
    assert (sample.instruction, sample.answer) == ("绿茶怎样储存？", text)


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("绿茶怎样储存？", "我把绿茶放在冰箱里，一放就是半年，喝的时候还是香的，味道一点没有变。"),
        ("绿茶怎样储存？", "老魏笑着说：“绿茶放冰箱。”大家都不信，后来试了一次，味道真的没有变。"),
        ("绿茶怎样储存？", "如上文所述，绿茶要放在冰箱里，温度见表2，时间以半年为限，不能再长。"),
        ("绿茶怎样储存？", "绿茶怕光、怕潮、怕热，密封以后放进冰箱冷藏，可以存放半年，取出以后"),
        (
            "这种茶怎样储存？",
            "绿茶怕光、怕潮、怕热。密封以后放进冰箱冷藏，可以存放半年。取出后等回到室温再开封。",
        ),
        (
            "绿茶多少钱一斤？",
            "绿茶的价钱要看产地和等级。产地好的贵，等级高的贵，早采的也贵，因此很难一概而论。",
        ),
        (
            "绿茶为什么是绿的？",
            "绿茶产于南方各省，一年采摘三季，春季的最好，夏季的次之，秋季的又好一些，冬季不采。",
        ),
        (
            "隔夜绿茶会不会变质，分情况",
            "绿茶放一夜，细菌会繁殖。夏天敞口放十个小时，表面会起一层膜，不宜再喝，应当倒掉。",
        ),
    ],
)
def test_what_a_reader_of_the_answer_could_not_follow_is_not_asked(title, text):
    assert [sample for sample in found(text, title) if sample.task == "qa"] == []


def test_questions_and_answers_of_the_document_itself():
    text = "\n".join(
        [
            "问：绿茶一定要进冰箱吗？",
            "答：两个月内喝完的，放在阴凉避光处即可。",
            "问：冷冻行不行？",
            "答：密封得严就行，潮的不要冻，回温以后香气会散。",
            "问：那红茶呢？",
            "答：红茶放在柜子里，避光防潮就好，不必冷藏。",
            "问：你家里喝绿茶吗？",
            "答：喝，每天早上一杯，用玻璃杯泡，放一小撮就够。",
            "问：红茶能不能放冰箱？",
            "答：我们化验室试过一次，香气散得很快，不建议。",
        ]
    )
    sample = one(text, task="qa")
    assert sample.instruction == "绿茶一定要进冰箱吗？"
    assert sample.answer == "两个月内喝完的，放在阴凉避光处即可。"


def test_a_heading_names_an_aspect_of_the_title():
    text = "紫砂壶用陶土烧成。\n## 产地\n紫砂壶的陶土出自江苏宜兴丁蜀镇一带，常见的有紫泥、红泥和绿泥，其中紫泥最多，绿泥最少。"
    sample = one(text, "紫砂壶", "qa")
    assert "紫砂壶的产地" in sample.instruction
    assert sample.answer.startswith("紫砂壶的陶土出自江苏宜兴")


def test_a_reason_is_asked_for_where_one_is_named():
    sample = one("黄茶产量在六大类里最少，原因之一是费工，之二是容易被当成放坏了的绿茶。", task="reason")
    assert sample.instruction == "为什么黄茶产量在六大类里最少？"
    named = one("绿茶之所以保持绿色，是因为高温破坏了氧化酶，叶绿素得以保存。", task="reason")
    assert named.instruction == "绿茶为什么保持绿色？"
    assert not [
        s
        for s in found("至于味道变差，是因为儿茶素继续氧化，汤发红、发钝，绿茶也一样。")
        if s.task == "reason"
    ]


def test_facts():
    assert one("绿茶按杀青的方式分为炒青、烘青、晒青和蒸青四类。", task="fact").instruction.endswith(
        "分为哪几类？"
    )
    assert (
        one("普洱茶主要产于云南西双版纳、临沧和普洱等地。", task="fact").instruction == "普洱茶主要产于哪里？"
    )
    assert not [s for s in found("治疗方案包括甘草、陈皮和绿茶等几味，按需选用即可。") if s.task == "fact"]


def test_steps_below_a_heading_that_asks_for_them():
    steps = "1. 取五克绿茶放进瓶中。\n2. 注入五百毫升凉开水。\n3. 密封冷藏四小时。"
    sample = one(f"夏天适合冷泡。\n## 绿茶的冷泡方法\n{steps}", "消暑", "steps")
    assert (sample.instruction, sample.answer) == ("请写出绿茶的冷泡方法。", steps)
    assert not [s for s in found(f"夏天适合冷泡。\n## 绿茶三则\n{steps}", "消暑") if s.task == "steps"]


LONG = "网上的开壶教程一套比一套隆重：先用豆腐煮，再用甘蔗煮，最后拿茶叶煮两个钟头。烧过一千一百多度的砂胎，没有什么火气可去。豆腐里的蛋白和油脂倒是真会钻进气孔，洗不净，夏天捂几天，壶里一股馊味。甘蔗的糖也一样，给霉菌留了口粮。养壶没有秘方，喝完倒掉茶渣，热水冲净，敞着盖晾干就好。"


def test_a_title_is_asked_for_where_it_fits_the_text():
    sample = one(LONG, "豆腐煮壶这件事", "title")
    assert (sample.input, sample.answer) == (LONG, "豆腐煮壶这件事")
    assert found(LONG, "首页") == []
    assert found(LONG, "航天员的太空生活") == []
    assert found(LONG + "所以说，豆腐煮壶这件事，听听就好。", "豆腐煮壶这件事") == []


def test_what_belongs_to_the_site_belongs_to_no_document():
    frame = pl.DataFrame(
        {
            "record_id": [str(number) for number in range(4)],
            "title": [f"豆腐煮壶{name}事 - 茶事 - 闲庭周刊" for name in "甲乙丙丁"],
            "text": [f"{LONG}\n网友评论（{number}）\n登录后才能发表评论。" for number in range(4)],
        }
    )
    document = next(iter(documents_of(frame, [])))
    assert (document.title, document.body) == ("豆腐煮壶甲事", LONG)


def test_a_lead_is_a_summary_only_if_the_text_bears_it_out():
    lead = "绿茶的保存要点是密封、避光和低温，家庭保存绿茶以密封后放进冰箱冷藏最为稳妥，能放半年左右。"
    body = "密封是保存绿茶的第一步，空气会让绿茶氧化。密封袋比铁罐好。\n避光同样要紧，光照会让叶绿素分解，绿茶很快变黄。\n低温保存放慢一切变化，家庭冰箱冷藏到五度就够。冰箱里的绿茶取出以后应等回温再开。保存半年的绿茶仍有香气，密封不严的绿茶两个月就走味，喝起来像隔夜的水，只能拿去煮一锅茶叶蛋，或者装进纱布袋去潮。"
    sample = one(f"{lead}\n{body}", "绿茶怎么放", "summary")
    assert (sample.answer, sample.input) == (lead, body)
    other = "春天的山谷里开满了花，溪水从石头中间流过去，鸟在林子里叫，远处的村庄升起了炊烟，一切都很安静。"
    assert not [s for s in found(f"{other}\n{body}", "绿茶怎么放") if s.task == "summary"]
    marked = one(f"摘要：{other}\n{body}", "绿茶怎么放", "summary")
    assert marked.answer == other


def test_all_values_of_a_kind_are_extracted_or_none():
    text = "乌牛早一芽一叶每公斤九十元，龙井一芽一叶每公斤一百七十元，采工日工资含饭二百二十元，比往年都要高出不少。"
    sample = one(text, task="extraction")
    assert sample.answer.split("\n") == [
        "1. 九十元：乌牛早一芽一叶每公斤九十元",
        "2. 一百七十元：龙井一芽一叶每公斤一百七十元",
        "3. 二百二十元：采工日工资含饭二百二十元",
    ]
    for spoilt in ("九十块", "九十，零头不算"):
        assert not [s for s in found(text.replace("九十元", spoilt)) if s.task == "extraction"]
    wide = "回收率提高了12．56％，含水量降低了55．86％，产量增加了65．3％，都比对照组要好一些，差异显著，可以推广使用，效果稳定可靠。"
    assert not [s for s in found(wide) if s.task == "extraction"]


def test_a_timeline_has_every_date_of_its_text():
    text = "1848年，福钧从上海进入徽州采集茶种。1851年，苗木运抵加尔各答的植物园。1860年，大吉岭的茶园开始有了收成，中国种的绿茶占了大头，此后逐年扩大，直到铁路修通。"
    sample = one(text, task="timeline")
    assert sample.answer.split("\n")[0] == "- 1848年：福钧从上海进入徽州采集茶种。"
    assert len(sample.answer.split("\n")) == 3
    assert not [s for s in found(text + "次年，又扩种了一倍。") if s.task == "timeline"]


def test_english_documents_are_asked_in_english():
    text = "Green tea is a type of tea made from leaves that have not been oxidised. The leaves are heated soon after picking, which stops the enzymes and keeps the colour."
    samples = found(text, "Green tea")
    assert {sample.task for sample in samples} >= {"definition"}
    assert all(sample.instruction.isascii() for sample in samples)
    assert any("green tea" in sample.instruction for sample in samples)


def test_wordings_vary_between_documents_and_never_for_one():
    text = "杀青：绿茶制作中的关键工序，以高温钝化鲜叶中的酶，使叶子保持绿色。"
    asked = [
        grounded_prompts(parse(str(number), None, text, TERMS), 0)[0].instruction for number in range(40)
    ]
    assert len(set(asked)) >= 4
    assert asked == [
        grounded_prompts(parse(str(number), None, text, TERMS), 0)[0].instruction for number in range(40)
    ]


@settings(max_examples=120, deadline=None)
@given(
    st.text(alphabet="绿茶是的一种，。：？\n1.#答问我因为 aA“”（）年9", max_size=120),
    st.one_of(st.none(), st.text(alphabet="绿茶是？ -a", max_size=12)),
)
def test_no_text_breaks_a_finder_and_every_answer_is_quoted(text, title):
    for sample in found(text, title):
        assert sample.instruction.strip()
        assert sample.answer.strip()
        assert len(sample.answer) <= 900
