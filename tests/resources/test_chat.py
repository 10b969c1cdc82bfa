"""The chat model against a small server on loopback that answers well, badly and late."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from curation.errors import UserError
from curation.synthesis.chat import Reply
from resources import chat as chat_module
from resources.chat import ChatModel


def completion(text, finish="stop", tokens=7) -> bytes:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": {"total_tokens": tokens}}).encode()


class Server(ThreadingHTTPServer):
    """Answers each question by a script: a list of (status, headers, body, seconds), the last one stays."""

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
        pieces = [answer] if not seconds else [answer[at : at + 1] for at in range(len(answer))]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            time.sleep(seconds)

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
    assert {reply.tokens for reply in replies} == {7}
    path, body, _ = server.asked[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("default", 0.7, 1024)


def test_what_was_answered_once_is_not_asked_again(server, model):
    first = model().complete([ask("茶"), ask("茶"), ask("水")])
    assert len(server.asked) == 2
    again = model().complete([ask("水"), ask("茶")])
    assert [reply.text for reply in again] == [first[2].text, first[0].text]
    assert [reply.tokens for reply in again] == [0, 0]
    assert len(server.asked) == 2
    model(temperature=0.1).complete([ask("茶")])
    assert len(server.asked) == 3


def test_a_spoilt_cache_file_is_asked_again(server, model, tmp_path):
    model().complete([ask("茶")])
    (file,) = (tmp_path / "chat").rglob("*.json")
    for spoilt in (b"{", b"[]", b'{"text": 3, "cut_off": false}'):
        file.write_bytes(spoilt)
        assert model().complete([ask("茶")])[0].text == "答：茶"
    assert len(server.asked) == 4
    assert not list((tmp_path / "chat").rglob("*.tmp"))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_that_passes_is_tried_again(server, model, status):
    server.scripts["茶"] = [(status, {}, b"busy", 0), (200, {}, completion("好"), 0)]
    assert model().complete([ask("茶")]) == [Reply("好", tokens=7)]
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
    server.scripts["茶"] = [(401, {}, b'{"error": "bad key"}', 0)]
    (reply,) = model().complete([ask("茶")])
    assert reply.text is None
    assert "401" in reply.error
    assert "bad key" in reply.error
    assert len(server.asked) == 1


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


def test_a_server_that_is_gone_is_given_up(model):
    gone = model(base_url="http://127.0.0.1:9/v1", retries=0, concurrency=1)
    replies = gone.complete([ask(str(number)) for number in range(40)])
    assert all(reply.text is None for reply in replies)
    assert sum("not asked" in reply.error for reply in replies) == 40 - chat_module.MOST_FAILURES


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
