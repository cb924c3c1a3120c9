"""What a browser makes of a report: ``python -m tests.browser report.html``, with chromium on the path.

The page must be drawn without the network, run without a message on its console, and show its rows.
"""

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
OPTIONS += ["--host-resolver-rules=MAP * ~NOTFOUND"]
# The answer to a command may take this long, in seconds, on a machine that does other things.
PATIENCE = 60


def chromium(*options):
    """What a headless chromium that resolves no name prints, and says."""
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromium", *OPTIONS, f"--user-data-dir={profile}", "--enable-logging=stderr"]
        found = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=100, check=True
        )
    return found.stdout, found.stderr


class Browser:
    """A headless chromium with one page, driven through two pipes.

    Parameters
    ----------
    profile : path
        Where it keeps what pages store; the same one for a browser that is opened again.
    downloads : path
        Where files go that pages save.
    """

    def __init__(self, profile, downloads):
        theirs, self._to = os.pipe()
        self._from, ours = os.pipe()
        command = ["chromium", *OPTIONS, f"--user-data-dir={profile}", "--remote-debugging-pipe"]

        def connect():
            # Commands come in at descriptor 3, answers go out at 4; what is there now may be the others.
            high = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (theirs, ours)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(
            command, preexec_fn=connect, pass_fds=(3, 4), stdin=subprocess.DEVNULL, **nowhere
        )
        os.close(theirs)
        os.close(ours)
        self._buffer, self._n, self.console, self.requested = b"", 0, [], []
        self._session = None
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")
        self._ask(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(downloads),
            eventsEnabled=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with contextlib.suppress(OSError, AssertionError):
            self._session = None
            self._ask("Browser.close")
        os.close(self._to)
        self._process.wait(PATIENCE)
        os.close(self._from)

    def open(self, path):
        """Load a file and wait until it is there."""
        self._loaded = False
        self._ask("Page.navigate", url=Path(path).resolve().as_uri())
        self._until(lambda: self._loaded)

    def run(self, expression):
        """The value of an expression of the page."""
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, *keys):
        """Press keys, one after the other: a letter, or a name such as Enter."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
            self._ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
            self._ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector):
        """Click in the middle of the first element that a selector finds, with the mouse."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def download(self):
        """Wait for the file that the page saves."""
        self._until(lambda: self._downloaded)
        self._downloaded = False

    def picture(self, path, width=1200, height=1600):
        """Save what the page looks like."""
        import base64

        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        Path(path).write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    _loaded = _downloaded = False

    def _ask(self, method, **params):
        self._n += 1
        message = {"id": self._n, "method": method, "params": params}
        if self._session and not method.startswith("Browser."):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._n:
                assert "error" not in answer, answer
                return answer["result"]

    def _until(self, fact):
        while not fact():
            self._read()

    def _read(self):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], PATIENCE)
            more = os.read(self._from, 1 << 16) if ready else b""
            assert more, "The browser does not answer."
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(message)
        method, params = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Browser.downloadProgress" and params["state"] == "completed":
            self._downloaded = True
        elif method == "Page.javascriptDialogOpening":
            self._n += 1
            yes = {
                "id": self._n,
                "method": "Page.handleJavaScriptDialog",
                "params": {"accept": True},
            }
            os.write(self._to, json.dumps({**yes, "sessionId": self._session}).encode() + b"\0")
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.console.append(params)
        elif method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        return message


def found_chromium():
    """Whether there is a browser."""
    return shutil.which("chromium") is not None


def main(path):
    page = Path(path).resolve()
    text = page.read_text(encoding="utf-8")
    loaded = re.findall(r"""(?:\bsrc|<link[^>]*\bhref)\s*=\s*["']?(?:https?:)?//[^"'\s>]+""", text)
    assert not loaded, f"The page loads {loaded}."
    drawn, said = chromium("--virtual-time-budget=5000", "--dump-dom", page.as_uri())
    console = [line for line in said.splitlines() if "CONSOLE" in line]
    assert not console, "The page writes on its console: " + "; ".join(console)
    rows = len(re.findall(r"<tr[\s>]", drawn))
    assert rows > 10, f"The page shows {rows} rows of tables."
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "page.png"
        chromium(f"--screenshot={picture}", "--window-size=1200,2000", page.as_uri())
        size = picture.stat().st_size
    # A blank page of that size is some 10 kB.
    assert size > 30_000, f"The picture of the page has {size} bytes: it is blank."
    print(f"{page.name}: {rows} rows, {size} bytes drawn, nothing loaded, nothing on the console")


if __name__ == "__main__":
    main(*sys.argv[1:])
