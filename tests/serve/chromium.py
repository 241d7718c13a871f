"""A headless Chromium that tests drive: real clicks and keys, by the DevTools protocol."""

import asyncio
import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import httpx

BINARY = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LOGS = ("Runtime.exceptionThrown", "Log.entryAdded")
KEYS = {"Enter": 13, "ArrowDown": 40, "ArrowUp": 38, "Escape": 27}

CENTRE = """(() => {
  const element = document.querySelector(%s);
  element.scrollIntoView({block: "center"});
  const box = element.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + Math.min(box.height / 2, 20)];
})()"""


class Page:
    """A tab; `Page.open` gives one."""

    def __init__(self, socket):
        self.socket, self.numbers, self.errors = socket, itertools.count(1), []

    async def call(self, method, **parameters):
        number = next(self.numbers)
        await self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(await self.socket.recv())
            if (
                answer.get("params", {}).get("entry", {}).get("level", "error") == "error"
                and answer.get("method") in LOGS
            ):
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
        """Wait until a script gives something true."""
        deadline = time.monotonic() + 60
        while True:
            if await self.run(f"Boolean({script})"):
                return
            assert time.monotonic() < deadline, (script, await self.run("document.body.innerText"))
            await asyncio.sleep(0.05)

    async def click(self, selector):
        place = await self.run(CENTRE % json.dumps(selector))
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
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
        command = [BINARY, *flags, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(
            command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            tab = next(target for target in await _targets(Path(profile)) if target["type"] == "page")
            async with websockets.connect(tab["webSocketDebuggerUrl"], max_size=None, open_timeout=60) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await page.call(f"{domain}.enable")
                await page.call("Page.navigate", url=address)
                await page.until("document.readyState === 'complete' && document.querySelector('#mode option')")
                await visit(page)
                assert page.errors == [], page.errors
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


async def _targets(profile):
    """What the browser has open, once it has started."""
    deadline = time.monotonic() + 60
    while not (profile / "DevToolsActivePort").is_file():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    port = (profile / "DevToolsActivePort").read_text().split()[0]
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://127.0.0.1:{port}/json", timeout=60)).json()
