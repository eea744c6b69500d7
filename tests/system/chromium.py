"""The machine's Chromium, which leaves loopback for nothing."""

from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import sync_playwright

VIEWPORT = {"width": 1280, "height": 900}
ON_LOOPBACK_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
PATIENCE_MS = 30_000


@contextmanager
def open_browser(chromium):
    """A browser for the length of the block. Playwright drives it and never brings one of its own."""
    with sync_playwright() as playwright:
        # As root, which CI is, Chromium starts without its sandbox only; it opens nothing but our own pages.
        switches = ["--no-sandbox", "--disable-background-networking", ON_LOOPBACK_ONLY]
        browser = playwright.chromium.launch(executable_path=chromium, args=switches)
        yield browser
        browser.close()


@contextmanager
def open_page(browser, **options):
    """A page of its own, with cookies of its own; what it asks beyond this machine is refused."""
    context = browser.new_context(viewport=VIEWPORT, locale="en-US", timezone_id="UTC", **options)
    context.set_default_timeout(PATIENCE_MS)
    context.route("**/*", _stay_on_this_machine)
    page = context.new_page()
    yield page
    context.close()


def _stay_on_this_machine(route):
    address = urlsplit(route.request.url)
    if address.scheme in {"data", "blob", "file"} or address.hostname == "127.0.0.1":
        route.continue_()
    else:
        route.abort()
