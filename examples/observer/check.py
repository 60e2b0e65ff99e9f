#!/usr/bin/env python3
"""Opens the observer's page in headless Chromium and checks what it shows. Needs nothing but the standard library.

    examples/observer/check.py HOST:PORT [DIRECTORY FOR SCREENSHOTS]

The example must run with --crash-every 3 or so. Chromium is driven over its DevTools protocol, by pipes.
"""

import base64
import json
import os
import select
import subprocess
import sys
import tempfile
import time

LIMIT = 30


class Browser:
    """Chromium, and one page of it."""

    def __init__(self, profile):
        ours_in, self.input = os.pipe()
        self.output, ours_out = os.pipe()
        # Chromium reads commands from descriptor 3 and writes to 4. Copies above them come first, so that neither is lost.
        high = [os.dup2(ours_in, 30, False), os.dup2(ours_out, 31, False)]

        def set_up():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=set_up, pass_fds=(3, 4, *high), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for descriptor in (ours_in, ours_out, *high):
            os.close(descriptor)
        self.rest, self.number, self.session = b"", 0, None
        self.console = []

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.input, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + LIMIT
        while True:
            answer = self.receive(deadline)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def receive(self, deadline):
        while b"\0" not in self.rest:
            if not select.select([self.output], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            piece = os.read(self.output, 1 << 16)
            if not piece:
                raise EOFError("Chromium has ended")
            self.rest += piece
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        if message.get("method") in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.console.append(message["params"])
        return message

    def open(self, url):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")
        self.size(1280, 1000)
        self.call("Page.navigate", url=url)
        self.wait("the page is loaded", "location.protocol === 'http:' && document.readyState === 'complete'")

    def size(self, width, height, scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=width < 600)

    def theme(self, name):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, what, script, limit=LIMIT):
        """Waits until the script gives something true, and returns it."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.02)
        raise AssertionError(f"{what}: not within {limit} s\n{self.run('document.body.innerText')}")

    def key(self, name, code):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code,
                      **({"text": "\r"} if name == "Enter" and kind == "keyDown" else {}))

    def shot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))


def column(table, number):
    return f"[...document.querySelectorAll('#{table} tbody tr')].map(row => row.children[{number}].textContent)"


def check_figures(page):
    page.wait("the page is live", "document.getElementById('status').textContent === 'live'")
    page.wait("messages are counted", "Number(document.getElementById('figure-rate').textContent) > 0")
    page.wait("a chart is drawn", "document.querySelector('#figures polyline').points.length > 3")
    uptime = page.run("document.getElementById('uptime').textContent")
    page.wait("figures change by themselves", f"document.getElementById('uptime').textContent !== {json.dumps(uptime)}")


def check_table(page):
    head = "[...document.querySelectorAll('#processes th button')].find(b => b.textContent === 'Name')"
    page.run(f"{head}.click()")
    sorted_names = "(names => names.length > 10 && names.every((n, i) => !i || names[i - 1] <= n))"
    page.wait("names are sorted", f"{sorted_names}({column('processes', 1)})")
    page.run(f"{head}.click()")
    page.wait("names are sorted the other way", f"{sorted_names}({column('processes', 1)}.reverse())")
    page.run("(s => { s.value = 'PRINTER'; s.dispatchEvent(new Event('input')); })(document.getElementById('process-search'))")
    page.wait("only the printer is found", f"(names => names.length === 1 && names[0] === 'printer')({column('processes', 1)})")
    page.run("(s => { s.value = ''; s.dispatchEvent(new Event('input')); })(document.getElementById('process-search'))")
    page.wait("all are found again", f"{column('processes', 1)}.length > 10")


def check_keyboard(page):
    """From the search field to the first row by Tab, into its detail by Enter, and out by Escape."""
    page.run("document.getElementById('process-search').focus()")
    for _ in range(20):
        page.key("Tab", 9)
        if page.run("document.activeElement.closest('#processes tbody') !== null"):
            break
    page.key("Enter", 13)
    page.wait("the detail is open", "document.getElementById('detail').open")
    page.wait("the detail has lanes", "document.getElementById('detail-list').textContent.includes('lanes')")
    page.key("Escape", 27)
    page.wait("the detail is closed", "!document.getElementById('detail').open")
    unnamed = page.run("[...document.querySelectorAll('button, input, a')].filter(e => !e.textContent.trim() && "
                       "!(e.labels && e.labels.length)).length")
    assert unnamed == 0, f"{unnamed} controls without a name"


STARTS = "Number((document.getElementById('tree').textContent.match(/printer.*?started (\\d+) times/) || [0, 1])[1])"
CRASHES = "[...document.querySelectorAll('#log li')].filter(li => li.textContent.includes('out of paper')).length"


def check_crash(page):
    starts, crashes = page.run(STARTS), page.run(CRASHES)
    page.wait("the crash is in the log", f"{CRASHES} > {crashes}", 15)
    seen = time.monotonic()
    page.wait("the crash is in the tree", f"{STARTS} > {starts}", 15)
    # The log and the tree come by different ways; both show it within a second.
    assert time.monotonic() - seen < 1, f"the tree is {time.monotonic() - seen:.2f} s behind the log"
    print(f"crash: {page.run(STARTS) - 1} restarts, {page.run(CRASHES)} records")


def check_width(page):
    page.size(390, 844, 2)
    assert page.run("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than a phone"


def shots(page, directory):
    page.size(1280, 800)
    for theme in ("light", "dark"):
        page.theme(theme)
        page.shot(f"{directory}/observer-{theme}.png")
    page.size(390, 844, 2)
    page.shot(f"{directory}/observer-phone.png")


def main():
    address = sys.argv[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        page = Browser(profile)
        try:
            page.open(f"http://{address}/")
            for check in (check_figures, check_table, check_keyboard, check_crash, check_width):
                check(page)
            if len(sys.argv) > 2:
                shots(page, sys.argv[2])
            assert not page.console, f"messages in the console: {page.console}"
        finally:
            page.process.kill()
            page.process.wait()


main()
