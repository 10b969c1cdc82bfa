"""The chat model against a small server on loopback that answers well, badly and late."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

from curation import progress
from curation.errors import UserError
from curation.settings import ChatSettings
from curation.synthesis.answers import answer_prompts
from curation.synthesis.chat import Reply
from curation.synthesis.costs import Account, Cap, Usage
from resources import chat as chat_module
from resources.chat import ChatModel

ROOT = Path(__file__).resolve().parents[2]


def completion(text, finish="stop", tokens=7) -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": {"total_tokens": tokens}}).encode()


class Server(ThreadingHTTPServer):
    """Answers each question by a script: a list of (status, headers, body, seconds), the last one stays.

    Seconds pass after each byte of the body, or, below 0, before the answer begins.
    """

    daemon_threads = True

    def __init__(self):
        self.scripts, self.asked, self.keys, self.lock = {}, [], [], threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request, client_address):
        """A client that hung up is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][-1]["content"]
        with self.server.lock:
            self.server.asked.append((self.path, body, time.monotonic()))
            self.server.keys.append(self.headers.get("Authorization"))
            script = self.server.scripts.get(question, [(200, {}, completion(f"答：{question}"), 0)])
            status, headers, answer, seconds = script.pop(0) if len(script) > 1 else script[0]
        if seconds < 0:
            time.sleep(-seconds)
        pieces = [answer] if seconds <= 0 else [answer[at : at + 1] for at in range(len(answer))]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            time.sleep(max(seconds, 0))

    def log_message(self, *arguments):
        """Quiet."""


@pytest.fixture
def server():
    one = Server()
    thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield one
    one.shutdown()
    one.server_close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(chat_module, "FIRST_WAIT", 0.01)


@pytest.fixture
def model(server, tmp_path):
    def make(**settings):
        address = f"http://127.0.0.1:{server.server_address[1]}/v1/"
        return ChatModel(**{"base_url": address, "cache": str(tmp_path / "chat"), "retries": 2} | settings)

    return make


def ask(text):
    return [{"role": "user", "content": text}]


def test_replies_come_in_the_order_of_the_questions(server, model):
    replies = model(concurrency=4).complete([ask(str(number)) for number in range(20)])
    assert [reply.text for reply in replies] == [f"答：{number}" for number in range(20)]
    assert {reply.usage.tokens for reply in replies} == {7}
    path, body, _ = server.asked[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("default", 0.7, 1024)


def test_what_was_answered_once_is_not_asked_again(server, model):
    first = model().complete([ask("茶"), ask("茶"), ask("水")])
    assert len(server.asked) == 2
    again = model().complete([ask("水"), ask("茶")])
    assert [reply.text for reply in again] == [first[2].text, first[0].text]
    assert [reply.usage for reply in again] == [first[2].usage, first[0].usage]
    assert len(server.asked) == 2
    model(temperature=0.1).complete([ask("茶")])
    assert len(server.asked) == 3


def test_a_spoilt_cache_is_the_users_to_delete(model, tmp_path):
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "answers.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match=r"answers\.sqlite"):
        model().complete([ask("茶")])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_that_passes_is_tried_again(server, model, status):
    server.scripts["茶"] = [(status, {}, b"busy", 0), (200, {}, completion("好"), 0)]
    assert model().complete([ask("茶")]) == [Reply("好", usage=Usage(0, 7))]
    assert len(server.asked) == 2


def test_the_server_says_how_long_to_wait(server, model):
    server.scripts["茶"] = [(429, {"Retry-After": "0.4"}, b"", 0), (200, {}, completion("好"), 0)]
    model().complete([ask("茶")])
    assert server.asked[1][2] - server.asked[0][2] >= 0.39


@pytest.mark.parametrize(
    "garbage",
    [b"", b"<html>", b"{}", b'{"choices": []}', b"[1]", completion(None), completion("  "), completion(5)],
)
def test_garbage_is_an_error_after_the_retries_and_is_not_cached(server, model, garbage):
    server.scripts["茶"] = [(200, {}, garbage, 0)]
    (reply,) = model().complete([ask("茶")])
    assert reply.text is None
    assert reply.error
    assert len(server.asked) == 3
    server.scripts.clear()
    assert model().complete([ask("茶")])[0].text == "答：茶"


def test_a_request_that_can_never_succeed_is_not_repeated(server, model):
    server.scripts["茶"] = [(400, {}, b'{"error": "too long"}', 0)]
    reply, other = model().complete([ask("茶"), ask("水")])
    assert reply.text is None
    assert "400" in reply.error
    assert "too long" in reply.error
    assert other.text == "答：水"
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_refuses_everything_is_the_users_mistake(server, model, status):
    for number in range(30):
        server.scripts[str(number)] = [(status, {}, b"no such key", 0)]
    with pytest.raises(UserError, match=f"status {status}: no such key") as error:
        model(concurrency=2).complete([ask(str(number)) for number in range(30)])
    assert "\n" not in str(error.value)
    assert len(server.asked) <= chat_module.FIRST_FAILURES + 2


def test_a_question_that_the_server_forbids_is_an_error_of_its_own(server, model):
    server.scripts["坏"] = [(403, {}, b"forbidden", 0)]
    assert [reply.text for reply in model().complete([ask("坏"), ask("茶")])] == [None, "答：茶"]
    assert [reply.text for reply in model().complete([ask("坏"), ask("茶")])] == [None, "答：茶"]


def test_an_answer_that_drips_is_given_up_in_time(server, model):
    server.scripts["茶"] = [(200, {}, completion("慢" * 40), 0.05)]
    started = time.monotonic()
    (reply,) = model(timeout=0.3, retries=0).complete([ask("茶")])
    assert reply.text is None
    assert time.monotonic() - started < 2


def test_one_failure_spoils_no_other_answer(server, model):
    server.scripts["坏"] = [(500, {}, b"", 0)]
    replies = model(retries=0).complete([ask("好"), ask("坏"), ask("茶")])
    assert [reply.text for reply in replies] == ["答：好", None, "答：茶"]


@pytest.mark.parametrize("place", ["closed", "silent"])
def test_a_server_that_never_answers_is_the_users_mistake(model, place):
    with socket.create_server(("127.0.0.1", 0)) as listening:  # takes connections and says nothing
        port = 9 if place == "closed" else listening.getsockname()[1]
        gone = model(base_url=f"http://127.0.0.1:{port}/v1", retries=0, concurrency=2, timeout=0.1)
        with pytest.raises(UserError, match=r"base_url .*gave no answer") as error:
            gone.complete([ask(str(number)) for number in range(40)])
    assert "\n" not in str(error.value)


def test_a_server_that_died_since_it_answered_last_is_the_users_mistake(server, model):
    model().complete([ask("茶")])
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match="gave no answer"):
        model().complete([ask("茶"), ask("水")])


def test_a_question_that_is_always_too_slow_spoils_no_later_run(server, model):
    server.scripts["慢"] = [(200, {}, completion("慢慢来"), -0.5)]
    for _ in range(2):
        replies = model(timeout=0.1, retries=0).complete([ask("茶"), ask("慢")])
        assert [reply.text for reply in replies] == ["答：茶", None]


def test_a_server_that_fails_in_the_middle_is_given_up(server, model):
    for number in range(2, 60):
        server.scripts[str(number)] = [(500, {}, b"", 0)]
    replies = model(retries=0, concurrency=1).complete([ask(str(number)) for number in range(60)])
    assert [reply.text is not None for reply in replies] == [True] * 2 + [False] * 58
    assert sum("not asked" in reply.error for reply in replies[2:]) == 58 - chat_module.MOST_FAILURES
    assert len(server.asked) == 2 + chat_module.MOST_FAILURES


def test_a_busy_server_is_left_alone_by_all(server, model):
    server.scripts["茶"] = [(429, {"Retry-After": "0.4"}, b"", 0), (200, {}, completion("好"), 0)]
    model(concurrency=1).complete([ask("茶")])
    server.scripts["茶"] = [(429, {"Retry-After": "0.4"}, b"", 0), (200, {}, completion("好"), 0)]
    model(concurrency=2, temperature=0).complete([ask("茶"), ask("水"), *map(ask, "一二三四五")])
    busy, *others = [moment for _, _, moment in server.asked[2:]]
    # at most the other thread's request, sent before, comes earlier
    assert sum(moment - busy < 0.39 for moment in others) <= 1


# -- costs --------------------------------------------------------------------------------------


def counted(text, prompt, answer) -> bytes:
    body = json.loads(completion(text))
    return json.dumps(body | {"usage": {"prompt_tokens": prompt, "completion_tokens": answer}}).encode()


def most(text, max_tokens):
    return len(text.encode()) + chat_module._FRAME_TOKENS + max_tokens


def test_the_cap_holds_with_many_requests_at_once(server, model):
    questions = [f"第{number:02}问" for number in range(40)]
    for number, question in enumerate(questions):
        server.scripts[question] = [(200, {}, counted("答", 20, 5 + number % 7), 0.0001)]
    bound = most(questions[0], 100)
    cap = 15 * 25 + bound
    asked = []
    for concurrency in (1, 16):
        account = Account(Cap(tokens=cap))
        one = model(concurrency=concurrency, max_tokens=100, temperature=concurrency / 100)
        replies = one.complete([ask(question) for question in questions], account)
        given = [reply.text is not None for reply in replies]
        assert account.paid.tokens == sum(reply.usage.tokens for reply in replies) <= cap
        assert [reply.over_cap for reply in replies] == [not there for there in given]
        # the first ones, as many as there is room for
        assert given == sorted(given, reverse=True)
        assert account.paid.tokens + bound > cap
        asked.append(sum(given))
    assert asked[0] == asked[1] > 5
    assert len(server.asked) == sum(asked)


def test_a_cap_in_money_counts_both_prices(server, model):
    questions = [ask(str(number)) for number in range(20)]
    for number in range(20):
        server.scripts[str(number)] = [(200, {}, counted("答", 50, 10), 0)]
    account = Account(Cap(money=3.0, prompt_price=2.0, answer_price=20.0))
    replies = model(max_tokens=10).complete(questions, account)
    # nine at 0.30; a tenth might have cost 0.33
    assert [reply.text is not None for reply in replies] == [True] * 9 + [False] * 11
    assert account.cap.price(account.paid) == pytest.approx(2.7)


def test_what_was_paid_before_counts_for_the_cap_and_is_not_paid_again(server, model):
    questions = [f"第{number:02}问" for number in range(20)]
    for question in questions:
        server.scripts[question] = [(200, {}, counted("答", 20, 10), 0)]
    cap = Cap(tokens=10 * 30 + most(questions[0], 50))
    model(max_tokens=50).complete([ask(question) for question in (questions[1], questions[7])])
    account = Account(cap)
    replies = model(max_tokens=50).complete([ask(question) for question in questions], account)
    given = sum(reply.text is not None for reply in replies)
    assert account.paid.tokens == (given - 2) * 30
    again = Account(cap)
    assert model(max_tokens=50).complete([ask(question) for question in questions], again) == replies
    assert again.paid.tokens == 0
    assert len(server.asked) == given


def test_what_the_server_does_not_count_is_taken_at_its_most(server, model):
    server.scripts["茶"] = [(200, {}, json.dumps({"choices": [{"message": {"content": "好"}}]}).encode(), 0)]
    (reply,) = model(max_tokens=10).complete([ask("茶")])
    assert reply.usage.tokens == most("茶", 10)


def test_a_request_without_an_answer_may_have_cost_its_most(server, model):
    server.scripts["慢"] = [(200, {}, completion("慢慢来"), -0.5)]
    account = Account(Cap(tokens=7 + 2 * most("慢", 10)))
    patient = model(timeout=0.1, retries=5, max_tokens=10, concurrency=1)
    first, slow, last = patient.complete([ask("茶"), ask("慢"), ask("水")], account)
    assert first.text == "答：茶"
    assert "cost cap" in slow.error
    assert not slow.over_cap
    assert last.over_cap
    assert len(server.asked) == 3


def test_answers_and_tokens_are_told_as_they_come(server, model):
    heard = []
    with progress.listen(lambda *said: heard.append(said)):
        model(concurrency=1).complete([ask("茶"), ask("水")], Account(Cap(tokens=5000)))
    assert heard[-2:] == [("chat answers", 2, 2), ("tokens spent", 14, 5000)]


def test_prompts_that_were_answered_are_not_paid_for_again(server, model):
    text = {name: ["茶"] for name in ("record_id", "method", "task", "instruction", "input")}
    prompts = pl.DataFrame(text | {"parents": [["文"]], "grounded_answer": [None]})
    prompts = pl.concat([prompts.with_columns(instruction=pl.lit(f"问{number}")) for number in range(3)])
    prompts = prompts.with_columns(record_id=pl.col("instruction"))
    server.scripts["问1\n\n茶"] = [(500, {}, b"", 0), (500, {}, b"", 0), (200, {}, completion("终于"), 0)]
    first, second, third = (
        answer_prompts(prompts, model(retries=0).chat(), ChatSettings()) for _ in range(3)
    )
    assert first["reason"].to_list() == second["reason"].to_list() == [None, "chat_failed", None]
    assert third["reason"].to_list() == [None] * 3
    assert len(server.asked) == 5


# -- killed -------------------------------------------------------------------------------------

#: Asks questions and kills itself once so many answers are kept.
KILLED = """
import os, signal, sys
from resources import chat

left = int(sys.argv[3])
add = chat.AnswerCache.add

def killed(*arguments):
    global left
    add(*arguments)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

chat.AnswerCache.add = killed
model = chat.ChatModel(base_url=sys.argv[1], cache=sys.argv[2], concurrency=int(sys.argv[4]))
model.chat()([[{"role": "user", "content": str(number)}] for number in range(20)])
"""


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_killed_run_goes_on_without_paying_twice(server, model, tmp_path, concurrency):
    one = model(concurrency=concurrency)
    command = [sys.executable, "-c", KILLED, one.base_url, one.cache, "7", str(concurrency)]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == -signal.SIGKILL
    before = len(server.asked)
    assert 7 <= before < 7 + concurrency
    replies = one.complete([ask(str(number)) for number in range(20)])
    assert [reply.text for reply in replies] == [f"答：{number}" for number in range(20)]
    # what was kept is not asked again; what was under way at the kill is
    assert len(server.asked) - before == 13
    assert len(server.asked) < 20 + concurrency


def test_an_answer_cut_off_at_the_limit_says_so(server, model):
    server.scripts["茶"] = [(200, {}, completion("话没说", finish="length"), 0)]
    assert model().complete([ask("茶")])[0].cut_off
    assert model().complete([ask("茶")])[0].cut_off


def test_thoughts_are_no_part_of_the_answer(server, model):
    server.scripts["茶"] = [(200, {}, completion("<think>想一想</think>\n\n好茶。"), 0)]
    server.scripts["水"] = [(200, {}, completion("<think>想了很久"), 0)]
    replies = model(retries=0).complete([ask("茶"), ask("水")])
    assert [reply.text for reply in replies] == ["好茶。", None]


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(server, model, monkeypatch, tmp_path):
    monkeypatch.setenv("TEA_KEY", "geheim-123")
    model(api_key_env="TEA_KEY").complete([ask("茶")])
    assert server.keys == ["Bearer geheim-123"]
    assert not any(b"geheim" in file.read_bytes() for file in tmp_path.rglob("*.json"))


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://host/v1", "http://"])
def test_an_address_that_is_none_is_the_users_mistake(model, address):
    with pytest.raises(UserError, match="base_url"):
        model(base_url=address).complete([ask("茶")])


def test_without_an_address_there_is_no_chat_model(model):
    assert model(base_url=None).chat() is None
    assert model().chat() is not None
    with pytest.raises(UserError, match="no chat model"):
        model(base_url=None).complete([ask("茶")])
