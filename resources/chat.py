"""The chat model: any OpenAI-compatible server, or none.

Belongs here: requests to `/chat/completions`, retries, and the cache of answers on disk.
Does not belong here: what is asked (`curation.synthesis`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import httpx
import orjson

from curation import progress
from curation.errors import UserError
from curation.records import digest
from curation.synthesis.chat import Chat, Message, Reply

#: Seconds before the first new try; it doubles with each.
FIRST_WAIT = 0.5
#: Seconds that a server may ask us to wait, at most.
LONGEST_WAIT = 120.0
#: Bytes that an answer may have: a server that never stops must not fill the memory.
LARGEST_ANSWER = 16_000_000
#: Requests that may fail in a row before the rest is given up: the server is gone, not busy.
MOST_FAILURES = 24
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})


class ChatModel(dg.ConfigurableResource):
    """A chat model behind an OpenAI-compatible server (vLLM, SGLang, a vendor); `base_url` None: none.

    `cache` is a folder: an answer that was given once is never asked for (nor paid for) again, and a
    run that is repeated gives the same.
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

    def chat(self) -> Chat | None:
        """The callable that the methods take; None where no chat model is configured."""
        return self.complete if self.base_url else None

    def complete(self, conversations: Sequence[Sequence[Message]]) -> list[Reply]:
        """One reply for each conversation, in order. A request that fails gives a Reply with `error`.

        Raises
        ------
        UserError
            No chat model is configured, or its address is not an http(s) URL.
        """
        url = self._url()
        keys = [self._key(conversation) for conversation in conversations]
        replies = {key: reply for key in dict.fromkeys(keys) if (reply := self._cached(key)) is not None}
        # equal conversations are asked once
        waiting = {key: one for key, one in zip(keys, conversations, strict=True) if key not in replies}
        replies |= self._ask_all(url, waiting)
        return [replies[key] for key in keys]

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

    def _ask_all(self, url: str, waiting: dict[str, Sequence[Message]]) -> dict[str, Reply]:
        if not waiting:
            return {}
        key = os.environ.get(self.api_key_env, "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        outage = _Outage()
        with httpx.Client(headers=headers, timeout=self.timeout) as client:
            pool = ThreadPoolExecutor(max_workers=self.concurrency, thread_name_prefix="chat")
            try:
                futures = {
                    pool.submit(self._ask, client, url, conversation, outage): name
                    for name, conversation in waiting.items()
                }
                replies = {}
                for future in progress.track(as_completed(futures), "chat answers", total=len(futures)):
                    name, reply = futures[future], future.result()
                    replies[name] = reply
                    if reply.text is not None:
                        self._store(name, reply)
                return replies
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _ask(self, client: httpx.Client, url: str, conversation: Sequence[Message], outage: _Outage) -> Reply:
        """Ask, and ask again after a failure that may pass."""
        body = {
            "model": self.model,
            "messages": list(conversation),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        error = ""
        for attempt in range(self.retries + 1):
            if outage.over:
                return Reply(None, f"not asked: the server had failed {MOST_FAILURES} times in a row")
            wait = FIRST_WAIT * 2**attempt
            try:
                status, response, content = _post(client, url, body, self.timeout)
                if status == httpx.codes.OK:
                    reply = _read(content)
                    outage.note(failed=False)
                    return reply
                error = f"status {status}: {_shown(content)}"
                if status not in _AGAIN:
                    break
                wait = max(wait, _asked_to_wait(response))
            except (httpx.HTTPError, httpx.InvalidURL, _NoAnswerError) as failure:
                error = f"{type(failure).__name__}: {failure}"
            if attempt < self.retries:
                outage.stopped.wait(min(wait, LONGEST_WAIT))
        outage.note(failed=True)
        return Reply(None, error)

    # -- the cache --------------------------------------------------------------------------------

    def _key(self, conversation: Sequence[Message]) -> str:
        settings = [self.base_url, self.model, self.temperature, self.max_tokens]
        return digest(orjson.dumps([settings, list(conversation)], option=orjson.OPT_SORT_KEYS).decode())

    def _file(self, key: str) -> Path:
        return Path(self.cache) / key[:2] / f"{key}.json"

    def _cached(self, key: str) -> Reply | None:
        try:
            stored = orjson.loads(self._file(key).read_bytes())
            text, cut_off = stored["text"], stored["cut_off"]
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            return None
        # a cached answer costs nothing
        return Reply(text, cut_off=bool(cut_off)) if isinstance(text, str) else None

    def _store(self, key: str, reply: Reply) -> None:
        """Written under another name and renamed, so that a killed run leaves no half answer."""
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
        half.write_bytes(orjson.dumps({"model": self.model, "text": reply.text, "cut_off": reply.cut_off}))
        half.replace(file)


class _NoAnswerError(Exception):
    """The server answered with something that is not an answer."""


class _Outage:
    """Counts failures in a row over all threads; from MOST_FAILURES on nobody asks any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self.stopped = threading.Event()

    @property
    def over(self) -> bool:
        return self.stopped.is_set()

    def note(self, *, failed: bool) -> None:
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            if self._failures >= MOST_FAILURES:
                self.stopped.set()


def _post(
    client: httpx.Client, url: str, body: dict[str, object], timeout: float
) -> tuple[int, httpx.Headers, bytes]:
    """One request within `timeout` seconds in all, however slowly the bytes come."""
    deadline = time.monotonic() + timeout
    content = bytearray()
    encoded = orjson.dumps(body)
    with client.stream("POST", url, content=encoded, headers={"Content-Type": "application/json"}) as answer:
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
    if isinstance(text, str):
        # a reasoning model's thoughts are no part of the answer
        text = text.rpartition("</think>")[2]
        text = "" if "<think>" in text else text
    if not isinstance(text, str) or not text.strip():
        raise _NoAnswerError("the answer holds no text")
    tokens = 0
    with suppress(KeyError, TypeError, ValueError):
        tokens = int(answer["usage"]["total_tokens"])
    return Reply(text.strip(), tokens=max(tokens, 0), cut_off=choice.get("finish_reason") == "length")


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
