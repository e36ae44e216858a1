"""`fastvae report`: what a run is and what came of it, as one HTML file that needs no network.

    sessions    when and where a run trained, and how long what took
    results     what is shown of a trained model: reconstructions, latent means, decoded grids
    images      images as PNG text, of a size that the file has room for
    page        the HTML
    assets/     the style and the scripts, plain CSS and JavaScript, which become part of the file

Examples
--------
>>> run = Run("first", {"--seed": "1"}, {}, batch_size=2, losses=[8.0, 6.0], held_out=[(2, -3.5)], sessions=[])
>>> page.html([run]).splitlines()[0]
'<!doctype html>'
"""

from __future__ import annotations

from fastvae.report import page
from fastvae.report.page import Run
from fastvae.report.results import results_of

__all__ = ["Run", "page", "results_of"]
