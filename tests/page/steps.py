"""What a person does on the page, and what they then see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def ask(page: Page, question: str | None = None, choices: str | None = None) -> str:
    """Ask, wait until both answers are there, and return LASER's."""
    if question is not None:
        page.fill("#question textarea", question)
    if choices is not None:
        page.fill("#choices textarea", choices)
    page.click("#ask")
    page.locator("#cancel").wait_for()
    page.locator("#cancel").wait_for(state="hidden")
    page.locator(".lt-laser:not(.lt-empty) .lt-answer").wait_for()
    return said(page)


def said(page: Page, method: str = "laser") -> str:
    return str(page.locator(f".lt-{method} .lt-answer").inner_text())


def upload(page: Page, path: Path) -> None:
    """Take the image away that is there, and put another one in its place."""
    page.click('#image button[aria-label="Remove Image"]')
    page.locator("#image input[type=file]").set_input_files(path)
    page.locator('#image button[aria-label="Remove Image"]').wait_for()


def problem(page: Page) -> str:
    """The words of an expected failure: the pop-up's, which are those that stay on the page."""
    pop_up = page.locator(".toast-body").last
    pop_up.wait_for()
    words = str(page.locator("#status .lt-problem").inner_text())
    assert words in pop_up.inner_text()
    page.locator(".toast-close").last.click()
    return words


def open_chat(page: Page) -> None:
    page.get_by_role("tab", name="Chat").click()
    page.locator("#box textarea").wait_for()


def attach(page: Page, path: Path) -> None:
    """Put a picture beside the words that are being written."""
    page.locator("#box input[type=file]").set_input_files(path)
    page.locator("#box .thumbnail-item, #box .thumbnail-image").first.wait_for()


def say(page: Page, words: str, path: Path | None = None) -> Locator:
    """Write, attach, send, and wait for what is said to it."""
    replies = page.locator("#log :is(.lt-reply, .lt-problem)")
    before = replies.count()
    if path is not None:
        attach(page, path)
    page.fill("#box textarea", words)
    page.press("#box textarea", "Enter")
    reply = replies.nth(before)
    reply.wait_for()
    return reply
