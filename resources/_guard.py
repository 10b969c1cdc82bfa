"""What the crawler may ask for, and how much may come back.

Belongs here: addresses that are not to be asked (by number, by name, after redirects) and the bound on
the headers of an answer. Does not belong here: what is fetched and when (`_spider`, `_host`); the bound
on bodies is Scrapy's DOWNLOAD_MAXSIZE, which also counts what they unpack to.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Any, ClassVar
from urllib.parse import urlsplit

from scrapy import Request
from scrapy.core.downloader.handlers.http11 import (
    HTTP11DownloadHandler,
    _LenientHTTP11ClientFactory,
    _LenientHTTP11ClientProtocol,
    _LenientHTTPClientParser,
)
from scrapy.exceptions import IgnoreRequest
from scrapy.resolver import CachingThreadedResolver
from twisted.internet.error import DNSLookupError

#: Bytes of status line and headers that an answer may have; browsers stop at 256 KiB.
MAX_HEAD_BYTES = 256 * 1024
#: Characters that a URL may have.
MAX_URL_CHARS = 8_000
#: Scrapy setting by which `AddressGuard` knows whether private addresses are allowed.
ALLOW_PRIVATE = "ALLOW_PRIVATE_ADDRESSES"
_GLOBAL_UNICAST = IPv6Network("2000::/3")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet.

    An IPv6 address that carries an IPv4 one (mapped, 6to4) is judged by that; tunnels and translators
    (Teredo, NAT64) that could carry any are not public.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        if ip not in _GLOBAL_UNICAST and ip.ipv4_mapped is None:
            return False
        if ip.teredo is not None:
            return False
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


def forbidden_address(url: str, allow_private: bool = False) -> str | None:
    """Why a URL must not be fetched, as far as the URL itself tells; None if it may be."""
    if len(url) > MAX_URL_CHARS:
        return f"longer than {MAX_URL_CHARS} characters"
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return "not a URL"
    if not named:
        return "not http(s)"
    try:
        public = allow_private or is_public(parts.hostname or "")
    except ValueError:  # a name, or a number in an odd notation: the resolver looks at what it leads to
        return None
    return None if public else "not a public address"


class Forbidden(IgnoreRequest):
    """A request to an address that must not be asked."""


class AddressGuard:
    """Downloader middleware that lets no request out to a forbidden address, whoever made it: Scrapy
    itself follows the redirects of robots.txt, and a number is never shown to the resolver."""

    def __init__(self, allow_private: bool) -> None:
        self.allow_private = allow_private

    @classmethod
    def from_crawler(cls, crawler: Any) -> AddressGuard:
        return cls(crawler.settings.getbool(ALLOW_PRIVATE))

    def process_request(self, request: Request) -> None:
        """Refuse a request, if need be."""
        if why := forbidden_address(request.url, self.allow_private):
            raise Forbidden(why)


class PublicResolver(CachingThreadedResolver):
    """Resolves names, but not to loopback or private addresses.

    The address that was looked at is the one that is connected to, so a name that leads elsewhere the
    next time gains nothing.
    """

    refused: ClassVar[dict[str, str]] = {}

    def getHostByName(self, name: str, timeout: Any = ()) -> Any:  # noqa: N802 - Twisted's name
        return super().getHostByName(name, timeout).addCallback(self._check, name)

    def _check(self, address: str, name: str) -> str:
        if is_public(address):
            return address
        self.refused[name] = address
        raise DNSLookupError(f"{name} leads to {address}, which is not a public address")


class TooManyHeaders(Exception):
    """The headers of an answer do not come to an end."""


class _BoundedParser(_LenientHTTPClientParser):
    head_bytes = 0

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        self.head_bytes += len(line) + 1
        if self.head_bytes > MAX_HEAD_BYTES:
            raise TooManyHeaders(f"more than {MAX_HEAD_BYTES} bytes of headers")
        super().lineReceived(line)


class _BoundedProtocol(_LenientHTTP11ClientProtocol):
    def request(self, request: Any) -> Any:
        answer = super().request(request)
        # Twisted names the class of the parser in its code; Scrapy replaces it in the same way
        self._parser.__class__ = _BoundedParser
        return answer


class _BoundedFactory(_LenientHTTP11ClientFactory):
    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        return _BoundedProtocol(self._quiescentCallback)


class BoundedHandler(HTTP11DownloadHandler):
    """Scrapy's handler of http(s), which also gives up on headers without end."""

    def __init__(self, crawler: Any) -> None:
        super().__init__(crawler)
        self._pool._factory = _BoundedFactory
