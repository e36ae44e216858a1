"""A GPU's report as Markdown (see `gpu_report.py`)."""

from __future__ import annotations

from bench.tables import table

VERDICTS = ("WRONG", "ok")
MODELS = {"conv": "convolutional seed model", "mlp": "dense seed model"}
GOALS = {"conv": 1500, "mlp": 20_000}  # steps a second in strict float32, and more than PyTorch's best
GOAL_CARDS = ("H100", "H200")


def markdown(found: dict) -> str:
    """The text of a report.

    Parameters
    ----------
    found : dict
        As `report.json` holds it; parts that are not there yet are left out.

    Returns
    -------
    str
    """
    card = found.get("card")
    title = card["name"] if card else "no card"
    parts = [f"# {title}, {found['date']}" + ", toy sizes" * found["quick"], found["machine"]]
    parts += ["\n".join(f"- {line}" for line in found["devices"])]
    if card:
        parts.append(peak(card))
    for model, part in found.get("speed", {}).items():
        parts += [f"## Speed, {MODELS[model]}", *speed(model, part, card)]
    if found.get("training"):
        parts += ["## Training", training(found["training"])]
    for precision, rows in found.get("operations", {}).items():
        parts += [f"## Operations, {precision}", operations(rows)]
    for model, rows in found.get("batch sizes", {}).items():
        parts += [f"## Batch sizes, {MODELS[model]}, strict float32", sizes(rows)]
    for model, rows in found.get("where", {}).items():
        parts += [f"## Where the time goes, {MODELS[model]}, strict float32, without CUDA graphs", where(rows)]
    if found.get("times"):
        parts += ["## Times", times(found["times"], found.get("seconds"))]
    for name, title in (("left_out", "Left out"), ("failures", "Failures")):
        parts += [f"## {title}", "\n".join(f"- {line}" for line in found.get(name, ())) or "none"]
    return "\n\n".join(filter(None, parts)) + "\n"


def peak(card: dict) -> str:
    """The formula of the peak, with its numbers."""
    return (
        f"Float32 peak: {card['formula']} = {card['multiprocessors']} x {card['lanes']} x 2 x "
        f"{card['kilohertz'] / 1e6:.3f} GHz = {card['peak_tflops']:.1f} TFLOP/s."
    )


def speed(model: str, part: dict, card: dict | None) -> list[str]:
    """Paragraphs: the arithmetic, which program is the best, each one's time, and the load meanwhile."""
    paragraphs = []
    if "work" in part:
        work = part["work"]
        paragraphs.append(f"A step of {work['batch_size']} images: {work['gflop']:.3g} GFLOP by the direct algorithm.")
    paragraphs += [winner(model, precision, whose, card) for precision, whose in part.get("best", {}).items()]
    paragraphs.append(programs(part.get("rows", ())))
    return [*paragraphs, part.get("load", "")]


def winner(model: str, precision: str, whose: dict, card: dict | None) -> str:
    """The best program of fastvae and of PyTorch in one precision, and whether the goals are reached."""
    told = [f"{best['program']}, {best['steps_a_second']:.4g} it/s" for best in whose.values()]
    text = f"Best in {precision}: {'; '.join(told)}."
    ours, theirs = (whose.get(name, {}).get("steps_a_second") for name in ("fastvae", "PyTorch"))
    if ours and theirs:
        text += f" fastvae takes {theirs / ours:.2f} of PyTorch's time."
    if ours and precision == "float32" and card and any(name in card["name"] for name in GOAL_CARDS):
        verdict = "reached" if ours >= GOALS[model] else f"not reached, {ours / GOALS[model]:.0%} of it"
        text += f" The goal of {GOALS[model]:,} it/s is {verdict}."
    return text


def programs(rows: list[dict]) -> str:
    """Each program's time, and how many times fastvae's that is."""
    return table(
        ["program", "precision", "ms a step", "it/s", "of fastvae's time", "of the float32 peak", "gap of losses"],
        map(_timed, rows),
    )


def _timed(row):
    names, gap = [row["program"], row["precision"]], f"{row['gap']:.1e}" if row.get("gap") is not None else "-"
    if "milliseconds" not in row:
        why = row["missing"] if "missing" in row else f"failed: {_short(row.get('failed', 'it was not timed'))}"
        return [*names, why, *"---", gap]
    times = "{:.2f} ({:.2f} to {:.2f})".format(*row["times_fastvae"]) if "times_fastvae" in row else "-"
    share = f"{row['of_peak']:.1%}" if row.get("of_peak") else "-"
    return [*names, f"{row['milliseconds']:.3g}", f"{1000 / row['milliseconds']:.4g}", times, share, gap]


def _short(message):
    return " ".join(message.split())[-200:]


def training(rows: dict[str, dict]) -> str:
    """The first and the last losses under each precision."""
    return table(
        ["profile", "steps", "batch", "first loss", "last loss"],
        ([r["profile"], r["steps"], r["batch_size"], f"{r['first']:.5g}", f"{r['last']:.5g}"] for r in rows.values()),
    )


def operations(rows: list[dict]) -> str:
    """Each check's error and limit; those that are wrong come first."""
    return table(
        ["group", "check", "error", "limit", ""],
        (
            [*(r["group"], r["name"], r["message"] or f"{r['error']:.1e}"), f"{r['limit']:g}", VERDICTS[r["passed"]]]
            for r in sorted(rows, key=lambda row: row["passed"])
        ),
    )


def sizes(rows: list[dict]) -> str:
    """Each batch size's time."""
    return table(
        ["batch", "ms a step", "it/s", "images/s"],
        (
            [
                r["batch_size"],
                f"{r['milliseconds']:.3g}",
                f"{1000 / r['milliseconds']:.4g}",
                f"{r['images_a_second']:.4g}",
            ]
            for r in rows
        ),
    )


def where(rows: list[dict]) -> str:
    """The milliseconds of each group of Ops, and its share of the step."""
    return "\n\n".join(
        f"{row['milliseconds']:.3g} ms from the first node to the last.\n\n"
        + table(
            ["group", "nodes", "ms", "share"],
            (
                [g["group"], g["nodes"], f"{g['milliseconds']:.3g}", f"{g['milliseconds'] / row['milliseconds']:.0%}"]
                for g in row["groups"]
            ),
        )
        for row in rows
    )


def times(rows: dict[str, list[float]], seconds: float | None) -> str:
    """When each part ran, in seconds since the beginning."""
    text = table(
        ["part", "from", "to"], ([name, *(f"{second:.0f} s" for second in both)] for name, both in rows.items())
    )
    return text + (f"\n\nIn all {seconds / 60:.1f} minutes." if seconds else "")
