"""A decision of a person makes only its dependents anew, and `why` says who, when and what changed."""

import json

import dagster as dg
import pytest

from curation_dagster import cli, plan, runner
from curation_dagster.build import build_defs, build_resources

SEEDS = [
    "绿茶先杀青再揉捻，杀青的温度决定茶叶的香气。",
    "白茶不用杀青，只要萎凋和干燥，茶叶带着白毫。",
    "红茶先萎凋再揉捻，发酵以后茶汤红亮。",
    "晒青毛茶杀青以后揉捻，最后晒干，压成茶饼。",
    "乌龙茶做青之后杀青，揉捻成形，茶汤金黄。",
    "岩茶要焙火，焙火之后茶汤醇厚，香气沉稳。",
]
GENERAL = [
    "今天的天气很好，我们去公园散步，孩子在湖边喂鱼。",
    "公司发布了新的手机，价格比去年便宜了两百元。",
    "球队在最后时间进球，赢得了这场重要的比赛。",
    "这家饭店的面条味道一般，价格却比别处贵得多。",
    "图书馆周末开放到晚上九点，借书证可以在网上办理。",
    "师傅把鲜叶杀青、揉捻，做成今年的第一批绿茶。",
    "他泡了一壶红茶，看着茶汤慢慢变红，香气满屋。",
    "火车晚点半个小时，站台上的人都在看手机。",
]


@pytest.fixture
def lake(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for name, texts in (("seeds", SEEDS), ("general", GENERAL)):
        lines = (json.dumps({"id": f"{name}-{n}", "text": text}) for n, text in enumerate(texts))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    path = tmp_path / "profile.yaml"
    path.write_text(
        "lake: lake\nsources:\n"
        "- {name: general, role: document, kind: jsonl, path: general.jsonl, fields: {id: id}}\n"
        "- {name: seeds, role: seed, kind: jsonl, path: seeds.jsonl, fields: {id: id}}\n"
        "corpus: {clean: {min_chars: 5}}\n"
        "domain: {seeds: {heldout_share: 0}, keywords: {min_score: 0.01}, encoder: {dimension: 8},"
        " recall: {min_similarity: -1}}\n"
    )
    return str(path)


def run(path):
    wired = build_resources(path)
    with dg.DagsterInstance.from_config(str(runner.home(wired["lake"]))) as instance:
        done = runner.bring_up_to_date(
            build_defs(path), instance, wired["profile"].load(), wired["lake"], wired["reviews"],
            plan.select(["+domain_docs"]),
        )  # fmt: skip
    return {asset for asset, _ in done.made}


def call(monkeypatch, capsys, path, *words):
    monkeypatch.setattr("sys.argv", ["curation", *words, "--profile", path])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    return capsys.readouterr().out


def test_decisions_make_only_their_dependents_anew_and_why_tells_of_them(lake, tmp_path, monkeypatch, capsys):
    assert {"keyword_table", "recalled_docs", "domain_docs"} <= run(lake)
    assert run(lake) == set()

    filled = tmp_path / "filled.csv"
    call(monkeypatch, capsys, lake, "keywords", "export", str(filled))
    assert "杀青" in filled.read_text()
    filled.write_text("term,decision,note\n杀青,reject,试试\n")
    assert "1 of them new" in call(monkeypatch, capsys, lake, "keywords", "import", str(filled), "--by", "林")
    made = run(lake)
    assert "keyword_table" in made
    assert made <= {"keyword_table", "recalled_docs", "domain_docs"}
    said = call(monkeypatch, capsys, lake, "why", "杀青")
    for part in (
        "rejected_by_reviewer",
        "suggested=accept",
        "decision=reject",
        "decided_by=林",
        "at=20",
        "试试",
    ):
        assert part in said.replace("\n", "")
    assert "0 of them new" in call(monkeypatch, capsys, lake, "keywords", "import", str(filled), "--by", "林")
    assert run(lake) == set()

    build_resources(lake)["reviews"].add("document", "general-5", "reject", "陈", "不要")
    made = run(lake)
    assert "domain_docs" in made
    assert not made & {
        "keyword_table",
        "document_encoder",
        "doc_embeddings",
        "seed_embeddings",
        "unique_docs",
    }
    said = call(monkeypatch, capsys, lake, "why", "general-5").replace("\n", "")
    for part in ("rejected_by_reviewer", "suggested=accept", "decision=reject", "decided_by=陈", "不要"):
        assert part in said
