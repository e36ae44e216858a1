"""The table of a model's layers: their kinds, the shapes of their outputs, and how many parameters they have.

Layers are found in the graphs of `encode` and `decode_output`, where every `fastvae.nn` layer marks its output; what a
model does without a layer has a row only for its parameters.

Examples
--------
>>> from fastvae.models import MLPVAE
>>> rows(MLPVAE(image_shape=(1, 4, 4), hidden=8))[1]
Row(name='encoder.dense1', kind='Linear', output_shape=(8,), n_parameters=136)
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import theano
import theano.tensor as tt
from theano.gof.graph import io_toposort

from fastvae import nn

HEAD = ("layer", "kind", "output shape", "parameters")
STATE = "running statistics, not trained"


class Row(NamedTuple):
    """A layer: its name, its kind, the shape of one output, and the number of its trained parameters."""

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    n_parameters: int


def rows(vae: Any) -> list[Row]:
    """A row for each layer of a VAE, encoder first, and then one for each parameter outside of layers."""
    images = tt.tensor4("images", dtype="float32")
    latents = tt.matrix("latents", dtype="float32")
    shapes = _output_shapes([images], vae.encode(images), np.zeros((1, *vae.image_shape), "float32"))
    shapes.update(_output_shapes([latents], [vae.decode_output(latents)], np.zeros((1, vae.n_latent), "float32")))
    trained = dict.fromkeys(vae.get_params())
    found = [
        Row(layer.name, type(layer).__name__, shape, _n_values(p for p in layer.get_params() if p in trained))
        for layer, shape in shapes.items()
    ]
    of_layers = {parameter for layer in shapes for parameter in layer.get_params()}
    others = [parameter for parameter in trained if parameter not in of_layers]
    return found + [Row(str(parameter), "", None, _n_values([parameter])) for parameter in others]


def text(vae: Any) -> str:
    """The table as text, under a line on the model and above the totals."""
    table = _cells(rows(vae))
    totals = _totals(vae)
    widths = [max(len(line[i]) for line in [HEAD, *table, *totals]) for i in range(len(HEAD))]

    def line(cells):
        *left, right = cells
        padded = [cell.ljust(width) for cell, width in zip(left, widths)]
        return "  ".join([*padded, right.rjust(widths[-1])])

    rule = "-" * len(line(HEAD))
    return "\n".join([_about(vae), line(HEAD), rule, *map(line, table), rule, *map(line, totals)])


def as_html(vae: Any) -> str:
    """The table as HTML, as notebooks show it."""

    def line(cells, tag):
        inside = "".join(f'<{tag} style="text-align: {side}">{html.escape(cell)}</{tag}>' for cell, side in cells)
        return f"<tr>{inside}</tr>"

    def aligned(cells):
        return list(zip(cells, ["left"] * (len(cells) - 1) + ["right"]))

    body = [line(aligned(cells), "td") for cells in [*_cells(rows(vae)), *_totals(vae)]]
    head = line(aligned(HEAD), "th")
    return f"<p>{html.escape(_about(vae))}</p><table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"


def _output_shapes(inputs: list[Any], outputs: Sequence[Any], value: np.ndarray) -> dict[nn.Layer, tuple[int, ...]]:
    """The shape of one output of every layer in a graph, in the order of computation; nothing is compiled in C."""
    variables = [v for node in io_toposort(inputs, outputs) for v in node.outputs]
    outputs_of = {layer: v for v in variables for layer in getattr(v.tag, "layers", ())}
    if not outputs_of:
        return {}
    mode = theano.Mode(linker="py", optimizer="fast_run")
    shapes = theano.function(inputs, [v.shape for v in outputs_of.values()], mode=mode, on_unused_input="ignore")(value)
    return {layer: tuple(int(size) for size in shape[1:]) for layer, shape in zip(outputs_of, shapes)}


def _n_values(parameters: Iterable[Any]) -> int:
    return sum(parameter.get_value(borrow=True).size for parameter in parameters)


def _about(vae: Any) -> str:
    return (
        f"{type(vae).__name__}: images {vae.image_shape}, {vae.n_latent} latents, likelihood {vae.likelihood!r}, "
        f"posterior {vae.posterior.name!r}"
    )


def _cells(table: list[Row]) -> list[tuple[str, ...]]:
    shapes = ["" if row.output_shape is None else str(row.output_shape) for row in table]
    return [(row.name, row.kind, shape, f"{row.n_parameters:,}") for row, shape in zip(table, shapes)]


def _totals(vae: Any) -> list[tuple[str, ...]]:
    found = [("total", "", "", f"{_n_values(vae.get_params()):,}")]
    state = vae.get_state()
    return found + [(STATE, "", "", f"{_n_values(state):,}")] if state else found
