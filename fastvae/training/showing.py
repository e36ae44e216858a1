"""What a notebook shows of an approximation: its latent variables and their posteriors, what is observed, how it ended.

PyMC3's `Approximation` gets the method that notebooks ask for, `_repr_html_`, when this module is imported.

Examples
--------
>>> import fastvae, pymc3 as pm
>>> with pm.Model():
...     mu = pm.Normal("mu", 0, 10, shape=3)
...     x = pm.Normal("x", mu, 1, observed=np.zeros((50, 3), dtype="float32"))
...     approx = fastvae.fit(20, random_seed=1, progressbar=False)
>>> latents(approx)
[('mu', '(3,)', 'Normal', 'mean_field', '6')]
>>> ended(approx)  # doctest: +ELLIPSIS
'20 steps, ended by steps, loss of the last 20 on average ...'
"""

from __future__ import annotations

import html

import numpy as np
import pymc3 as pm

HEAD = ("latent variable", "shape", "prior", "posterior", "parameters")
AVERAGE_OVER = 100  # steps in the loss shown


def latents(approx: pm.Approximation) -> list[tuple[str, ...]]:
    """A row for each latent variable, as `HEAD` names the columns; the encoder gives a local one its parameters."""
    found = []
    for group in approx.groups:
        n = sum(parameter.get_value(borrow=True).size for parameter in group.params)
        parameters = "of the encoder" if group.local else f"{n:,}"
        for variable in group.group:
            prior = type(variable.distribution).__name__
            found.append((variable.name, str(tuple(map(int, variable.dshape))), prior, group.short_name, parameters))
    return found


def observed(approx: pm.Approximation) -> list[tuple[str, str]]:
    """Name and distribution of each observed variable."""
    return [(variable.name, type(variable.distribution).__name__) for variable in approx.model.observed_RVs]


def ended(approx: pm.Approximation) -> str:
    """Steps, what ended the fit, and the last losses."""
    losses = np.asarray(approx.hist, dtype=np.float64)
    last = losses[-AVERAGE_OVER:]
    words = [f"{len(losses):,} steps"]
    if getattr(approx, "ended_by", None) is not None:
        words.append(f"ended by {approx.ended_by}")
    if np.isfinite(last).any():
        words.append(f"loss of the last {len(last):,} on average {np.nanmean(last):,.4g}")
    measured = getattr(approx, "held_out_hist", ())
    if len(measured):
        words.append(f"held-out ELBO {measured[-1][1]:,.4g} nats after step {int(measured[-1][0]):,}")
    return ", ".join(words)


def as_html(approx: pm.Approximation) -> str:
    """All of it, and the layers of the `fastvae.VAE` that was trained if one was."""

    def line(cells, tag):
        return (
            "<tr>" + "".join(f'<{tag} style="text-align: left">{html.escape(cell)}</{tag}>' for cell in cells) + "</tr>"
        )

    seen = ", ".join(f"{name} ~ {distribution}" for name, distribution in observed(approx))
    body = "".join(line(row, "td") for row in latents(approx))
    table = f"<table><thead>{line(HEAD, 'th')}</thead><tbody>{body}</tbody></table>"
    vae = getattr(approx, "vae", None)
    return (
        f"<p>{type(approx).__name__}: {html.escape(ended(approx))}</p>{table}<p>observed: {html.escape(seen)}</p>"
        f"{'' if vae is None else vae._repr_html_()}"
    )


pm.Approximation._repr_html_ = as_html
