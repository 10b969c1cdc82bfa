"""The chat model: any OpenAI-compatible server, or none.

Belongs here: requests to `/chat/completions`, retries, and keeping to a cost cap.
Does not belong here: what is asked (`curation.synthesis`, `curation.scores.judge`), the cache
(`answer_cache`).
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import dagster as dg
import httpx
import orjson

from curation import progress
from curation.errors import UserError
from curation.records import digest
from curation.synthesis.chat import Chat, Message, Reply
from curation.synthesis.costs import Account, Usage
from resources.answer_cache import AnswerCache

#: Seconds before the first new try; it doubles with each.
FIRST_WAIT = 0.5
#: Seconds that a server may ask us to wait, at most.
LONGEST_WAIT = 120.0
#: Bytes that an answer may have: a server that never stops must not fill the memory.
LARGEST_ANSWER = 16_000_000
#: Requests that may fail in a row before the rest is given up: the server is gone, not busy.
MOST_FAILURES = 24
#: The same for a server of which nothing was heard yet.
FIRST_FAILURES = 4
#: Tokens that a chat template may add to a message, at most.
_FRAME_TOKENS = 64
_MOST_TOKENS = 1_000_000_000
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
#: A wrong address or name of a model, or a question that the server forbids.
_REFUSALS = frozenset({403, 404, 405})
_UNAUTHORISED = 401


class ChatModel(dg.ConfigurableResource):
    """A chat model behind an OpenAI-compatible server (vLLM, SGLang, a vendor); `base_url` None: none.

    `cache` is a folder: an answer that was given once is never asked for (nor paid for) again, and a
    run that is repeated, or goes on after it was killed, gives the same.
    """

    base_url: str | None = None
    model: str = "default"
    api_key_env: str = "OPENAI_API_KEY"
    temperature: float = 0.7
    max_tokens: int = 1024
    timeout: float = 60
    retries: int = 3
    concurrency: int = 8
    cache: str

    def chat(self, account: Account | None = None, **changed: object) -> Chat | None:
        """The callable that the methods take; None where no chat model is configured.

        `account` keeps all that is asked through it to a cost cap; `changed` names other settings of this
        resource, such as `temperature=0`.
        """
        if not self.base_url:
            return None
        model, account = self.model_copy(update=changed), account or Account()
        return lambda conversations: model.complete(conversations, account)

    def complete(
        self, conversations: Sequence[Sequence[Message]], account: Account | None = None
    ) -> list[Reply]:
        """One reply for each conversation, in order. A request that fails gives a Reply with `error`.

        Under a cost cap the conversations are let in by their order, so that which of them are asked
        depends on neither threads nor on what an earlier run, which was killed, had paid for: what the
        answers cost then counts.

        Raises
        ------
        UserError
            No chat model is configured, its address is not an http(s) URL, or the server gave no sign of
            life or refused every request.
        """
        url = self._url()
        keys = [self._key(conversation) for conversation in conversations]
        # equal conversations are asked once
        asked = dict(zip(keys, conversations, strict=True))
        with AnswerCache(self.cache) as cache:
            replies = self._ask_all(url, asked, cache, account or Account()) if asked else {}
        return [replies[key] for key in keys]

    def _key(self, conversation: Sequence[Message]) -> str:
        settings = [self.base_url, self.model, self.temperature, self.max_tokens]
        return digest(orjson.dumps([settings, list(conversation)], option=orjson.OPT_SORT_KEYS).decode())

    def _url(self) -> str:
        if not self.base_url:
            raise UserError("no chat model is configured", where="synthesis.chat.base_url")
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UserError(
                f"not an address: {self.base_url!r}",
                where="synthesis.chat.base_url",
                allowed="an http(s) URL such as http://localhost:8000/v1",
            )
        return self.base_url.rstrip("/") + "/chat/completions"

    def _ask_all(
        self, url: str, asked: dict[str, Sequence[Message]], cache: AnswerCache, account: Account
    ) -> dict[str, Reply]:
        """A reply to every conversation by its key: known, asked for, or not asked for lack of money."""
        replies: dict[str, Reply] = {}
        known, waiting = cache.find(asked), deque(asked)
        key = os.environ.get(self.api_key_env, "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        server = _Server(url, has_answered_before=bool(known))
        limits = httpx.Limits(max_connections=self.concurrency)
        with httpx.Client(headers=headers, timeout=self.timeout, limits=limits) as client:
            pool = ThreadPoolExecutor(max_workers=self.concurrency, thread_name_prefix="chat")
            under_way: dict[Future[Reply], str] = {}
            try:
                while True:
                    while waiting and len(under_way) < self.concurrency:
                        name = waiting[0]
                        most = self._most(asked[name])
                        if not account.reserve(most):
                            break  # once those under way have settled there may be room
                        waiting.popleft()
                        if name in known:
                            replies[name] = known[name]
                            account.settle(most, known[name].usage, now=False)
                        else:
                            request = _Request(client, server, account, most, self._body(asked[name]))
                            under_way[pool.submit(self._answer, request, name, cache)] = name
                    if not under_way:
                        break
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        replies[under_way.pop(future)] = future.result()
                    progress.report("chat answers", len(replies), len(asked))
                    progress.report("tokens spent", account.paid.tokens, account.cap.tokens)
            finally:
                server.gone.set()  # nobody waits for another try
                pool.shutdown(wait=True, cancel_futures=True)
        server.check()
        for name in waiting:
            replies[name] = Reply(None, "not asked: the cost cap leaves no room", over_cap=True)
        return replies

    def _body(self, conversation: Sequence[Message]) -> bytes:
        body = {
            "model": self.model,
            "messages": list(conversation),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        return orjson.dumps(body)

    def _most(self, conversation: Sequence[Message]) -> Usage:
        """The most that one request can cost: no token is shorter than a byte."""
        size = sum(len(message["content"].encode()) + _FRAME_TOKENS for message in conversation)
        return Usage(size, self.max_tokens)

    def _answer(self, request: _Request, key: str, cache: AnswerCache) -> Reply:
        reply = self._ask(request)
        if reply.text is not None:
            cache.add(key, self.model, reply)
        return reply

    def _ask(self, request: _Request) -> Reply:
        """Ask, and ask again after a failure that may pass."""
        server, account, most = request.server, request.account, request.most
        error, reserved = "", True
        for attempt in range(self.retries + 1):
            if not server.wait_until_open():
                break
            reserved = reserved or account.reserve(most)
            if not reserved:
                error += "; not asked again: the cost cap leaves no room"
                break
            found = self._try(request)
            if isinstance(found, Reply):
                account.settle(most, found.usage)
                server.note_answer()
                return found
            error = found.error
            server.note(found)
            if found.cost is not None:
                account.settle(most, found.cost)
                reserved = False
            if not found.again:
                break
            if attempt < self.retries:
                server.gone.wait(max(FIRST_WAIT * 2**attempt, found.pause))
        if reserved:
            account.settle(most, Usage())
        if not error:
            return Reply(None, "not asked: the server had failed too many times in a row")
        server.note_failure(error)
        return Reply(None, error)

    def _try(self, request: _Request) -> Reply | _Failure:
        """One request."""
        try:
            status, headers, content = _post(request.client, request.server.url, request.body, self.timeout)
            if status == httpx.codes.OK:
                reply = _read(content)
                return reply if reply.usage.tokens else replace(reply, usage=request.most)
            sign: _Sign = (
                "dead" if status == _UNAUTHORISED else "doubtful" if status in _REFUSALS else "alive"
            )
            pause = min(_asked_to_wait(headers), LONGEST_WAIT)
            return _Failure(f"status {status}: {_shown(content)}", sign, again=status in _AGAIN, pause=pause)
        except _NoAnswerError as failure:
            # the server has worked, and what it did is paid for
            return _Failure(str(failure), "alive", cost=failure.usage or request.most)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL, httpx.ProxyError) as failure:
            return _Failure(f"{type(failure).__name__}: {failure}", "dead")
        except httpx.HTTPError as failure:
            return _Failure(f"{type(failure).__name__}: {failure}", "doubtful", cost=request.most)


class _Request(NamedTuple):
    """What a thread needs to ask one conversation; `most` is reserved on the account."""

    client: httpx.Client
    server: _Server
    account: Account
    most: Usage
    body: bytes


#: What a failure says of the server: it works, it does not, or this request may be to blame.
_Sign = Literal["alive", "doubtful", "dead"]


@dataclass(frozen=True)
class _Failure:
    """A request without an answer; `cost` is what it may have cost, None: nothing."""

    error: str
    sign: _Sign
    again: bool = True
    pause: float = 0.0
    cost: Usage | None = None


class _NoAnswerError(Exception):
    """The server answered with something that is not an answer; `usage` is what it counted."""

    def __init__(self, says: str, usage: Usage | None = None) -> None:
        super().__init__(says)
        self.usage = usage


class _Server:
    """What is known of the server, by all threads: whether it lives, is busy, or is `gone` for good.

    One that failed in the middle is given up after MOST_FAILURES requests in a row. One of which there
    was no sign of life is the user's mistake, and noticed after FIRST_FAILURES.
    """

    def __init__(self, url: str, *, has_answered_before: bool) -> None:
        self.url = url
        self.gone = threading.Event()
        self._signs: set[_Sign] = set()
        self._has_answered_before = has_answered_before
        self._lock = threading.Lock()
        self._failures, self._open_at, self._error = 0, 0.0, ""

    def wait_until_open(self) -> bool:
        """Wait while the server asks everybody to; False once it is gone."""
        while (left := self._open_at - time.monotonic()) > 0 and not self.gone.wait(left):
            pass
        return not self.gone.is_set()

    def note_answer(self) -> None:
        with self._lock:
            self._signs.add("alive")
            self._failures = 0

    def note(self, failure: _Failure) -> None:
        """One try has failed."""
        with self._lock:
            self._signs.add(failure.sign)
            self._open_at = max(self._open_at, time.monotonic() + failure.pause)

    def note_failure(self, error: str) -> None:
        """A request was given up."""
        with self._lock:
            self._failures, self._error = self._failures + 1, error
            if self._failures >= (FIRST_FAILURES if self._seems_dead else MOST_FAILURES):
                self.gone.set()

    @property
    def _seems_dead(self) -> bool:
        doubtful = "doubtful" in self._signs and self._has_answered_before
        return bool(self._signs) and "alive" not in self._signs and not doubtful

    def check(self) -> None:
        """Raise if there was no sign of life, before any row is judged by it.

        Raises
        ------
        UserError
            Nothing could be asked of the server at all.
        """
        if self._failures and self._seems_dead:
            raise UserError(
                f"the chat model's server gave no answer: {self._error}",
                where=f"synthesis.chat.base_url {self.url.removesuffix('/chat/completions')}",
                allowed="an OpenAI-compatible server that is up, with a valid key",
            )


def _post(client: httpx.Client, url: str, body: bytes, timeout: float) -> tuple[int, httpx.Headers, bytes]:
    """One request within `timeout` seconds in all, however slowly the bytes come."""
    deadline = time.monotonic() + timeout
    content = bytearray()
    with client.stream("POST", url, content=body, headers={"Content-Type": "application/json"}) as answer:
        for piece in answer.iter_bytes():
            content += piece
            if time.monotonic() > deadline:
                raise _NoAnswerError(f"no whole answer within {timeout:g} s")
            if len(content) > LARGEST_ANSWER:
                raise _NoAnswerError(f"answer larger than {LARGEST_ANSWER} bytes")
        return answer.status_code, answer.headers, bytes(content)


def _read(content: bytes) -> Reply:
    """The answer in the server's JSON.

    Raises
    ------
    _NoAnswerError
        It is not JSON, or holds no text.
    """
    try:
        answer = orjson.loads(content)
        choice = answer["choices"][0]
        text = choice["message"]["content"]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        raise _NoAnswerError(f"not a chat completion: {_shown(content)}") from None
    usage = _usage(answer)
    if isinstance(text, str):
        # a reasoning model's thoughts are no part of the answer
        text = text.rpartition("</think>")[2]
        text = "" if "<think>" in text else text
    if not isinstance(text, str) or not text.strip():
        raise _NoAnswerError("the answer holds no text", usage if usage.tokens else None)
    return Reply(text.strip(), usage=usage, cut_off=choice.get("finish_reason") == "length")


def _usage(answer: dict[str, object]) -> Usage:
    """Tokens as the server counts them, 0 where it does not; those it does not split count as the answer's."""
    counted = answer.get("usage")
    counts = counted if isinstance(counted, dict) else {}
    prompt, total = (_tokens(counts.get(name)) for name in ("prompt_tokens", "total_tokens"))
    return Usage(prompt, max(_tokens(counts.get("completion_tokens")), total - prompt))


def _tokens(value: object) -> int:
    return min(max(value, 0), _MOST_TOKENS) if isinstance(value, int) else 0


def _shown(content: bytes) -> str:
    return " ".join(content[:200].decode("utf-8", "replace").split())


def _asked_to_wait(headers: httpx.Headers) -> float:
    """Seconds that the server asks for in Retry-After (a number or a date); 0 if it asks for none."""
    value = headers.get("Retry-After", "").strip()
    with suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < float("inf") else 0.0
    with suppress(ValueError, TypeError):
        when = parsedate_to_datetime(value)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    return 0.0
