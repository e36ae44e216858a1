import numpy as np
import pytest

from fastvae.training.parts.held_out import HeldOut
from fastvae.training.parts.patience import Patience


@pytest.mark.parametrize(
    "elbos, over",
    [
        ([-5], False),
        ([-5, -4, -3], False),
        ([-5, -6], False),
        ([-5, -6, -5.5], True),
        ([-5, -5, -5], True),
        ([-5, -6, -4], False),
        ([-5, np.nan, np.nan], True),
        ([np.nan, -5, -6], False),
    ],
)
def test_patience_ends_when_two_in_a_row_were_no_better(elbos, over):
    assert Patience(2, HeldOut(), None).is_over(elbos) is over
