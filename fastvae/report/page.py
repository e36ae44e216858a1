"""The page of a report: HTML with its style, its scripts and its data inside, so that it needs nothing else.

Text and tables are written here and can be read without scripts; `assets/*.js` draw the curves and the explorer from
the data, one JSON value. The page forbids itself any connection.

Examples
--------
>>> run = Run("first", {"--seed": "1"}, {}, batch_size=2, losses=[8.0, 6.0], held_out=[(2, -3.5)], sessions=[])
>>> "final ELBO per image" in html([run])
True
"""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

ASSETS = pathlib.Path(__file__).parent / "assets"
SCRIPTS = ("elements.js", "chart.js", "explorer.js", "main.js")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
BUCKETS = 2000  # points of a curve
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # of Okabe and Ito, told apart by colour-blind people too
LAST = 100  # losses that the final ELBO is the mean of


class Run(NamedTuple):
    """What a page shows of a run.

    Attributes
    ----------
    name : str
    options : dict of str to str
        As they stand on the command line.
    results : dict
        What `fastvae.report.results_of` found; empty before there is a trained model.
    batch_size : int
    losses : sequence of float
        Of a minibatch, in nats.
    held_out : sequence of (int, float)
        Step and ELBO per image, in nats.
    sessions : list of dict
        As `fastvae.report.sessions` keeps them.
    images : str
        Which images the results are of.
    commands : sequence of str
        That repeat the run.
    """

    name: str
    options: dict[str, str]
    results: dict[str, Any]
    batch_size: int
    losses: Sequence[float]
    held_out: Sequence[tuple[int, float]]
    sessions: list[dict[str, Any]]
    images: str = ""
    commands: Sequence[str] = ()


def html(runs: Sequence[Run]) -> str:
    """The page on one run, or on several side by side."""
    names = " and ".join(run.name for run in runs)
    sections = [section(runs) for section in SECTIONS]
    links = "".join(f'<a href="#{part.id}">{part.title}</a>' for part in sections if part.body)
    body = "".join(
        f'<section id="{part.id}"><h2>{part.title}</h2>{part.body}</section>' for part in sections if part.body
    )
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(names)} – fastvae report</title>\n<style>\n{_asset('report.css')}</style>\n</head>\n<body>\n"
        f'<header><p class="kind">fastvae report</p><h1>{_heading(runs)}</h1><nav>{links}</nav></header>\n'
        f"<main>{body}</main>\n"
        f'<script type="application/json" id="data">{_data(runs)}</script>\n'
        f"<script>\n{''.join(map(_asset, SCRIPTS))}</script>\n</body>\n</html>\n"
    )


class Section(NamedTuple):
    """A section of the page; without a body it is left out."""

    id: str
    title: str
    body: str


def _overview(runs: Sequence[Run]) -> Section:
    facts: dict[str, Callable[[Run], str]] = {
        "iterations": lambda run: f"{len(run.losses):,}",
        "final ELBO per image": lambda run: _nats(_final(run)),
        "held-out ELBO per image": lambda run: _nats(run.held_out[-1][1]) if run.held_out else "not measured",
        "active latents": lambda run: f"{run.results['active']} of {run.results['nLatent']}" if run.results else "–",
        "iterations a second": _speed,
    }
    if len(runs) == 1:
        cards = "".join(f"<div><dt>{name}</dt><dd>{escape(fact(runs[0]))}</dd></div>" for name, fact in facts.items())
        return Section("overview", "Overview", f'<dl class="cards">{cards}</dl>')
    rows = [(name, [fact(run) for run in runs]) for name, fact in facts.items()]
    return Section("overview", "Overview", _table(runs, rows))


def _curves(runs: Sequence[Run]) -> Section:
    if not any(len(run.losses) for run in runs):
        return Section("training", "Training", "")
    without = [run.name for run in runs if not run.held_out]
    note = (
        f'<p class="note">The held-out ELBO of {escape(", ".join(without))} was not measured: '
        "<code>fastvae train --held-out-every STEPS</code> does it.</p>"
        if without
        else ""
    )
    return Section("training", "Training", f'<div id="curves" class="chart"></div>{note}')


def _explorer(runs: Sequence[Run]) -> Section:
    shown = [(i, run) for i, run in enumerate(runs) if run.results]
    text = (
        '<p class="note">Every point is the latent mean of an image. Move over the plane, or focus it and use the '
        "arrow keys (with Shift in larger steps, Home for the origin), to see the decoder's image there.</p>"
    )
    parts = "".join(f'<div class="explorer" data-run="{i}">{_title(runs, run)}</div>' for i, run in shown)
    return Section("explorer", "Explorer", f'{text}<div class="beside">{parts}</div>' if shown else "")


def _traversals(runs: Sequence[Run]) -> Section:
    parts = []
    for run in runs:
        extent = run.results.get("extent", 0)
        strips = "".join(
            f'<figure class="strip"><figcaption>latent {one["axis"] + 1} <span>variance '
            f'{run.results["variances"][one["axis"]]:.3g}</span></figcaption><img src="{one["sheet"]}" '
            f'alt="images decoded while latent {one["axis"] + 1} goes from {-extent:g} to {extent:g}"></figure>'
            for one in run.results.get("traversals", [])
        )
        if strips:
            shown, n = len(run.results["traversals"]), len(run.results["variances"])
            which = "Each latent" if shown == n else f"Each of the {shown} most active latents of {n}"
            note = f'<p class="note">{which} from {-extent:g} to {extent:g}, with all others at 0.</p>'
            parts.append(f"<div>{_title(runs, run)}{note}{strips}</div>")
    return Section("traversals", "Traversals", f'<div class="beside">{"".join(parts)}</div>' if parts else "")


def _reconstructions(runs: Sequence[Run]) -> Section:
    parts = []
    for run in runs:
        pairs = "".join(
            f'<figure class="pair"><img src="{image}" alt="image {i}"><img src="{other}" alt="its reconstruction">'
            "</figure>"
            for i, (image, other) in enumerate(run.results.get("reconstructions", []), start=1)
        )
        note = f'<p class="note">{escape(run.images)}: image, and its reconstruction on the right.</p>'
        parts += [f'<div>{_title(runs, run)}{note}<div class="pairs">{pairs}</div></div>'] if pairs else []
    body = f'<div class="beside">{"".join(parts)}</div>' if parts else ""
    return Section("reconstructions", "Reconstructions", body)


def _latents(runs: Sequence[Run]) -> Section:
    parts = []
    for run in runs:
        variances = run.results.get("variances", [])
        highest = max(variances, default=0.0) or 1.0
        bars = "".join(
            f'<li class="{"used" if value > 0.01 else "unused"}" title="latent {i}: {value:.4g}"><span '
            f'style="height:{max(2, 100 * value / highest):.1f}%"></span><b>{i}</b></li>'
            for i, value in enumerate(variances, start=1)
        )
        values = "".join(f"<tr><td>latent {i}<td>{value:.4f}" for i, value in enumerate(variances, start=1))
        note = (
            f'<p class="note">{run.results.get("active")} of {len(variances)} latents are active: the variance of '
            "their means over the images is above 0.01.</p>"
        )
        table = f"<details><summary>all variances</summary><table>{values}</table></details>"
        if bars:
            parts.append(f'<div>{_title(runs, run)}{note}<ol class="bars">{bars}</ol>{table}</div>')
    return Section("latents", "Active units", f'<div class="beside">{"".join(parts)}</div>' if parts else "")


def _time(runs: Sequence[Run]) -> Section:
    parts = []
    for run in runs:
        seconds: dict[str, float] = {}
        for session in run.sessions:
            for phase, value in session.get("seconds", {}).items():
                seconds[phase] = seconds.get(phase, 0.0) + value
        total = sum(seconds.values())
        if not total:
            continue
        shares = "".join(
            f'<span class="phase{i}" style="flex-grow:{value / total:.4f}" title="{escape(phase)}"></span>'
            for i, (phase, value) in enumerate(seconds.items())
        )
        rows = "".join(
            f'<tr><td><i class="phase{i}"></i>{escape(phase)}<td>{value:,.1f} s<td>{100 * value / total:.0f} %'
            for i, (phase, value) in enumerate(seconds.items())
        )
        whole = f'<tr class="total"><td>together<td>{total:,.1f} s<td>'
        parts.append(f'<div>{_title(runs, run)}<div class="shares">{shares}</div><table>{rows}{whole}</table></div>')
    return Section("time", "Where the time went", f'<div class="beside">{"".join(parts)}</div>' if parts else "")


def _configuration(runs: Sequence[Run]) -> Section:
    names = list(dict.fromkeys(name for run in runs for name in run.options))
    rows = [(name, [run.options.get(name, "–") for run in runs]) for name in names]
    return Section("configuration", "Configuration", _table(runs, rows, code=True))


def _machine(runs: Sequence[Run]) -> Section:
    machines = [run.sessions[-1].get("machine", {}) if run.sessions else {} for run in runs]
    names = list(dict.fromkeys(name for machine in machines for name in machine))
    rows = [(name, [str(machine.get(name, "–")) for machine in machines]) for name in names]
    unknown = '<p class="note">Its machine was not recorded: an older version trained the run, or it was killed.</p>'
    return Section("machine", "Machine", _table(runs, rows) if rows else unknown)


def _commands(runs: Sequence[Run]) -> Section:
    parts = [
        f"<div>{_title(runs, run)}<pre><code>{escape(chr(10).join(run.commands))}</code></pre></div>"
        for run in runs
        if run.commands
    ]
    return Section("commands", "Commands", "".join(parts))


SECTIONS: tuple[Callable[[Sequence[Run]], Section], ...] = (
    *(_overview, _explorer, _curves, _reconstructions, _traversals, _latents, _time),
    *(_configuration, _machine, _commands),
)


def _table(runs: Sequence[Run], rows: Sequence[tuple[str, list[str]]], code: bool = False) -> str:
    """A row for each fact, a column for each run; where runs differ, the row is marked."""
    head = "".join(f"<th>{escape(run.name)}" for run in runs)
    head = f"<thead><tr><th>{head}</thead>" if len(runs) > 1 else ""
    tag = "code" if code else "span"
    body = "".join(
        f"<tr{' class=differs' if len(set(values)) > 1 else ''}><th scope=row><{tag}>{escape(name)}</{tag}>"
        + "".join(f"<td>{escape(value)}" for value in values)
        for name, values in rows
    )
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _heading(runs: Sequence[Run]) -> str:
    coloured = [f'<span style="color:var(--run{i})">{escape(run.name)}</span>' for i, run in enumerate(runs)]
    return " against ".join(coloured) if len(runs) > 1 else escape(runs[0].name)


def _title(runs: Sequence[Run], run: Run) -> str:
    if len(runs) == 1:
        return ""
    i = next(i for i, other in enumerate(runs) if other is run)
    return f'<h3 style="color:var(--run{i})">{escape(run.name)}</h3>'


def _final(run: Run) -> float:
    last = np.asarray(run.losses[-LAST:], dtype=np.float64)
    last = last[np.isfinite(last)]
    return -float(last.mean()) / run.batch_size if len(last) else math.nan


def _nats(value: float) -> str:
    return f"{value:,.2f} nats" if math.isfinite(value) else "–"


def _speed(run: Run) -> str:
    steps = sum(session["steps"][1] - session["steps"][0] for session in run.sessions if "steps" in session)
    seconds = sum(session.get("seconds", {}).get("training", 0.0) for session in run.sessions)
    return f"{steps / seconds:,.1f}" if seconds else "–"


def _data(runs: Sequence[Run]) -> str:
    """The JSON value that the scripts read."""
    shown = [
        {
            "name": run.name,
            "colour": COLOURS[i],
            "curve": _curve(run.losses, run.batch_size),
            "heldOut": [[step, _number(elbo)] for step, elbo in _spaced(run.held_out)],
            "results": {
                name: value
                for name, value in run.results.items()
                if name not in ("reconstructions", "traversals", "variances")
            },
        }
        for i, run in enumerate(runs)
    ]
    return json.dumps({"runs": shown}, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _curve(losses: Sequence[float], batch_size: int) -> list[list[float | None]]:
    """[step, ELBO per image] of every step, or of a long run the means over equal numbers of steps."""
    elbo = -np.asarray(losses, dtype=np.float64) / batch_size
    points: list[list[float | None]] = []
    for steps in np.array_split(np.arange(len(elbo)), min(len(elbo), BUCKETS) or 1):
        known = steps[np.isfinite(elbo[steps])]
        if len(known):
            points.append([int(steps[-1]) + 1, _number(elbo[known].mean())])
    return points


def _spaced(points: Sequence[Any]) -> Sequence[Any]:
    """The points, or of more than `BUCKETS` as many at equal distances, the last among them."""
    every = -(-len(points) // BUCKETS) or 1
    return points[(len(points) - 1) % every :: every]


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")
