"""The stage `judgements` against a chat server on loopback that is wrong in every way."""

import json
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

import assets
from assets.stage import STAGES, Run
from curation import schemas, verdicts
from curation.errors import UserError
from curation.records import digest
from curation.scores.judge import RUBRIC
from curation.settings import load_profile
from resources import chat as chat_module
from resources.chat import ChatModel
from resources.lake import Lake

ROOT = Path(__file__).resolve().parents[2]
#: What the server does with every tenth sample.
KINDS = ("good", "garbage", "busy", "broken", "slow", "good", "prose", "hangs_up", "bad", "good")


class Judge(ThreadingHTTPServer):
    """A judge that treats each sample by its number; `asked` counts questions by number and turn."""

    daemon_threads = True

    def __init__(self, kinds):
        self.kinds, self.asked, self.tokens, self.lock = kinds, {}, 0, threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request, client_address):
        """Hanging up is what some tests are about."""

    def treat(self, body):
        """Status, headers and text for a question; None: hang up."""
        number = int(body["messages"][0]["content"].split("第")[1].split("种茶")[0])
        turn = len(body["messages"]) // 2
        with self.lock:
            times = self.asked[number, turn] = self.asked.get((number, turn), 0) + 1
        kind = self.kinds[number % len(self.kinds)]
        good = json.dumps({"scores": dict.fromkeys(RUBRIC, 1 if kind == "bad" else 3 + number % 3)})
        if kind == "garbage":
            return 200, {}, "答得不错。"
        if kind == "busy" and times == 1:
            return 429, {"Retry-After": "0.05"}, ""
        if kind == "broken":
            return 500, {}, ""
        if kind == "slow" and times == 1:
            time.sleep(1)
        if kind == "prose" and turn == 0:
            return 200, {}, "我先想一想。"
        return None if kind == "hangs_up" else (200, {}, good)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = self.server.treat(body)
        if found is None:
            self.close_connection = True
            return
        status, headers, text = found
        usage = {
            "prompt_tokens": sum(len(one["content"]) for one in body["messages"]),
            "completion_tokens": 40,
        }
        if status == 200:
            with self.server.lock:
                self.server.tokens += sum(usage.values())
        content = json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        """Quiet."""


@pytest.fixture
def serve():
    running = []

    def start(kinds=KINDS):
        server = Judge(kinds)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(chat_module, "FIRST_WAIT", 0.01)


def world(folder, n, address, concurrency, **settings):
    """A profile with a judge, and the frames of the stage."""
    file = folder / "profile.yaml"
    chat = {"base_url": address, "timeout": 0.5, "retries": 1, "concurrency": concurrency}
    judge = {"max_tokens": 60, "retries": 1} | settings
    file.write_text(
        json.dumps({"lake": "lake", "sources": [], "synthesis": {"chat": chat}, "scores": {"judge": judge}})
    )
    ids = [digest("sample", str(number)) for number in range(n)]
    scores = pl.LazyFrame(
        {"record_id": ids, "shard": "s", "quality": [number / n for number in range(n)]},
        schema={"record_id": pl.String, "shard": pl.String, "quality": pl.Float64},
    )
    messages = [
        [
            {"role": "user", "content": f"第{number}种茶怎样泡？"},
            {"role": "assistant", "content": "用热水泡三分钟。"},
        ]
        for number in range(n)
    ]
    pool = pl.LazyFrame(
        {"record_id": ids, "language": ["zh"] * n, "messages": messages}, schema_overrides={"messages": schemas.Messages}
    )  # fmt: skip
    return file, {"scores": scores, "sft_pool": pool}


def judgements(folder, n, address, concurrency=6, **settings):
    """The table that the stage makes, in the order of the samples."""
    assets.load()
    file, frames = world(folder, n, address, concurrency, **settings)
    profile = load_profile(file)
    chat = ChatModel(**profile.synthesis.chat.model_dump(), cache=str(folder / "_chat"))
    run = Run("r" * 32, 0, profile, Lake(root=str(folder / "lake")), "judgements")
    table = STAGES["judgements"].execute(None, frames, run, {"chat": chat})
    checked = verdicts.conservation("judge", frames["scores"], table.lazy())
    assert checked.ok, checked
    schemas.TABLES["judgements"].validate(
        schemas.conform("judgements", table.with_columns(run_id=pl.lit(run.run_id)))
    )
    order = frames["scores"].select("record_id").collect()
    return order.join(table, on="record_id", maintain_order="left"), run.notes


def address_of(server):
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


def test_a_bad_server_spoils_only_the_rows_that_it_fails(serve, tmp_path):
    server = serve()
    table, notes = judgements(tmp_path, 30, address_of(server))
    statuses = dict(zip(KINDS, table["status"].to_list(), strict=False))
    assert statuses == {
        "good": "judged", "busy": "judged", "slow": "judged", "prose": "judged", "bad": "judged",
        "garbage": "garbled", "broken": "failed", "hangs_up": "failed",
    }  # fmt: skip
    counts = verdicts.verdict_counts(table).select("verdict", "reason", "rows").rows()
    assert set(counts) == {
        ("kept", None, 18),
        ("dropped", "below_judge_score", 3),
        ("quarantined", "garbled_judgement", 3),
        ("quarantined", "chat_failed", 6),
    }
    # each was tried again, and not more often than the settings say
    assert {server.asked[number, 0] for number in (2, 3, 4, 7)} == {2}
    assert {server.asked[number, turn] for number in (1, 6) for turn in (0, 1)} == {1}
    assert notes["tokens_spent"] >= server.tokens


def test_a_second_run_asks_only_what_failed_and_gives_the_same(serve, tmp_path):
    server = serve()
    first, _ = judgements(tmp_path, 20, address_of(server))
    before = dict(server.asked)
    again, _ = judgements(tmp_path, 20, address_of(server))
    assert first.drop("evidence").equals(again.drop("evidence"))
    more = {key[0] for key in server.asked if server.asked[key] > before[key]}
    assert {KINDS[number % 10] for number in more} == {"broken", "hangs_up"}


def test_the_cap_holds_for_all_runs_together(serve, tmp_path):
    server = serve(("good",))
    table, notes = judgements(tmp_path, 40, address_of(server), cap_tokens=6000)
    n_judged = table.filter(status="judged").height
    assert 3 < n_judged < 40
    assert set(table["status"]) == {"judged", "over_cap"}
    assert server.tokens == notes["tokens_spent"] <= 6000
    assert table.filter(status="over_cap").select("judge_score", "verdict").unique().rows() == [
        (None, "kept")
    ]
    again, notes = judgements(tmp_path, 40, address_of(server), cap_tokens=6000)
    assert again.equals(table)
    assert notes["tokens_spent"] == 0
    more, _ = judgements(tmp_path, 40, address_of(server), cap_tokens=9000)
    assert more.filter(status="judged").height > n_judged
    assert server.tokens <= 9000
    assert set(server.asked.values()) == {1}


@pytest.mark.parametrize("concurrency", [1, 6])
def test_a_killed_run_goes_on_without_paying_twice(serve, tmp_path, concurrency):
    server = serve(("good", "prose"))
    body = KILLED.format(folder=str(tmp_path), address=address_of(server), concurrency=concurrency)
    done = subprocess.run([sys.executable, "-c", body], cwd=ROOT, timeout=120, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert 9 <= len(server.asked) < 9 + concurrency
    table, _ = judgements(tmp_path, 16, address_of(server))
    assert set(table["status"]) == {"judged"}
    assert len(server.asked) == 24
    # only what was under way when it was killed may be asked twice
    assert sum(server.asked.values()) - 24 < concurrency
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert judgements(fresh, 16, address_of(server))[0].equals(table)


#: Runs the stage and kills itself once nine answers are kept.
KILLED = """
import os, pathlib, signal
from tests.assets import test_judgements as tests
from resources import chat

left, add = 9, chat.AnswerCache.add

def killed(*arguments):
    global left
    add(*arguments)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

chat.AnswerCache.add = killed
tests.judgements(pathlib.Path({folder!r}), 16, {address!r}, {concurrency})
"""


def test_no_server_is_one_clear_line_and_no_table(tmp_path):
    with pytest.raises(UserError, match="gave no answer") as error:
        judgements(tmp_path, 20, "http://127.0.0.1:9/v1")
    assert "\n" not in str(error.value)


def test_without_an_address_nothing_is_judged(tmp_path):
    table, notes = judgements(tmp_path, 5, None)
    assert set(table["status"]) == {"no_chat_model"}
    assert table["quality"].to_list() == [number / 5 for number in range(5)]
    assert notes == {"tokens_spent": 0, "money_spent": 0}
