"""A GPU's report as Markdown (see `gpu_report.py`)."""

from __future__ import annotations

from bench.tables import table

VERDICTS = ("WRONG", "ok")


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
        parts.append(peak(card, found.get("work")))
    if "speed" in found:
        parts += ["## Speed", speed(found["speed"]), found.get("load")]
    if "training" in found:
        parts += ["## Training", training(found["training"])]
    for precision, rows in found.get("operations", {}).items():
        parts += [f"## Operations, {precision}", operations(rows)]
    failures = "\n".join(f"- {line}" for line in found["failures"]) or "none"
    return "\n\n".join(filter(None, [*parts, "## Failures", failures])) + "\n"


def peak(card: dict, work: dict | None) -> str:
    """The formula of the peak, with its numbers."""
    text = (
        f"Float32 peak: {card['formula']} = {card['multiprocessors']} x {card['lanes']} x 2 x "
        f"{card['kilohertz'] / 1e6:.3f} GHz = {card['peak_tflops']:.1f} TFLOP/s."
    )
    if work:
        text += f" A step of {work['batch_size']} images takes {work['gflop']:.3g} GFLOP by the direct algorithm."
    return text


def speed(rows: list[dict]) -> str:
    """Each program's time, and how many times fastvae's that is."""
    return table(
        ["program", "precision", "ms a step", "it/s", "of fastvae's time", "of the float32 peak", "gap of losses"],
        map(_timed, rows),
    )


def _timed(row):
    names, gap = [row["program"], row["precision"]], f"{row['gap']:.1e}" if row.get("gap") is not None else "-"
    if "milliseconds" not in row:
        return [*names, row["missing"] if "missing" in row else f"failed: {_short(row['failed'])}", *"---", gap]
    times = "{:.2f} ({:.2f} to {:.2f})".format(*row["times_fastvae"]) if "times_fastvae" in row else "-"
    share = f"{row['of_peak']:.1%}" if row["of_peak"] else "-"
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
