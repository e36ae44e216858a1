"""The site builds without a warning, tutorials included, and readers find what they look for."""

import html.parser
import importlib.util
import os
import posixpath
import subprocess
import sys
import types
import urllib.parse

import pytest

import fastvae
from tests.conftest import OURS, ROOT, compile_cache, required_device
from tests.test_public_arguments import PUBLIC

# The pictures that each executed tutorial draws.
PICTURES = {"seed_model": 5, "own_network": 2, "migrate": 0, "choices": 0, "long_runs": 0, "benchmarking": 0}
# What a reader searches for, and the page that answers.
ANSWERS = {
    "resume": "tutorials/long_runs.html",
    "NaN": "how-to/troubleshooting.html",
    "float64": "how-to/troubleshooting.html",
    "cuda": "tutorials/gpus.html",
}
START, TUTORIAL, REFERENCE = "index.html", "tutorials/seed_model.html", "reference/generated/fastvae.fit.html"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site. It is built once, and a warning is an error."""
    missing = [] if importlib.util.find_spec("sphinx") else ["sphinx is not installed; pip install 'fastvae[docs]'"]
    required_device(missing)
    folder = tmp_path_factory.mktemp("site")
    environ = {name: value for name, value in os.environ.items() if name not in OURS}
    environ["THEANO_FLAGS"] = f"base_compiledir={compile_cache()},compile.wait=1"
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-d", folder / "doctrees", ROOT / "docs"]
    done = subprocess.run([*command, folder / "html"], env=environ, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Page(html.parser.HTMLParser):
    """What a page links to, what it loads, and the anchors that it has."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.anchors, self.pictures = [], [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given["id"]} if "id" in given else set()
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in ("img", "script") and "src" in given:
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.append(given["href"])
        if tag == "img":
            self.pictures.append(given["src"])


@pytest.fixture(scope="module")
def pages(site):
    """By their paths within the site; asv's, which may lie beside it, are not ours."""
    paths = {path.relative_to(site) for path in site.rglob("*.html")}
    return {path.as_posix(): Page(site / path) for path in paths if path.parts[0] not in ("_static", "history")}


def documented(site):
    """The names that the site documents."""
    from sphinx.util.inventory import InventoryFile

    with open(site / "objects.inv", "rb") as file:
        inventory = InventoryFile.load(file, "", posixpath.join)
    return {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}


def test_every_public_name_is_documented(site):
    names = {f"fastvae.{name}" for name in fastvae.__all__}
    for name in fastvae.__all__:
        value = getattr(fastvae, name)
        if isinstance(value, types.ModuleType):
            members = [member for member in getattr(value, "__all__", ())]
            names |= {f"fastvae.{name}.{member}" for member in members}
    names |= {f"fastvae.{path}" for path in PUBLIC if "__" not in path and path != "stack.start"}
    assert len(names) > 150 and sorted(names - documented(site)) == []


def test_every_link_and_anchor_leads_somewhere(pages, site):
    checked, broken = 0, []
    for name, page in pages.items():
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or not (url.path or url.fragment):
                continue
            checked += 1
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), url.path)) if url.path else name
            if not (site / target).exists() or (
                url.fragment and target in pages and url.fragment not in pages[target].anchors
            ):
                broken.append((name, link))
    assert checked > 1000 and broken == []


def test_nothing_is_loaded_from_the_network(pages):
    assert len(pages) > 100
    loaded = {source for page in pages.values() for source in page.loads}
    assert len(loaded) > 5 and [source for source in loaded if urllib.parse.urlsplit(source).netloc] == []


def test_tutorials_ran(pages, site):
    for name, pictures in PICTURES.items():
        page = pages[f"tutorials/{name}.html"]
        assert sum("_images" in source for source in page.pictures) == pictures, name
        text = (site / "tutorials" / f"{name}.html").read_text(encoding="utf-8")
        assert 'class="cell_output' in text and "Traceback" not in text, name


def test_no_path_of_the_machine_that_built_it(site):
    lines = [(path.name, line) for path in site.rglob("*.html") for line in path.read_text("utf-8").splitlines()]
    assert [(name, line) for name, line in lines if str(ROOT) in line] == []


@pytest.mark.parametrize("question, answer", ANSWERS.items(), ids=map("a search for {}".format, ANSWERS))
def test_search_finds_the_page_that_answers_without_a_network(site, browser, question, answer):
    page = browser.new_page()
    page.goto((site / "search.html").as_uri() + f"?q={question}")
    page.wait_for_selector("#search-results ul.search li a", timeout=30_000)
    page.wait_for_function("!document.querySelector('#search-results h2').innerText.endsWith('...')")
    found = page.eval_on_selector_all("#search-results ul.search li a", "links => links.map(link => link.href)")
    page.close()
    assert any(link.split("?")[0].split("#")[0].endswith(answer) for link in found[:3]), found[:10]


@pytest.mark.parametrize("width", (1280, 400))
@pytest.mark.parametrize("name", (START, TUTORIAL, REFERENCE))
def test_pages_fit_their_window(site, browser, name, width):
    said, page = [], browser.new_page(viewport={"width": width, "height": 800})
    page.on("console", lambda message: said.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((site / name).as_uri())
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert wide <= width and said == []
