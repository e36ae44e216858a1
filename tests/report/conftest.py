"""A model whose images are known in closed form, and a browser that looks at pages without a network."""

import importlib.util
import pathlib
import shutil

import numpy as np
import pytest

from tests.conftest import required_device


class Ramps:
    """Latents that are pixels of the image; every pixel of what is decoded is linear in them."""

    def __init__(self, n_latent=2, channels=1, size=8):
        self.n_latent, self.shape = n_latent, (channels, size, size)
        self.slopes = np.random.default_rng(n_latent).uniform(-0.1, 0.1, (n_latent, *self.shape)).astype("float32")

    def encode_mean(self, images):
        return (images.reshape(len(images), -1)[:, : self.n_latent] - 0.5) * 5

    def decode_mean(self, z):
        return np.clip(0.5 + np.tensordot(z.astype("float32"), self.slopes, 1), 0, 1)

    def images(self, n=60):
        return np.random.default_rng(0).random((n, *self.shape), dtype=np.float32)


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, driven by playwright."""
    missing = [] if shutil.which("chromium") else ["chromium is not installed; apt-get install chromium"]
    if importlib.util.find_spec("playwright") is None:
        missing.append("playwright is not installed; pip install 'fastvae[test]'")
    required_device(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Tab:
    """A page that has been opened, what its console said, and what it asked the network for."""

    def __init__(self, context, path):
        self.said, self.requests, self.page = [], [], context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(pathlib.Path(path).as_uri())
        self.page.wait_for_selector("html[data-ready]", timeout=10_000)

    def text(self, selector, which=0):
        return self.page.locator(selector).nth(which).inner_text()

    def point(self, selector, across, down, which=0):
        """Move the pointer to a place within an element, given as shares of its size."""
        locator = self.page.locator(selector).nth(which)
        locator.scroll_into_view_if_needed()
        box = locator.bounding_box()
        self.page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])

    def pixels(self, selector, which=0):
        """The values of a canvas, uint8 (rows, columns, 4)."""
        read = "c => [c.height, c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
        height, width, values = self.page.locator(selector).nth(which).evaluate(read)
        return np.array(values, "uint8").reshape(height, width, 4)

    def picture(self, selector):
        """All of a large canvas, as text."""
        return self.page.locator(selector).evaluate("canvas => canvas.toDataURL()")


@pytest.fixture
def open_page(browser):
    """Open a file in a window of some width, without a network."""
    contexts = []

    def opened(path, width=1280, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options))
        return Tab(contexts[-1], path)

    yield opened
    for context in contexts:
        context.close()
