"""The viewer of a decode: what it is given, and how it answers a person in a real browser."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from websockets.sync.client import ClientConnection, connect

from diffucoder.decoding.request import Completion
from diffucoder.decoding.trace import DecodingTrace
from diffucoder.report import viewer

WORDS = ["def", " f", "\n", "</code><script>document.title='taken over'</script>"]


@pytest.fixture
def page() -> str:
    """Four tokens: the first given, the others revealed from right to left, two at first."""
    trace = DecodingTrace(
        position=[2, 3, 1],
        token=[2, 3, 1],
        reveal_step=[0, 0, 1],
        probability=[0.5, 1.0, 0.75],
        top_tokens=[[2, 0], [3], [1, 2]],
        top_probabilities=[[0.5, 0.25], [1.0], [0.75, 0.125]],
    )
    steps = torch.tensor([-1, 1, 0, 0])
    completion = Completion([0, 1, 2, 3], torch.arange(4), steps, "length", trace)
    return viewer.page("What & why", viewer.watch(completion, WORDS.__getitem__))


class Browser:
    """A headless Chromium with one page, driven over its DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.asked = socket, 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.asked += 1
        self.socket.send(json.dumps({"id": self.asked, "method": method, "params": params}))
        while (message := json.loads(self.socket.recv(timeout=30))).get("id") != self.asked:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def value(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        end = time.monotonic() + 20
        while not self.value(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def centre(self, selector: str) -> dict[str, float]:
        return self.value(
            f"(() => {{ const box = document.querySelector({selector!r}).getBoundingClientRect();"
            " return {x: box.left + box.width / 2, y: box.top + box.height / 2}; })()"
        )

    def point_at(self, selector: str) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **self.centre(selector))

    def click(self, selector: str) -> None:
        about = {"button": "left", "clickCount": 1} | self.centre(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **about)

    def press(self, key: str) -> None:
        code = {"key": key, "text": " "} if key == " " else {"key": key}
        code |= {
            "windowsVirtualKeyCode": {" ": 32, "End": 35, "Home": 36, "ArrowLeft": 37}.get(key, 39)
        }
        self.call("Input.dispatchKeyEvent", type="keyDown", **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def complaints(self) -> list[dict[str, Any]]:
        """What was written to the console, or thrown."""
        self.value("0")
        names = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [event for event in self.events if event["method"] in names]

    def requests(self) -> list[str]:
        sent = [e for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[[str], Browser]]:
    """`browse(page)` opens a page in a browser of its own."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium or google-chrome on PATH: install one to see the page in it")
    opened = ExitStack()

    def open_page(page: str) -> Browser:
        file, user = tmp_path / "page.html", tmp_path / "user"
        file.write_text(page, encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        flags += ["--disable-background-networking", "--disable-component-update"]
        places = [f"--user-data-dir={user}", "--remote-debugging-port=0", "--window-size=800,900"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([program, *flags, *places, "about:blank"], **quiet)
        opened.callback(lambda: (process.terminate(), process.wait(30)))
        port = user / "DevToolsActivePort"
        end = time.monotonic() + 60
        while not (port.exists() and len(port.read_text().splitlines()) == 2):
            assert time.monotonic() < end, "the browser did not start"
            time.sleep(0.05)
        number, path = port.read_text().splitlines()
        with connect(f"ws://127.0.0.1:{number}{path}", max_size=None) as control:
            targets = Browser(control).call("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        place = f"ws://127.0.0.1:{number}/devtools/page/{target}"
        browser = Browser(opened.enter_context(connect(place, max_size=None)))
        for domain in ("Runtime", "Log", "Network", "Page"):
            browser.call(f"{domain}.enable")
        browser.call("Page.navigate", url=file.as_uri())
        browser.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")
        return browser

    with opened:
        yield open_page


STEP = "document.querySelector('output').textContent"
MASKED = "[...document.querySelectorAll('.token.masked')].map((t) => Number(t.dataset.step))"
LOOK = "document.querySelector('.look').innerText"


def test_play_step_scrub_hover_and_keys(page: str, browse: Callable[[str], Browser]) -> None:
    browser = browse(page)
    assert (browser.value(STEP), browser.value(MASKED)) == ("2", [])

    browser.click("[data-do=play]")
    browser.wait_for("document.querySelector('[data-do=play]').textContent === 'Pause'")
    browser.wait_for(f"{STEP} === '1'")
    browser.wait_for(f"{STEP} === '2'")
    browser.wait_for("document.querySelector('[data-do=play]').textContent === 'Play'")

    browser.click("[data-do=first]")
    assert (browser.value(STEP), browser.value(MASKED)) == ("0", [1, 0, 0])
    browser.click("[data-do=forward]")
    assert (browser.value(STEP), browser.value(MASKED)) == ("1", [1])
    assert browser.value("document.querySelectorAll('.token.fresh').length") == 2
    assert browser.value("document.querySelectorAll('.cell.masked').length") == 1

    # A drag along the slider, from where its thumb is to the left end.
    box = "document.querySelector('input').getBoundingClientRect()"
    height = browser.value(f"{box}.top + {box}.height / 2")
    at = {"y": height, "button": "left", "buttons": 1, "clickCount": 1}
    middle, left = browser.value(f"{box}.left + {box}.width / 2"), browser.value(f"{box}.left + 3")
    browser.call("Input.dispatchMouseEvent", type="mousePressed", x=middle, **at)
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=left, **at)
    browser.call("Input.dispatchMouseEvent", type="mouseReleased", x=left, **at)
    assert (browser.value(STEP), browser.value(MASKED)) == ("0", [1, 0, 0])

    browser.point_at(".token:nth-child(2)")
    said = browser.value(LOOK).replace("\n\n", "\n").split("\n")
    assert said[0] == '" f": position 2, revealed at step 2, probability 75.0%'
    assert said[1:] == ['" f"', "75.0%", r'"\n"', "12.5%"]
    browser.point_at(".cell:nth-child(1)")
    assert browser.value(LOOK) == '"def": position 1, given'

    browser.click(".cell:nth-child(4)")
    assert browser.value(STEP) == "1"
    browser.value("document.querySelector('[data-viewer]').focus()")
    for key, step in (("End", "2"), ("ArrowLeft", "1"), ("Home", "0"), ("ArrowRight", "1")):
        browser.press(key)
        assert browser.value(STEP) == step
    browser.press(" ")
    browser.wait_for(f"{STEP} === '2'")

    assert browser.value("document.title") == "What & why"
    assert browser.complaints() == []
    assert not [url for url in browser.requests() if not url.startswith(("file:", "data:"))]


def test_light_and_dark(page: str, browse: Callable[[str], Browser]) -> None:
    browser = browse(page)
    grounds = []
    for scheme in ("light", "dark"):
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", features=wanted)
        colour = browser.value("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(int(part) for part in colour[4:-1].split(",")))
    assert grounds[0] > 700
    assert grounds[1] < 100


def test_errors_of_a_page_would_be_seen(browse: Callable[[str], Browser]) -> None:
    browser = browse("<!doctype html><script>undefinedName()</script>")
    assert [event["method"] for event in browser.complaints()] == ["Runtime.exceptionThrown"]


def test_what_is_shown_of_a_row_without_a_trace() -> None:
    run = viewer.watched(["a", "b"], [1, 0])
    assert run["last"] == 1
    assert [(t["heat"], t["probability"], t["alternatives"]) for t in run["tokens"]] == [
        (1.0, None, []),
        (0.0, None, []),
    ]
