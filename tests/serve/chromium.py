"""A headless Chromium that tests drive: real clicks and keys, by the DevTools protocol."""

import asyncio
import base64
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import time

BINARY = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
KEYS = {"Enter": 13, "ArrowDown": 40, "ArrowUp": 38, "Escape": 27}


class Page:
    """A tab; `Page.open` gives one."""

    def __init__(self, socket):
        self.socket, self.numbers, self.errors = socket, itertools.count(1), []

    async def call(self, method, **parameters):
        number = next(self.numbers)
        await self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await self.socket.recv())
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(answer["params"])
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    async def run(self, script):
        """What a script gives."""
        result = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, script):
        """Wait until a script gives something true; what it gave."""
        deadline = time.monotonic() + 60
        while True:
            value = await self.run(script)
            if value:
                return value
            assert time.monotonic() < deadline, (script, await self.run("document.body.innerText"))
            await asyncio.sleep(0.05)

    async def click(self, selector):
        place = await self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + Math.min(r.height / 2, 20)]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
            await self.call("Input.dispatchMouseEvent", type=kind, **where)

    async def type(self, text):
        for character in text:
            await self.call("Input.dispatchKeyEvent", type="char", text=character)

    async def press(self, key):
        named = {"key": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0].upper()))}
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **named, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    async def size(self, width, height=900):
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def screenshot(self, path):
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot"))["data"]))


async def browse(address, visit):
    """Run `visit(page)` on a page at an address."""
    import websockets

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            BINARY,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            f"--user-data-dir={profile}",
        ]
        process = subprocess.Popen(
            [*command, "--remote-debugging-port=0", "about:blank"], stderr=subprocess.PIPE, text=True
        )
        try:
            lines = iter(process.stderr.readline, "")
            browser = next(match[1] for line in lines if (match := re.search(r"ws://(\S+?)/devtools", line)))
            reader = await asyncio.to_thread(_targets, browser)
            tab = next(target for target in reader if target["type"] == "page")
            async with websockets.connect(tab["webSocketDebuggerUrl"], max_size=None, open_timeout=60) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await page.call(f"{domain}.enable")
                await page.call("Page.navigate", url=address)
                await page.until("document.readyState === 'complete' && document.querySelector('#mode option')")
                await visit(page)
                assert page.errors == []
        finally:
            process.kill()
            process.communicate()


def _targets(browser):
    import urllib.request

    with urllib.request.urlopen(f"http://{browser}/json") as answer:
        return json.load(answer)
