"""The search page in a real browser, with real clicks and keys."""

import asyncio
import os
from pathlib import Path

import pytest
from chromium import BINARY, browse
from over_http import served

from nlift_serve.config import Limits

pytestmark = pytest.mark.skipif(BINARY is None, reason="no Chromium here")
SHOTS = os.environ.get("NLIFT_SCREENSHOTS")  # a folder to keep them in
TITLES = "[...document.querySelectorAll('li h3')].map(e => e.textContent)"


@pytest.fixture(scope="module")
def address(bundle):
    with served(bundle, Limits()) as address:
        yield f"{address}/"


def visit(address, scenario):
    asyncio.run(browse(address, scenario))


def expected(bundle, query, **settings):
    return [hit.title or hit.doc_id for hit in bundle.search([query], 10, **settings)[0]]


def test_results_come_as_one_types_and_say_why(address, bundle):
    async def scenario(page):
        await page.until("document.querySelector('#served').textContent === '49 documents, version v1'")
        await page.click("#query")
        await page.type("the small dog near the river")
        await page.until("document.querySelectorAll('li .legs').length === 10")
        assert await page.run(TITLES) == expected(bundle, "the small dog near the river")
        assert "hybrid" in await page.run("document.querySelector('#status').textContent")
        marked = await page.run("[...document.querySelectorAll('li mark')].map(e => e.textContent.toLowerCase())")
        assert {"small", "dog", "river"} <= set(marked)
        assert await page.run("document.querySelectorAll('li .near').length") == 10
        assert "q=the+small+dog" in await page.run("location.search")
        for width in (390, 1280):
            await page.size(width)
            assert await page.run("document.documentElement.scrollWidth <= innerWidth")
            if SHOTS:
                await page.screenshot(Path(SHOTS) / f"page-{width}.png")

    visit(address, scenario)


def test_keys(address):
    async def scenario(page):
        await page.until("document.querySelectorAll('li .legs').length === 10")
        await page.press("/")
        assert await page.run("document.activeElement.id") == "query"
        place = "[...document.querySelectorAll('li')].indexOf(document.activeElement)"
        await page.press("ArrowDown")
        await page.press("ArrowDown")
        assert await page.run(place) == 1
        await page.press("Enter")
        assert await page.run("document.activeElement.getAttribute('aria-expanded')") == "true"
        await page.press("ArrowUp")
        await page.press("ArrowUp")
        assert await page.run("document.activeElement.id") == "query"

    visit(f"{address}?q=a+map", scenario)


def test_modes_side_by_side(address, bundle):
    async def scenario(page):
        await page.until("document.querySelectorAll('li .legs').length === 10")
        await page.run("document.querySelector('#mode').value = 'dense'")
        await page.click("#compare")
        await page.until(
            "document.querySelectorAll('section').length === 2 && document.querySelectorAll('.legs').length > 10"
        )
        columns = await page.run(
            "[...document.querySelectorAll('section')].map(s => [...s.querySelectorAll('h3')].map(e => e.textContent))"
        )
        assert columns == [expected(bundle, "an old man", mode=mode) for mode in ("dense", "lexical")]
        assert await page.run("document.querySelectorAll('.moved').length") > 0
        if SHOTS:
            await page.size(1280)
            await page.screenshot(Path(SHOTS) / "page-compared.png")

    visit(f"{address}?q=an+old+man", scenario)


def test_filters(address, bundle):
    async def scenario(page):
        await page.until("document.querySelectorAll('li .legs').length === 10")
        await page.click("#filters summary")
        await page.click("input[aria-label='row from']")
        await page.type("40")
        await page.until(f"{TITLES}.length < 10")
        assert await page.run(TITLES) == expected(bundle, "a map", filter={"row": {"gte": 40}})
        assert await page.run("document.querySelector('#chosen').textContent") == "(1)"
        await page.click("#clear")
        await page.until(f"{TITLES}.length === 10")
        await page.click("input[aria-label='row to']")
        await page.type("4")
        await page.until(f"{TITLES}.length === 5")  # rows 0 to 4: the cleared end is gone

    visit(f"{address}?q=a+map", scenario)


def test_results_stay_where_the_reasons_fail(address):
    async def scenario(page):
        await page.until("document.querySelectorAll('li .legs').length === 10")
        await page.run(
            "(() => { const real = fetch; window.fetch = (path, more) => more.body.includes('\"explain\":true')"
            " ? Promise.reject(new Error('slow')) : real(path, more); })()"
        )
        await page.run("document.querySelector('#query').value = 'an old man'")
        await page.click("#go")
        await page.until("document.querySelectorAll('li').length === 10 && !document.querySelector('li .legs')")
        await asyncio.sleep(0.5)
        assert await page.run("document.querySelectorAll('li').length") == 10

    visit(f"{address}?q=a+map", scenario)


def test_nothing_found_and_a_server_that_is_gone(address):
    async def scenario(page):
        await page.until("document.body.innerText.includes('Nothing found')")
        await page.run("window.fetch = () => Promise.reject(new TypeError('gone'))")
        await page.click("#go")
        await page.until("document.querySelector('#status').textContent === 'The server cannot be reached.'")

    visit(f"{address}?q=zzzz&mode=lexical", scenario)


def test_an_answer_to_what_was_typed_before_is_dropped(address, bundle):
    async def scenario(page):
        await page.until("document.querySelectorAll('li .legs').length === 10")
        await page.run(
            "(() => { const real = fetch; window.fetch = async (path, more) => {"
            " const slow = more.body?.includes('slow'); const answer = await real(path, {...more, signal: undefined});"
            " if (slow) await new Promise(done => setTimeout(done, 1500)); return answer; }; })()"
        )
        for query in ("slow map", "an old man"):
            await page.run(f"document.querySelector('#query').value = '{query}'")
            await page.click("#go")
            await asyncio.sleep(0.2)
        await asyncio.sleep(2.5)
        assert await page.run(TITLES) == expected(bundle, "an old man")

    visit(f"{address}?q=a+map", scenario)
