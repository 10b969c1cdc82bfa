"""A mistake is one line and status 2; what is printed as JSON can be read by a machine."""

import json

import pytest

from curation_dagster import cli


@pytest.fixture
def command(world, monkeypatch, capsys):
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["curation", *words, "--profile", world.path])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = int(stop.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_run_status_and_plan(world, command):
    status, out, _ = command("run", "--json")
    assert status == 0
    assert len(json.loads(out)["made"]) == 10
    assert json.loads(command("run", "--json")[1])["made"] == []
    funnel = {row["table"]: row for row in json.loads(command("status", "--json")[1])["funnel"]}
    assert funnel["clean_docs"]["in"] == funnel["raw_crawl"]["kept"] == 9
    assert funnel["clean_docs"]["reasons"] == {"too_short": 9}
    assert json.loads(command("plan", "--json")[1])["stale"] == []
    assert "up to date" in command("plan")[1]
    assert "too_short" in command("status")[1]
    stale = json.loads(command("plan", "--json", "--set", "corpus.clean.min_chars=2")[1])["stale"]
    assert {one["asset"] for one in stale} == {"clean_docs", "unique_docs", "doc_embeddings"}


def test_why_by_text(world, command):
    command("run", "--json")
    status, out, _ = command("why", "杯" * 8, "--json")
    # the same line is in three files: all are named
    assert status == 1
    assert len(json.loads(out)["matches"]) == 3
    record = json.loads(out)["matches"][0]["record_id"]
    status, out, _ = command("why", record)
    assert status == 0
    assert "too_short" in out
    assert "min_chars" in out or "n_chars" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--set", "selection.budget=-1"], "selection.budget: Input should be greater than 0"),
        (["run", "--select", "nothing"], "unknown asset 'nothing'"),
        (["status"], "nothing has been made yet"),
        (["why", "nothing"], "no record matches"),
        (["evaluate", "cooking", "--data", "."], "unknown task 'cooking'; allowed: recall, defects"),
        (["evaluate", "recall", "--data", "/nowhere"], "no such folder"),
        (
            ["evaluate", "recall", "--data", ".", "--train", "."],
            "does not take --train; allowed: --baselines",
        ),
    ],
)
def test_a_mistake_is_one_line(world, command, words, message):
    status, _, err = command(*words)
    assert status == 2
    assert message in err.replace("\n", " ")
    assert "Traceback" not in err


def test_a_failing_stage_is_one_line_and_status_1(world, command, monkeypatch):
    from assets.stage import STAGES

    def broken(*_):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(type(STAGES["raw_crawl"]), "execute", broken)
    status, _, err = command("run")
    assert status == 1
    assert "raw_crawl: ZeroDivisionError: on purpose" in err
    assert "Traceback" not in err


def test_a_plan_says_what_the_chat_model_may_cost(world):
    profile = world.outside.profile
    assert cli._chat_estimate(profile, {"answers", "judgements"})["requests"] == 0
    world.sets += ["synthesis.chat.base_url=http://localhost:1/v1", "scores.judge.rows=100"]
    judging = cli._chat_estimate(world.outside.profile, {"judgements"})
    assert (judging["requests"], judging["tokens"]) == (300, 300 * 512)
    assert cli._chat_estimate(world.outside.profile, {"sft_set"})["requests"] == 0
    world.sets.append("scores.judge.cap_tokens=5000")
    assert cli._chat_estimate(world.outside.profile, {"judgements"})["tokens"] == 5000
