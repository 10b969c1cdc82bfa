import socket
import sys
import urllib.error
import urllib.request
from collections import Counter
from urllib.parse import urljoin, urlsplit

import pytest
from scrapy.http import HtmlResponse
from scrapy.linkextractors import LinkExtractor

from examples.serve import SECTIONS, Answer, Server, build_site, main, read_articles, read_traps


@pytest.fixture(scope="module")
def site() -> dict[str, Answer]:
    return build_site(read_articles(), read_traps())


def test_every_article_has_its_page(site: dict[str, Answer]) -> None:
    articles = read_articles()
    assert {article.section for article in articles} == set(SECTIONS)
    assert len({article.url for article in articles}) == len(articles) > 250
    for article in articles:
        answer = site[article.url]
        text = answer.body.decode("gb18030" if answer.media_type == "text/html" else "utf-8")
        assert article.title.split("“")[0][:4] in text
        assert "{{" not in text


def test_the_same_world_makes_the_same_site(site: dict[str, Answer]) -> None:
    assert build_site(read_articles(), read_traps()) == site


def test_every_page_can_be_reached_and_no_link_is_dead_by_accident(site: dict[str, Answer]) -> None:
    base = "http://127.0.0.1/"
    links = LinkExtractor(deny_extensions=())
    reached, todo, dead = {"/"}, ["/"], set()
    while todo:
        answer = site.get(todo.pop())
        if answer is None or not answer.media_type.startswith("text/html") or answer.status != 200:
            continue
        for link in links.extract_links(HtmlResponse(base, body=answer.body)):
            path = urlsplit(urljoin(base, link.url)).path
            if path not in site:
                dead.add(path)
            elif path not in reached:
                reached.add(path)
                todo.append(path)
    assert set(site) - reached == {"/robots.txt", "/sitemap.xml"}
    assert dead == {"/login.html", "/search"}


def test_there_are_enough_traps_of_each_kind(site: dict[str, Answer]) -> None:
    kinds = Counter(trap["trap"] for trap in read_traps())
    assert kinds["exact_copy"] >= 6
    assert kinds["near_copy"] >= 10
    assert kinds["traditional_copy"] >= 6
    assert {
        "old_charset",
        "mojibake",
        "empty_page",
        "missing_page",
        "redirect",
        "redirect_loop",
        "forbidden_page",
        "server_error",
        "spam",
        "binary_file",
        "short_page",
        "repetition",
    } <= set(kinds)
    for trap in read_traps():
        assert trap["url"] in site
        assert trap.get("of", trap["url"]) in site


def test_the_old_page_is_in_its_old_encoding(site: dict[str, Answer]) -> None:
    (trap,) = [trap for trap in read_traps() if trap["trap"] == "old_charset"]
    answer = site[trap["url"]]
    assert b"gb2312" in answer.body
    assert trap["article"]["title"] in answer.body.decode("gb18030")
    with pytest.raises(UnicodeDecodeError):
        answer.body.decode("utf-8")


def test_it_serves_on_loopback_only_with_status_and_redirect(site: dict[str, Answer]) -> None:
    with Server(site, 0) as server:
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/go/tea.html") as answer:
            assert answer.url.endswith("/tea/")
            assert "茶事" in answer.read().decode()
        with pytest.raises(urllib.error.HTTPError, match="500"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/broken/report.html")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/tea/9999.html?from=share")


def test_while_runs_a_command_and_takes_its_status(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import sys; print('done'); sys.exit(int(sys.argv[2]))"
    assert main(["--port", "0", "--while", sys.executable, "-c", code, "--port", "5"]) == 5
    assert "done" in capfd.readouterr().out
    assert main(["--port", "0", "--while", "no-such-command-here"]) == 127


def test_a_taken_port_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    assert (
        capsys.readouterr().err
        == f"examples.serve: port {port} is taken by another program; choose one with --port\n"
    )
