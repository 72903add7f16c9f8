"""A headless Chromium driven by Playwright, and pages that remember what went wrong in them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Page

DESKTOP, PHONE = (1280, 900), (390, 844)
"""Width and height of the window, in CSS pixels."""
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def program() -> str | None:
    """Return the path of the installed browser."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def missing() -> str | None:
    """Return what keeps a browser from running here, or None."""
    if program() is None:
        return "Chromium is not installed (Debian and Ubuntu: apt install chromium)"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "Playwright is not installed (pip install playwright); its own browsers are not needed"
    return None


class Watched:
    """A page, with everything in it that a user should not meet."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        """Errors and warnings of the console, violations of the content policy among them, and exceptions."""
        self.requests: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("request", lambda request: self.requests.append(request.url))

    def outside(self, address: str) -> list[str]:
        """Return the requests that went to another place than the one of an address."""
        home = urlsplit(address)[:2]
        return [url for url in self.requests if urlsplit(url)[:2] != home and urlsplit(url).scheme not in ("data", "blob")]

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")


class Browser:
    """Chromium from the start of the `with` block to its end."""

    def __init__(self) -> None:
        self._open: list[BrowserContext] = []
        self._playwright: Any = None
        self._browser: Any = None

    def __enter__(self) -> Self:
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        try:
            # Chromium's sandbox does not work for root, as in containers.
            options = ["--no-sandbox"] if os.geteuid() == 0 else []
            self._browser = self._playwright.chromium.launch(
                executable_path=program(), args=[*options, "--disable-gpu", "--font-render-hinting=none"]
            )
        except BaseException:
            self._playwright.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close_pages()
        self._browser.close()
        self._playwright.stop()

    def page(self, size: tuple[int, int] = DESKTOP, **options: Any) -> Watched:
        """Open an empty page with its own cookies and storage.

        Args:
            options: of Playwright's `new_context`, such as `color_scheme` or `http_credentials`.
        """
        context = self._browser.new_context(viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce", **options)
        context.set_default_timeout(30_000)
        self._open.append(context)
        return Watched(context.new_page())

    def close_pages(self) -> None:
        """Close all pages."""
        while self._open:
            self._open.pop().close()
