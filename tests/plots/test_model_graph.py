import io

import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch

from fastvae.errors import ConfigurationError
from fastvae.plots.model_graph import model_graph

STAGES = [
    ("images", "1 x 4 x 4", "observed"),
    ("conv", "8 x 2 x 2", "encoder"),
    ("mean, rho", "2 + 2", "encoder"),
    ("z", "2", "latent"),
    ("hidden", "9", "decoder"),
    ("upper", "12", "decoder"),
    ("pixels", "16", "decoder"),
]


def test_every_stage_is_drawn_with_its_shape_and_inside_the_axes():
    axes = model_graph(STAGES).axes[0]
    at = {text.get_text(): text.get_position() for text in axes.texts}
    for name, shape, kind in STAGES:
        (x, y), (shape_x, shape_y) = at[name], at[shape]
        assert x == shape_x and 0 < y - shape_y < 0.3
        assert np.sign(x) == {"observed": 0, "encoder": -1, "latent": 0, "decoder": 1}[kind]
    assert at["images"][1] > at["conv"][1] > at["mean, rho"][1] > at["z"][1]
    assert at["z"][1] < at["hidden"][1] < at["upper"][1] < at["pixels"][1] < at["images"][1]
    for patch in axes.patches:
        if not isinstance(patch, FancyArrowPatch):
            box = patch.get_path().transformed(patch.get_patch_transform()).get_extents()
            assert axes.get_xlim()[0] < box.x0 < box.x1 < axes.get_xlim()[1]
            assert axes.get_ylim()[0] < box.y0 < box.y1 < axes.get_ylim()[1]


def test_arrows_run_from_the_images_round_to_the_images():
    axes = model_graph(STAGES).axes[0]
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    at = {text.get_text(): np.subtract(text.get_position(), (0, 0.1)) for text in axes.texts}
    names = [name for name, _, _ in STAGES]
    assert len(arrows) == len(names)
    for arrow, start, end in zip(arrows, names, names[1:] + names[:1]):
        np.testing.assert_allclose(arrow._posA_posB, [at[start], at[end]])
    assert [arrow.get_linestyle() for arrow in arrows] == ["dashed"] * 3 + ["solid"] * 4


@pytest.mark.parametrize("stages", [STAGES, [STAGES[0], STAGES[1], STAGES[3], STAGES[6]]])
def test_saves(stages):
    file = io.BytesIO()
    model_graph(stages).savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "stages, message",
    [
        (STAGES[1:], "found 0 observed, 2 encoder, 1 latent, 3 decoder; a VAE has"),
        (STAGES + STAGES[3:4], "2 latent"),
        (STAGES[:4], "0 decoder"),
        ([], "0 encoder"),
        (STAGES + [("z", "2", "prior")], r"found \('z', '2', 'prior'\), but a stage is .*, encoder, latent, decoder"),
        (STAGES + [("z", "2")], r"found \('z', '2'\), but a stage is"),
        (STAGES + ["abc"], "found 'abc', but a stage is"),
    ],
)
def test_refuses(stages, message):
    with pytest.raises(ConfigurationError, match=message):
        model_graph(stages)
