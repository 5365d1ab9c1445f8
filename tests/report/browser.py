"""A real browser for tests: Chromium without a window or a network, driven through a pipe."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The browser listens at descriptor 3 and answers at 4, whatever numbers the pipes have here.
_LAUNCH = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
os.dup2(pipes[0], 3)
os.dup2(pipes[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_PATIENCE = 60  # seconds that any one answer may take on a busy machine


def find() -> str | None:
    """Give the browser's path, or None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page of the browser, in the DevTools protocol."""

    def __init__(self, into: int, out: int) -> None:
        self._into, self._out = into, out
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        number = next(self._numbers)
        said = {"id": number, "method": method, "params": params, **self._session}
        os.write(self._into, json.dumps(said).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._out], [], [], _PATIENCE)
            assert ready, "the browser does not answer"
            part = os.read(self._out, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        return json.loads(line)

    def open(self, path: Path) -> None:
        """Open a file and wait until it and its pictures are there."""
        self.ask("Page.navigate", url=path.as_uri())
        until = time.monotonic() + _PATIENCE
        while self.run("document.readyState") != "complete":
            assert time.monotonic() < until, "the page does not load"
            time.sleep(0.05)

    def look(self, width: int, scheme: str = "light", media: str = "") -> None:
        """Make the window so wide, and the room light or dark."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)

    def run(self, expression: str) -> Any:
        """Give the value of an expression of JavaScript, which the page itself may not run."""
        done = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def picture(self, *, whole: bool = False) -> bytes:
        """Give what is seen, or the whole page, as PNG."""
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        return base64.b64decode(data)


@contextmanager
def open_page(browser: str, profile: Path) -> Iterator[Page]:
    """Start a browser that reaches nothing but files, and open one page in it."""
    its_in, into = os.pipe()
    out, its_out = os.pipe()
    command = [
        *(sys.executable, "-c", _LAUNCH, str(its_in), str(its_out), browser),
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run"),
        *("--disable-background-networking", "--disable-dev-shm-usage"),
        "--host-resolver-rules=MAP * ~NOTFOUND",
    ]
    process = subprocess.Popen(
        command,
        pass_fds=(its_in, its_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(its_in)
    os.close(its_out)
    try:
        yield Page(into, out)
    finally:
        os.close(into)  # at the end of its pipe it goes
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(out)
