"""A headless Chromium for the tests of the pages, and what it says of a page."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass
class Opened:
    """A page in the browser, and everything that it asked for or complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def find_browser() -> str | None:
    """The program of a browser; ``COVIDCT_CHROMIUM`` names another one."""
    given = os.environ.get("COVIDCT_CHROMIUM")
    return given or next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def headless() -> Iterator[Browser]:
    """A browser without a window; skips the test where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, path: Path, **options: object) -> Iterator[Opened]:
    """A page from disk; ``options`` are those of a browser context.

    The page must ask for nothing but itself, and complain of nothing; that is checked when it closes.
    """
    context = browser.new_context(**options)  # type: ignore[arg-type]
    seen = Opened(context.new_page())
    seen.page.on("request", lambda request: seen.requests.append(request.url.partition(",")[0]))
    seen.page.on("console", lambda message: seen.complaints.append(message.text))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    try:
        seen.page.goto(path.as_uri())
        yield seen
        asked = [url for url in seen.requests if not url.startswith("data:image/")]
        assert asked == [path.as_uri()]
        assert seen.complaints == []
    finally:
        context.close()
