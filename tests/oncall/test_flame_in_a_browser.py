"""The flame graph in a real browser: no error, and zoom, search and reversal work by clicks and by keys.

Debian's chromium-driver speaks WebDriver (https://www.w3.org/TR/webdriver2/) over HTTP; nothing else is needed.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from debugrun.core.oncall import flame
from debugrun.core.oncall.profile import Frame, Profile

pytestmark = pytest.mark.slow  # a browser takes half a minute on a busy machine

HOT, COLD, OTHER = Frame("hot", "worker"), Frame("cold", "worker"), Frame("other", "libc.so.6")
MAIN = Frame("main", "worker")
FOUND = Profile(
    stacks={
        ("alpha", (MAIN, HOT)): 70,
        ("alpha", (MAIN, COLD, OTHER)): 20,
        ("beta", (MAIN, OTHER)): 9,
        ("<b>beta</b>", (Frame("</script><script>throw 1</script>", "x"),)): 1,
    }
)
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Down": "\ue015"}


class Browser:
    """One session of a headless browser."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,700"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        made = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._base += f"/session/{made['sessionId']}"

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310 - to the driver
        with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310 - the same
            return json.load(answer)["value"]

    def run(self, script: str) -> Any:  # noqa: ANN401 - JSON
        return self.ask("POST", "/execute/sync", {"script": script, "args": []})

    def find(self, selector: str) -> str:
        found = self.ask("POST", "/element", {"using": "css selector", "value": selector})
        return str(next(iter(found.values())))

    def click(self, selector: str) -> None:
        self.ask("POST", f"/element/{self.find(selector)}/click")

    def type(self, text: str, selector: str = "body") -> None:
        self.ask("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def status(self) -> str:
        return str(self.run("return document.getElementById('status').textContent"))

    def frames(self) -> list[str]:
        found: list[str] = self.run("return [...document.querySelectorAll('.frame:not(.above)')].map(f => f.node.name)")
        return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if driver is None:
        pytest.skip("no browser here: apt-get install chromium chromium-driver")
    with subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        port = next(
            int(m[1]) for line in started.stdout if (m := re.search(r"started successfully on port (\d+)", line))
        )
        session = Browser(port)
        try:
            yield session
        finally:
            session.ask("DELETE", "")
            started.terminate()


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Browser:
    path = tmp_path / "cpu.html"
    path.write_text(flame.page(FOUND, "web PID 7"))
    browser.ask("POST", "/url", {"url": path.as_uri()})
    return browser


def test_it_opens_without_an_error_and_shows_every_function(page: Browser) -> None:
    assert page.ask("POST", "/se/log", {"type": "browser"}) == []
    assert page.status().startswith("100 samples")
    assert {"all", "alpha", "beta", "<b>beta</b>", "main", "hot", "cold", "other"} <= set(page.frames())
    if folder := os.environ.get("DEBUGRUN_SCREENSHOTS"):
        Path(folder, "flame.png").write_bytes(base64.b64decode(page.ask("GET", "/screenshot")))


def test_a_click_zooms_and_escape_comes_back(page: Browser) -> None:
    everything = page.frames()
    page.click("[aria-label^='cold ']")
    assert page.frames() == ["cold", "other"]
    assert "cold (worker): 20 of 100 samples, 20.00 %" in page.status()
    page.type(KEYS["Escape"])
    assert page.frames() == everything
    page.click("[aria-label^='hot ']")
    page.click("#reset")
    assert page.frames() == everything


def test_search_says_the_share_of_what_it_found_and_marks_it(page: Browser) -> None:
    page.type("/")
    page.type("^other$", "#search")
    assert "found: 29 samples, 29.00 %" in page.status()
    assert page.run("return document.querySelectorAll('.found').length") == 2
    page.type(KEYS["Escape"], "#search")
    assert "found" not in page.status()
    page.type("(unclosed", "#search")
    assert "found: 0 samples" in page.status()


def test_reversed_shows_who_calls(page: Browser) -> None:
    page.type("r")
    shown = page.run("return [...document.querySelectorAll('.frame')].map(f => [f.node.name, f.node.count])")
    assert ["all", 100] in shown
    assert ["other", 29] in shown
    assert ["hot", 70] in shown
    page.click("#reverse")
    assert page.frames()[0] == "all"
    assert page.run("return document.getElementById('reverse').getAttribute('aria-pressed')") == "false"


def test_keys_walk_and_zoom(page: Browser) -> None:
    page.type(KEYS["Down"])
    assert "alpha: 90 of 100 samples" in page.status()
    page.run("document.activeElement.click()")
    assert set(page.frames()) == {"alpha", "main", "hot", "cold", "other"}
    assert page.ask("POST", "/se/log", {"type": "browser"}) == []


def test_a_picture_of_a_change_has_no_module_colours(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "diff.html"
    path.write_text(flame.page(FOUND, "now", before=Profile(stacks={("alpha", (MAIN, COLD)): 1})))
    browser.ask("POST", "/url", {"url": path.as_uri()})
    assert (
        browser.run("return document.getElementById('legend').textContent")
        == "red: more samples than before; blue: fewer"
    )
    assert "before 100" in browser.run(
        "return document.querySelector(\"[aria-label^='cold ']\").getAttribute('aria-label')"
    )
