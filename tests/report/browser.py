"""A headless browser, driven over a pipe (the DevTools protocol), which needs no library; and the leaderboard in it."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EXECUTABLE = next(filter(None, map(shutil.which, NAMES)), None)
# the protocol wants its pipes to be the descriptors 3 (to read) and 4 (to write)
PLACE_PIPES = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
TIMEOUT = 60


class Browser:
    """A headless browser with one page.

    Attributes:
        problems: What exceptions, the console and the page's policy complained about.
        requests: Addresses that the page asked for.
    """

    def __init__(self, profile):
        theirs = os.pipe(), os.pipe()
        self._output, self._input = theirs[0][1], theirs[1][0]
        read, write = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs[0][0], theirs[1][1]))
        options = ["--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-dev-shm-usage"]
        options += ["--no-sandbox"] * (os.geteuid() == 0)  # root's browser has none
        options += [f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        command = [sys.executable, "-c", PLACE_PIPES, str(read), str(write), EXECUTABLE, *options]
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        self._process = subprocess.Popen(command, pass_fds=(read, write), **quiet)
        for end in (read, write, theirs[0][0], theirs[1][1]):
            os.close(end)
        self._buffer, self._count, self._session = b"", 0, None
        self.problems, self.requests, self._loaded = [], [], False
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        """Send a command: its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._output, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._count:
            pass
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def _receive(self):
        while b"\0" not in self._buffer:
            assert select.select([self._input], [], [], TIMEOUT)[0], "the browser does not answer"
            part = os.read(self._input, 2**16)
            assert part, "the browser has ended"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(parameters["exceptionDetails"]["exception"].get("description", "exception"))
        elif method == "Runtime.consoleAPICalled":
            self.problems.append(str(parameters["args"]))
        elif method == "Log.entryAdded":
            self.problems.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True
        return message

    def open(self, address):
        """Load a page, and wait until it is there."""
        self.send("Page.navigate", url="about:blank")  # so that a changed hash loads the page again
        self.requests.clear()
        self._loaded = False
        self.send("Page.navigate", url=str(address))
        while not (self._loaded and self.run("document.readyState") == "complete"):
            self._receive()

    def run(self, expression):
        """Evaluate JavaScript in the page: its value."""
        done = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def size(self, width, height):
        """Make the window so large, in pixels of a phone or a screen."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def key(self, name, text=""):
        """Press a key and release it."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
        fields = {"key": name, "code": {" ": "Space"}.get(name, name), "windowsVirtualKeyCode": codes[name]}
        self.send("Input.dispatchKeyEvent", type="keyDown", text={"Enter": "\r", " ": " "}.get(name, text), **fields)
        self.send("Input.dispatchKeyEvent", type="keyUp", **fields)

    def screenshot(self):
        """Take a picture of the window: a PNG's bytes."""
        return base64.b64decode(self.send("Page.captureScreenshot")["data"])

    def close(self):
        """End the browser."""
        self._session = None
        try:
            self.send("Browser.close")
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._output)
            os.close(self._input)


ROWS = "[...document.querySelectorAll('#table tbody tr:not(.detail)')]"


class Site(Browser):
    """The leaderboard in a browser."""

    def column(self, name):
        """Texts of a column, from top to bottom."""
        return self.run(f"{ROWS}.map((row) => row.querySelector('.{name}').innerText.trim())")

    @property
    def methods(self):
        return self.run(f"{ROWS}.map((row) => row.querySelector('.more').textContent)")

    @property
    def headers(self):
        return self.run("[...document.querySelectorAll('#table thead th')].map((cell) => cell.dataset.name)")

    @property
    def address(self):
        """The state that the address holds, as a dictionary."""
        return dict(self.run("[...new URLSearchParams(location.hash.slice(1))]"))

    @property
    def processor_seconds(self):
        """Of the page's main thread so far."""
        metrics = self.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "ThreadTime")

    def sort(self, name):
        self.run(f"document.querySelector('#table thead [data-name={name}] button').click()")

    def choose(self, name, value):
        """Set a filter, as a reader's choice or typing does."""
        self.run(f"""{{
            const field = document.getElementById('filters').elements[{json.dumps(name)}];
            if (field.type === 'checkbox') field.checked = {json.dumps(value)}; else field.value = {json.dumps(value)};
            field.dispatchEvent(new Event('input', {{ bubbles: true }}));
        }}""")

    def tab(self, name):
        self.run(
            "[...document.querySelectorAll('[role=tab]')]"
            f".find((tab) => tab.textContent === {json.dumps(name)}).click()"
        )
