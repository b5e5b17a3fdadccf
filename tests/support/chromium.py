"""Chromium without a window, driven by its DevTools protocol over loopback (https://chromedevtools.github.io)."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from websockets.sync.client import connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT_S = 90.0
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
           "--remote-debugging-port=0", "--disable-background-networking", "--disable-component-update",
           "--disable-sync", "--no-default-browser-check", "--mute-audio",
           "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1")  # fmt: skip


class Chromium:
    """A browser with a profile of its own in `folder`; ends with the block."""

    def __init__(self, folder: Path):
        self._process = subprocess.Popen(
            [PROGRAM, *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._port_file = folder / "DevToolsActivePort"

    def __enter__(self) -> "Chromium":
        end_s = time.monotonic() + WAIT_S
        while not (self._port_file.exists() and "\n" in self._port_file.read_text()):
            assert time.monotonic() < end_s and self._process.poll() is None, "the browser does not start"
            time.sleep(0.05)
        self._port = int(self._port_file.read_text().split()[0])
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait()

    def tab(self, address: str, width: int = 1100, height: int = 800) -> "Tab":
        """A new tab at `address`."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            tab = Tab(json.load(answer)["webSocketDebuggerUrl"])
        tab.size(width, height)
        tab.go(address)
        return tab


class Tab:
    """A page; `errors` are what its console and its network said went wrong."""

    def __init__(self, address: str):
        self._socket = connect(address, max_size=None, legacy=True)
        self._number = 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        """The result of a method of the protocol."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=WAIT_S))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict):
        told = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url')}")
        elif message.get("method") == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.errors.append(str(told["args"]))
        elif message.get("method") == "Page.javascriptDialogOpening":
            self._number += 1
            accept = {"id": self._number, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self._socket.send(json.dumps(accept))

    def size(self, width: int, height: int, mobile: bool = False):
        """Gives the page a window of that size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def dark(self, is_dark: bool):
        """Prefers dark colours, or light ones."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def go(self, address: str):
        """Opens `address`."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str):
        """The value of an expression in the page."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, script: str):
        """The value of an expression in the page, once it is true."""
        end_s = time.monotonic() + WAIT_S
        while not (value := self.run(script)):
            assert time.monotonic() < end_s, f"{script}: never so; errors: {self.errors}"
            time.sleep(0.1)
        return value

    def text(self, selector: str) -> str:
        """The text of an element."""
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def click(self, selector: str):
        """Clicks an element that can be seen, once it can be."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"{found} && {found}.getClientRects().length > 0 && !{found}.disabled")
        self.run(f"{found}.click()")

    def drop(self, selector: str, files: Sequence[Path]):
        """Drops files on an element, as from a window of the desktop."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView()")
        box = self.run(f"(() => {{ const box = document.querySelector({json.dumps(selector)}).getBoundingClientRect(); "
                       "return [box.x + box.width / 2, box.y + box.height / 2]; })()")  # fmt: skip
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)

    def picture(self, path: Path):
        """Saves what is seen."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
