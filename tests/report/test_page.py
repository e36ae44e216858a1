"""The page of a report in a real browser: pointer, keyboard, curves, and that it needs nothing but itself."""

import json
import re

import numpy as np
import pytest

from fastvae.report import Run, page, results_of
from fastvae.report.results import ROOM
from tests.report.conftest import Ramps

SESSION = {
    "steps": [0, 500],
    "seconds": {"starting": 2.0, "training": 5.0, "pictures": 1.0},
    "machine": {"processor": "a & b", "Python": "3.11"},
}


def run_of(model, name="first", labels=None, room=ROOM, **options):
    losses = 800 * np.exp(-np.arange(500) / 80) + 100 + np.sin(np.arange(500))
    return Run(
        name=name,
        options={"--seed": "1", "--data": "</script><b>", **options},
        results=results_of(model, model.images(), labels, ["zero", "one"], room),
        batch_size=2,
        losses=[*losses[:-1], float("nan")],
        held_out=[(100, -400.0), (200, -90.0), (300, float("nan")), (400, -60.0)],
        sessions=[SESSION],
        images="The first test images",
        commands=["fastvae train --seed 1"],
    )


def written(path, *runs):
    path.write_text(page.html(runs), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model():
    return Ramps()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    labels = np.arange(60) % 12
    return written(tmp_path_factory.mktemp("page") / "report.html", run_of(model, "a<b>", labels))


def place(tab, which=0):
    """The latents that the explorer says."""
    return [float(value) for value in re.findall(r"= (-?[\d.]+)", tab.text(".explorer output", which))]


def test_it_needs_no_network_and_says_nothing_and_is_ready_within_a_second(open_page, file):
    tabs = [open_page(file) for _ in range(3)]
    assert min(int(tab.page.locator("html").get_attribute("data-ready")) for tab in tabs) < 1000
    for tab in tabs:
        assert tab.said == []
        assert [url.split(":")[0] for url in tab.requests if not url.startswith("data:")] == ["file"]
    assert file.stat().st_size < 5_000_000


def test_the_image_under_the_pointer_is_the_decoders(open_page, file, model):
    tab = open_page(file)
    for across, down in [(0.5, 0.5), (0.31, 0.72), (0.9, 0.07), (0.02, 0.98)]:
        tab.point(".plane", across, down)
        x, y = place(tab)
        assert (x, y) == pytest.approx(((2 * across - 1) * 3, (1 - 2 * down) * 3), abs=0.03)
        expected = model.decode_mean(np.array([[x, y]]))[0, 0]
        assert np.abs(tab.pixels(".decoded")[..., 0] / 255 - expected).max() < 0.008
    assert tab.said == []


def test_the_arrow_keys_move_it(open_page, file):
    tab = open_page(file)
    tab.page.focus(".plane")
    before = tab.pixels(".decoded")
    for key in ("ArrowRight", "Shift+ArrowUp", "ArrowRight"):
        tab.page.keyboard.press(key)
    assert place(tab) == [0.2, 0.5] and (tab.pixels(".decoded") != before).any()
    tab.page.keyboard.press("Home")
    assert place(tab) == [0, 0] and (tab.pixels(".decoded") == before).all()
    for _ in range(9):
        tab.page.keyboard.press("Shift+ArrowLeft")
    assert place(tab) == [-3, 0]  # the edge


def test_a_class_can_be_shown_alone(open_page, file):
    tab = open_page(file)
    buttons = tab.page.locator(".legend button")
    assert buttons.all_inner_texts() == ["zero", "one", *(str(label) for label in range(2, 12))]
    shapes = buttons.locator("path").evaluate_all(
        "paths => paths.map(p => p.getAttribute('d') + p.getAttribute('fill'))"
    )
    assert len(set(shapes)) == 12
    everything = tab.picture(".plane")
    buttons.nth(3).click()
    alone = tab.picture(".plane")
    assert buttons.nth(3).get_attribute("aria-pressed") == "true" and alone != everything
    buttons.nth(3).press("Enter")
    assert tab.picture(".plane") == everything


def test_decoded_images_can_be_shown_behind_the_points(open_page, file):
    tab = open_page(file)
    without = tab.picture(".plane")
    tab.page.get_by_label("decoded images behind the points").check()
    assert tab.picture(".plane") != without and tab.said == []
    tab.page.get_by_label("decoded images behind the points").uncheck()
    assert tab.picture(".plane") == without


def test_curves_are_zoomed_by_dragging_and_by_keys(open_page, file):
    tab = open_page(file)

    def shown():
        return [int(number) for number in re.findall(r"\d+", tab.text(".chart output"))]

    tab.point("svg.plot", 0.4, 0.5)
    assert re.match(
        r"iteration \d+: each minibatch -[\d.]+, training ELBO -[\d.]+, held-out ELBO -", tab.text(".chart output")
    )
    tab.page.mouse.down()
    tab.point("svg.plot", 0.6, 0.5)
    tab.page.mouse.up()
    first, last = shown()
    assert 100 < first < 220 and 260 < last < 350
    tab.page.focus("svg.plot")
    tab.page.keyboard.press("ArrowRight")
    assert shown()[0] > first
    tab.page.keyboard.press("0")
    assert shown() == [0, 499]
    tab.page.get_by_label("zoom in").click()
    assert shown() == [125, 374]
    tab.page.locator("svg.plot").dblclick()
    assert shown() == [0, 499]


def test_a_phone_shows_all_of_it(open_page, file):
    tab = open_page(file, width=400)
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 400
    assert tab.page.locator(".plane").bounding_box()["width"] > 340


def test_what_runs_are_called_and_given_is_text(open_page, file):
    tab = open_page(file)
    assert tab.text("h1") == "a<b>" and "</script><b>" in tab.text("#configuration")
    assert "a & b" in tab.text("#machine") and tab.page.locator("main b").count() == 2  # under the bars of two latents
    assert tab.text("#overview").split("\n")[1:] == [
        *("iterations", "500", "final ELBO per image", "-51.55 nats", "held-out ELBO per image", "-60.00 nats"),
        *("active latents", "2 of 2", "iterations a second", "100.0"),
    ]
    assert "5.0 s\t62 %" in tab.text("#time")


def test_of_many_latents_the_axes_can_be_chosen_and_each_has_a_traversal(open_page, tmp_path):
    model = Ramps(n_latent=4, channels=3)
    tab = open_page(written(tmp_path / "r.html", run_of(model)))
    assert tab.page.locator(".explorer option").count() == 6 and tab.page.locator("figure.strip img").count() == 4
    tab.page.select_option(".explorer select", label="latent 2 and latent 4")
    tab.page.wait_for_function("document.querySelector('.explorer output').textContent.includes('latent 4')")
    tab.point(".plane", 0.3, 0.4)
    x, y = place(tab)
    expected = model.decode_mean(np.array([[0, x, 0, y]]))[0].transpose(1, 2, 0)
    assert np.abs(tab.pixels(".decoded")[..., :3] / 255 - expected).max() < 0.008
    strips = tab.page.locator("figure.strip img").evaluate_all(
        "images => images.map(i => [i.naturalWidth, i.naturalHeight])"
    )
    assert strips == [[88, 8]] * 4 and tab.said == []


def test_one_latent(open_page, tmp_path):
    model = Ramps(n_latent=1)
    tab = open_page(written(tmp_path / "r.html", run_of(model)))
    tab.point(".plane", 0.8, 0.9)
    (x,) = place(tab)
    expected = model.decode_mean(np.array([[x]]))[0, 0]
    assert np.abs(tab.pixels(".decoded")[..., 0] / 255 - expected).max() < 0.008 and tab.said == []


def test_two_runs_are_moved_together_and_what_differs_is_marked(open_page, tmp_path, model):
    second = run_of(Ramps(n_latent=3), "second", room=ROOM // 2, **{"--seed": "2", "--new": "yes"})
    tab = open_page(written(tmp_path / "r.html", run_of(model, room=ROOM // 2), second))
    tab.point(".plane", 0.75, 0.25)
    assert place(tab, 0) == pytest.approx([1.5, 1.5], abs=0.03) and place(tab, 1)[:2] == place(tab, 0)
    marked = tab.page.locator("#configuration tr.differs th").all_inner_texts()
    assert sorted(text.removesuffix(" ≠") for text in marked) == ["--new", "--seed"]
    assert tab.text("h1") == "first against second" and tab.page.locator(".chart .key").count() == 4
    assert tab.said == []


def test_a_run_before_its_first_step_and_one_of_an_older_version():
    empty = Run("x", {}, {}, batch_size=1, losses=[], held_out=[], sessions=[])
    text = page.html([empty])
    assert 'id="training"' not in text and 'id="explorer"' not in text
    assert "Its machine was not recorded" in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    assert data["runs"][0]["curve"] == []


def test_a_curve_of_many_steps_is_that_of_means():
    losses = np.arange(10 * page.BUCKETS, dtype=float)
    losses[5] = np.nan
    points = page._curve(losses, 2)
    assert len(points) == page.BUCKETS and points[-1] == [len(losses), -float(losses[-10:].mean()) / 2]
    assert points[0] == [10, pytest.approx(-np.nanmean(losses[:10]) / 2, rel=1e-5)]


def test_held_out_elbos_of_many_steps_are_thinned_and_the_last_is_kept():
    measured = [(step, -float(step)) for step in range(1, 3 * page.BUCKETS)]
    shown = page._spaced(measured)
    assert len(shown) == page.BUCKETS and shown[-1] == measured[-1] and page._spaced(measured[:7]) == measured[:7]
    assert page._spaced([]) == []


def test_runs_that_are_equal_keep_their_own_colours():
    runs = [Run("x", {}, {}, batch_size=1, losses=[1.0], held_out=[], sessions=[], commands=["a"]) for _ in range(2)]
    text = page.html(runs)
    assert text.count('<h3 style="color:var(--run0)">') == text.count('<h3 style="color:var(--run1)">') == 1
