"""The page in Chromium: a record dropped, its report, review in two tabs over a reload and a kill, live, on a phone."""

import shutil

import numpy as np
import pytest
from websockets.sync.client import connect

from tests.serving.conftest import Program, until_last_beat
from tests.support.chromium import PROGRAM, Chromium

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed: apt-get install chromium")
READY = "document.getElementById('counts')?.innerText.includes('40 beats, lead MLII')"


def shape_to(number: int, name: str) -> str:
    """Chooses a label for a shape, as its reader does."""
    return (f"(() => {{ const choice = document.querySelectorAll('#shapes select')[{number}]; choice.value = '{name}'; "
            "choice.onchange(); })()")  # fmt: skip


def counts(tab, name: str, count: int):
    """Waits for so many beats of a class."""
    tab.wait(f"document.querySelector('#counts .{name}')?.innerText.trim() === '{name} {count}'")


def has_ink(tab, canvas: str) -> bool:
    """Whether anything is drawn on a canvas."""
    return tab.run(f"""(() => {{
        const canvas = document.getElementById('{canvas}');
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return new Set(new Uint32Array(pixels.buffer)).size > 3;
    }})()""")


def press(tab, key: str):
    """A key on the strip."""
    tab.run(f"document.getElementById('strip').dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")


def test_a_reader_at_work(tmp_path, record):
    out = tmp_path / "served"
    server = Program(out)
    try:
        with Chromium(tmp_path / "profile") as browser:
            tab = browser.tab(server.address)
            tab.drop("#drop", [record.with_suffix(".hea"), record.with_suffix(".dat")])
            tab.wait(READY)
            number = tab.run("location.hash").removeprefix("#")
            frame = f"fetch('/records/{number}/report').then((answer) => answer.text())"
            assert "<title>" in tab.run(frame)
            assert tab.run("document.getElementById('page').contentDocument") is None  # out of each other's reach

            tab.click("[data-tab=review]")
            tab.wait("document.querySelectorAll('#shapes li').length === 2")
            tab.run("document.getElementById('by').value = 'A. Reader'")
            tab.run(shape_to(0, "N"))
            tab.wait("document.querySelectorAll('#log li').length === 1")
            tab.run(shape_to(1, "V"))
            counts(tab, "V", 8)
            counts(tab, "N", 32)
            assert "A. Reader: a shape" in tab.text("#log") and has_ink(tab, "strip") and has_ink(tab, "overview")

            other = browser.tab(f"{server.address}/#{number}")
            other.click("[data-tab=review]")
            counts(other, "V", 8)
            other.run(
                "document.getElementById('strip').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))"
            )
            other.wait("!document.getElementById('beat').hidden")
            press(other, "s")
            counts(other, "S", 1)
            counts(tab, "S", 1)  # which is told by the other tab

            assert tab.errors == [] and other.errors == []
            server.kill()
            server = Program(out, "--port", server.address.rpartition(":")[2])
            tab.go(f"{server.address}/#{number}")
            tab.call("Page.bringToFront")
            tab.run("location.reload()")
            tab.wait(READY)
            counts(tab, "S", 1)
            counts(tab, "V", 8)
            tab.errors.clear()  # of the time without a server
            tab.click("[data-tab=review]")
            tab.click("#undo")
            counts(tab, "S", 0)

            tab.click("[data-tab=live]")
            tab.run("document.getElementById('speed').value = '20'")
            tab.click("#play")
            tab.wait("document.getElementById('state').innerText.includes('ended')")
            assert has_ink(tab, "monitor") and "signal: noisy" in tab.text("#state")

            tab.size(390, 800, mobile=True)
            tab.dark(True)
            for part in ("report", "review", "live"):
                tab.click(f"[data-tab={part}]")
                assert tab.run("document.documentElement.scrollWidth <= innerWidth"), part
            tab.click("#back")
            tab.wait("document.querySelectorAll('#records li').length === 1")
            watched(tab)
            assert tab.errors == []
    finally:
        server.kill()
        shutil.rmtree(tmp_path / "profile", ignore_errors=True)


def watched(tab):
    """A program pushes samples to the address that the page gives, and the page shows them."""
    address = tab.run("document.getElementById('feed-address').textContent")
    tab.run("document.getElementById('feed').open = true")
    tab.click("#watch")
    tab.wait("document.getElementById('state').innerText.includes('waiting')")
    with connect(address) as program:
        program.recv()
        for chunk in np.array_split(until_last_beat(10), 5):
            program.send(chunk.astype("<f4").tobytes())
            program.recv()
    tab.wait("document.getElementById('state').innerText.includes('signal: ok')")
    assert has_ink(tab, "monitor")
