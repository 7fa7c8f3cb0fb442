"""Pages in a headless Chromium: what they request, what they print, and which errors they meet is recorded."""

import shutil
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE = {"viewport": {"width": 360, "height": 640}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


class Page:
    """A tab of a browser of its own.

    Attributes
    ----------
    tab : playwright's Page
    requests : list of str
        The addresses of everything that the page asked for.
    messages : list of str
        Warnings and errors of the console, and errors that the script did not catch.
    expected : list of str
        Parts of messages that a test expects. Any other message fails the test, and so does a request to another host
        than those in ``hosts``.
    """

    def __init__(self, chromium, hosts=("127.0.0.1",), **options):
        self.context = chromium.new_context(**options)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(60_000)  # the machine may be busy
        self.hosts, self.requests, self.messages, self.expected = hosts, [], [], []
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", self._print)
        self.tab.on("pageerror", lambda error: self.messages.append(f"not caught: {error}"))

    def _print(self, message):
        if message.type in ("error", "warning"):
            self.messages.append(message.text)

    def open(self, address):
        """Load an address, and wait until the page has asked for nothing more."""
        self.tab.goto(address, wait_until="networkidle")
        return self.tab

    def others(self):
        """The requests to other hosts."""
        return [url for url in self.requests if urlsplit(url).hostname not in (*self.hosts, None)]

    def problems(self):
        """The messages that no test expects."""
        return [text for text in self.messages if not any(part in text for part in self.expected)]

    def overflow(self):
        """By how many pixels the page is wider than the window."""
        return self.tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def close(self):
        self.context.close()
        assert self.others() == []
        assert self.problems() == []


@pytest.fixture(scope="package")
def chromium():
    """A headless Chromium of this machine."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[browser]' to run the tests in a browser")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"the tests in a browser need one of {', '.join(NAMES)}")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # root has no sandbox
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium):
    """``new_page(**options)`` makes a `Page`. The options are those of playwright's ``new_context``."""
    made = []

    def make(**options):
        made.append(Page(chromium, **options))
        return made[-1]

    yield make
    for page in made:
        page.close()


@pytest.fixture
def page(new_page):
    """A `Page` in a window of usual size, light."""
    return new_page()
