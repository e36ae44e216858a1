import pkgutil

import pytest

from fastvae.checkpoint.former_names import FORMER, former


@pytest.mark.parametrize("name", FORMER)
def test_what_has_moved_is_where_the_table_says(name):
    moved = pkgutil.resolve_name(name)
    assert f"{moved.__module__}.{moved.__qualname__}" == name
    with pytest.raises((ImportError, AttributeError)):  # else its own name would serve
        old = pkgutil.resolve_name(FORMER[name])
        if f"{old.__module__}.{old.__qualname__}" != FORMER[name]:
            raise AttributeError


def test_other_names_stay():
    assert former("fastvae.optimizers.adam") == "fastvae.optimizers.adam"
