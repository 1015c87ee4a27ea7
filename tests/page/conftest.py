"""A browser before the page. `make page` runs these; elsewhere their packages are not installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from laser_tools.engine.base import Engine
from laser_tools.engine.local import LocalEngine

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
HERE = ("127.0.0.1", None)  # None: what a URL holds itself (data:, blob:)
PATIENCE_MS = 120_000

collect_ignore_glob = [] if find_spec("gradio") and find_spec("playwright") else ["test_*.py"]

Open = Callable[..., "Page"]
Beside = Callable[["Page"], "Page"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sockets to this machine, for server and browser; warnings of gradio's are its own."""
    for item in items:
        if item.path.parent.name == "page":
            item.add_marker(pytest.mark.enable_socket)
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1"]))
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def pico() -> Engine:
    return LocalEngine.from_pretrained("pico")


@contextmanager
def launched(playwright: Playwright) -> Iterator[Browser]:
    """The browser that is installed here."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "no browser: apt-get install chromium"
    browser = playwright.chromium.launch(
        executable_path=found, args=["--no-sandbox"], timeout=PATIENCE_MS
    )
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, launched(playwright) as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens the page over an engine in a fresh browser context, at a width and in a scheme.

    At the end no browser may have asked another host for anything, nor met an error.
    """
    from laser_tools.demo.launch import served
    from laser_tools.demo.page import build

    strangers: list[str] = []
    errors: list[str] = []
    with ExitStack() as stack:

        def open_page(engine: Engine, width: int = 1280, scheme: str = "light") -> Page:
            url = stack.enter_context(served(build(engine, "a test's engine")))
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.on("request", lambda request: strangers.append(request.url))
            page.on("websocket", lambda socket: strangers.append(socket.url))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(url)
            page.locator("#ask").wait_for()
            return page

        yield open_page
    assert strangers, "the page was not watched"
    assert [url for url in strangers if urlsplit(url).hostname not in HERE] == []
    assert errors == []


@pytest.fixture
def open_beside(browser: Browser) -> Iterator[Beside]:
    """Opens another person's browser at the address of a page."""
    with ExitStack() as stack:

        def open_beside(page: Page) -> Page:
            context = browser.new_context()
            stack.callback(context.close)
            other = context.new_page()
            other.set_default_timeout(PATIENCE_MS)
            other.goto(page.url)
            return other

        yield open_beside
