"""The site as it was built: no link is dead, nothing comes from elsewhere, and no page is wider than its window.

`make site` runs this. What needs a browser is skipped where none is installed.
"""

import functools
import http.server
import importlib
import inspect
import json
import re
import shutil
import threading
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from processes import run

HERE = Path(__file__).parent
SITE = HERE.parents[1] / "build" / "site"
PLAYERS = sorted(path.relative_to(SITE).as_posix() for path in SITE.glob("_static/players/*.html"))
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html") if "_static" not in path.parts)
PAGES += PLAYERS
WIDTHS = (400, 800, 1400)
AT_ONCE = 10  # pages that one browser looks at
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LOADS = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
OTHERS = {"data", "mailto", "http", "https"}


class Page(HTMLParser):
    """What a page has: names to link to, links, and what a browser loads for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take down what an element names, or leads to."""
        said = {name: value or "" for name, value in attrs}
        self.names |= {said[name] for name in ("id", "name") if name in said}
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        if said.get(LOADS.get(tag, "")):
            self.loaded.append(said[LOADS[tag]])


@functools.cache
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def dead(name: str, site: Path = SITE) -> list[str]:
    """Return the links of a page that lead nowhere inside of the site."""
    found = []
    for link in page(site / name).links + page(site / name).loaded:
        parts = urlsplit(link)
        if parts.scheme in OTHERS:
            continue
        target = (site / name).parent / unquote(parts.path) if parts.path else site / name
        if target.is_dir():
            target /= "index.html"
        place = unquote(parts.fragment)
        if not target.is_file() or (place and target.suffix == ".html" and place not in page(target).names):
            found.append(link)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_no_link_is_dead(name: str) -> None:
    assert dead(name) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_nothing_from_elsewhere(name: str) -> None:
    assert [link for link in page(SITE / name).loaded if urlsplit(link).scheme not in ("", "data")] == []


def test_no_style_sheet_loads_anything_from_elsewhere() -> None:
    sheets = [*SITE.rglob("*.css")]
    assert sheets
    for sheet in sheets:
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_each_player_is_shown_and_has_a_run_in_it() -> None:
    shown = [link for link in page(SITE / "docs/site/players.html").loaded if "players/" in link]
    assert sorted(link.removeprefix("../../") for link in shown) == PLAYERS
    assert len(PLAYERS) == 4
    for name in PLAYERS:
        text = (SITE / name).read_text(encoding="utf-8")
        [data] = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
        assert len(json.loads(data)["bars"]["rank"]) >= 4
        assert ("DeadlockError" in text) == (name == "_static/players/hang.html")


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#x"></a> <a href="b.html#y"></a> <a href="c.html"></a><img src=d>')
    (tmp_path / "b.html").write_text("<p id=x>")
    assert dead("a.html", tmp_path) == ["b.html#y", "c.html", "d"]


# -- in a browser ------------------------------------------------------------------------------------------------


def browse(url: str, profile: Path, *options: str) -> tuple[str, list[str]]:
    """Return a page as it stands after its scripts have run, and what the browser complains about.

    The browser reaches this machine only.
    """
    if BROWSER is None:
        pytest.skip("no browser is installed here; remedy: apt-get install chromium")
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", f"--user-data-dir={profile}"]
    command += ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    done = run([*command, "--enable-logging=stderr", *options, url])
    assert done.stdout, done.stderr[-2000:]
    return done.stdout, re.findall(r"CONSOLE\S* (.*)", done.stderr)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve the site: a page may look into a frame of the same server, and not into one from a file."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def looked_at(address: str, pages: list[str], profile: Path) -> tuple[list[tuple[str, int, int]], list[str]]:
    """Return (page, width of the window, width of the page) where the page is wider, and the browser's complaints."""
    harness = (HERE / "frames.html").read_text(encoding="utf-8")
    (SITE / "frames.html").write_text(harness.replace("{{todo}}", json.dumps([pages, WIDTHS])), encoding="utf-8")
    try:
        budget = f"--virtual-time-budget={200 * len(pages)}"
        text, complaints = browse(f"{address}/frames.html", profile, budget)
    finally:
        (SITE / "frames.html").unlink()
    said = re.search("<title>(.*?)</title>", text, re.DOTALL)
    assert said
    found = [tuple(each) for each in json.loads(unescape(said[1]))]
    assert len(found) == len(pages) * len(WIDTHS)
    return [each for each in found if each[2] > each[1]], complaints


@pytest.mark.parametrize("pages", [PAGES[begin : begin + AT_ONCE] for begin in range(0, len(PAGES), AT_ONCE)])
def test_no_page_scrolls_sideways_or_fails(pages: list[str], address: str, tmp_path: Path) -> None:
    assert looked_at(address, pages, tmp_path / "profile") == ([], [])


def test_a_page_that_is_too_wide_or_fails_is_found(address: str, tmp_path: Path) -> None:
    page = SITE / "wrong.html"
    page.write_text('<!doctype html><div style="width: 700px">x</div><script>nothing.here</script>')
    try:
        wide, complaints = looked_at(address, ["wrong.html"], tmp_path / "profile")
    finally:
        page.unlink()
    assert [width for _, width, _ in wide] == [400]
    assert len(complaints) == len(WIDTHS)
    assert all("nothing is not defined" in complaint for complaint in complaints)


THEMES = """<script>addEventListener("load", async () => {
  const players = [...document.querySelectorAll("iframe.player")], said = [];
  const pause = ms => new Promise(done => setTimeout(done, ms));
  for (const player of players) player.loading = "eager";
  while (players.some(player => !player.contentDocument?.querySelector("figure.trace canvas"))) await pause(20);
  for (const theme of ["dark", "light"]) {
    document.body.dataset.theme = theme;
    await pause(100);
    said.push(...players.map(({ contentDocument: { body } }) => getComputedStyle(body).backgroundColor));
  }
  document.title = JSON.stringify(said);
});</script></body>"""


def test_players_follow_the_page_s_switch_between_light_and_dark(address: str, tmp_path: Path) -> None:
    name = "docs/site/players-tried.html"
    page = (SITE / "docs/site/players.html").read_text(encoding="utf-8")
    (SITE / name).write_text(page.replace("</body>", THEMES), encoding="utf-8")
    try:
        text, complaints = browse(f"{address}/{name}", tmp_path / "profile", "--virtual-time-budget=10000")
    finally:
        (SITE / name).unlink()
    said = re.search("<title>(.*?)</title>", text, re.DOTALL)
    assert said
    assert json.loads(unescape(said[1])) == ["rgb(13, 17, 23)"] * 4 + ["rgb(255, 255, 255)"] * 4
    assert complaints == []


def test_the_search_finds_a_page_without_a_server(tmp_path: Path) -> None:
    url = f"{(SITE / 'search.html').as_uri()}?q=dissemination"
    text, complaints = browse(url, tmp_path / "profile", "--virtual-time-budget=5000")
    found = re.search(r'<ul role="list" class="search">(.*?)</ul>', text, re.DOTALL)
    assert found
    assert "dissemination_barrier.html" in found[1]
    assert complaints == []


@pytest.mark.parametrize("package", ["ranks", "loggp", "collectives", "sorting", "parallel", "training"])
def test_every_public_function_and_class_is_in_the_reference(package: str) -> None:
    public = {
        name: getattr(importlib.import_module(package), name) for name in importlib.import_module(package).__all__
    }
    missing = []
    for name, thing in public.items():
        if inspect.isclass(thing) or inspect.isfunction(thing):
            home = thing.__module__.partition(".")[0]  # "loggp" for collectives.Cost
            missing += [name] * (f"{home}.{name}" not in page(SITE / "docs" / "site" / "api" / f"{home}.html").names)
    assert missing == []
