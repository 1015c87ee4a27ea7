"""The pictures of docs/demo.md, taken of the page over pico: `make page-pictures`."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
DOCS = Path(__file__).parents[2] / "docs"
DESK, TALL, PHONE = (1280, 900), (1280, 1800), (390, 844)
GAP_PX = 20  # between two phones
SCHEMES = ("light", "dark")
FOLLOW_UP = "What number is on the red star?"
MISSING = "What colour is the black hexagon?"


@contextmanager
def opened(browser: Browser, url: str, size: tuple[int, int], scheme: str) -> Iterator[Page]:
    """The page in a window of that size, still and without pop-ups."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(600_000)
    page.goto(url)
    page.locator("#ask").wait_for()
    try:
        yield page
    finally:
        context.close()


def asked(page: Page) -> None:
    """The example, answered."""
    from tests.page.steps import ask

    ask(page)
    page.wait_for_timeout(1500)  # pictures load, and a phone scrolls to the answers


def talked(page: Page) -> None:
    """The example, a follow-up, and a question about what is not there."""
    from tests.page.steps import open_chat, say

    open_chat(page)
    page.click("#chat-example")
    page.locator("#log .lt-reply").wait_for()
    for question in (FOLLOW_UP, MISSING):
        say(page, question)
    page.wait_for_timeout(1500)


def taken(page: Page, whole: bool) -> Image.Image:
    return Image.open(io.BytesIO(page.screenshot(full_page=whole))).convert("RGB")


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + GAP_PX + right.width, left.height), "white")
    both.paste(left)
    both.paste(right, (left.width + GAP_PX, 0))
    return both


def main() -> None:
    from playwright.sync_api import sync_playwright

    from laser_tools.demo.launch import served
    from laser_tools.demo.page import build
    from laser_tools.engine.local import LocalEngine
    from tests.page.conftest import launched

    engine = LocalEngine.from_pretrained("pico")
    with (
        served(build(engine, "pico on this machine")) as url,
        sync_playwright() as playwright,
        launched(playwright) as browser,
    ):
        for name, do, desk in (("demo", asked, DESK), ("demo.chat", talked, TALL)):
            phones = []
            for scheme in SCHEMES:
                with opened(browser, url, desk, scheme) as page:
                    do(page)
                    taken(page, whole=True).save(DOCS / f"{name}.{scheme}.webp", quality=80)
                with opened(browser, url, PHONE, scheme) as page:
                    do(page)
                    phones.append(taken(page, whole=False))
            beside(*phones).save(DOCS / f"{name}.phone.webp", quality=80)


if __name__ == "__main__":
    main()
