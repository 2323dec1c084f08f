"""Draw the results of peers.py.

    python bench/plots.py FILE.json FOLDER

FILE.json comes from peers.py --json. Plots without results are skipped.
"""

import io
import json
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]

OURS = "nnkernels"

# A colour and a marker for each library; nnkernels stands out.
STYLES = {
    OURS: ("#c1121f", "o"),
    "NumPy": ("#3a6ea5", "s"),
    "SciPy": ("#7a5195", "D"),
    "PyTorch": ("#e08214", "^"),
    "ONNX Runtime": ("#4d4d4d", "v"),
    "OpenVINO": ("#1b9e77", "P"),
    "JAX": ("#8c6d31", "X"),
    "numexpr": ("#8da0cb", "<"),
    "scikit-learn": ("#c51b7d", ">"),
}

TITLE_FONT = {"size": 12, "weight": "bold"}

# The panels of the overview: title, table, and labels of the table's row; and its libraries.
OVERVIEW = (
    ("Train: a step of 32 rows", "Learning with Adam, float32", {"task": "digits 1797x64, 64-10, batch 32"}),
    ("Predict 1 row", "Networks, float32", {"network": "64-64-10", "batch": 1}),
    ("Predict 256 rows", "Networks, float32", {"network": "64-64-10", "batch": 256}),
)
COMPARED = (OURS, "NumPy", "PyTorch", "scikit-learn")

# From few rows to many.
ROW_COLOURS = ("#fde0a5", "#fdae61", "#f46d43", "#c1121f", "#67001f")


def draw(results: dict[str, Any], folder: Path) -> None:
    """Draw all plots into the folder, as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update(
        {
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "font.size": 9,
            "grid.color": "#e0e0e0",
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "legend.fontsize": 8,
            "svg.fonttype": "none",
            "svg.hashsalt": "nnkernels",
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    plots: dict[str, Callable[[dict[str, Any]], Any]] = {
        "overview": overview,
        "roofline": roofline,
        "batch": time_by_batch,
        "elementwise": time_by_size,
        "tiny": tiny_latency,
        "learning": learning_steps,
    }
    for name, plot in plots.items():
        if figure := plot(results):
            drawn = io.StringIO()
            figure.savefig(drawn, format="svg", metadata={"Date": None})
            # Hundredths of a point are precise enough, and the file is smaller.
            text = re.sub(r"(\d\.\d\d)\d+", r"\1", drawn.getvalue())
            (folder / f"{name}.svg").write_text(re.sub(r"\n +", "\n", text))


def new_figure(results: dict[str, Any], height: float, **grid: Any) -> tuple[Any, Any]:
    """A figure with its axes, and a line about machine and versions below."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, height), layout="constrained", squeeze=False, **grid)
    about = results["machine"]
    versions = ", ".join(f"{library} {version}" for library, version in about["versions"].items())
    where = f"{about['cpu']} ({about['target']}), {about['date']}, Python {about['python']}, {versions}"
    figure.supxlabel("\n".join(textwrap.wrap(where, 135)), fontsize=7, color="#555555")
    return figure, axes


def rows_of(results: dict[str, Any], table: str) -> list[Row]:
    """The rows of all tables whose title has this prefix."""
    return [row for row in results["rows"] if row["table"].startswith(table)]


def lines(axes: Any, rows: list[Row], x: Callable[[Row], float], y: Callable[[Row, float], float]) -> None:
    """A line for each library, from x and y of each row; y also takes the library's seconds."""
    for library, (colour, marker) in STYLES.items():
        points = [(x(row), y(row, row["seconds"][library]["median"])) for row in rows if library in row["seconds"]]
        if points:
            ours = library == OURS
            axes.loglog(
                *zip(*sorted(points), strict=True),
                color=colour,
                marker=marker,
                markersize=5 if ours else 4,
                linewidth=2.2 if ours else 1,
                label=library,
                zorder=3 if ours else 2,
            )


def legend_for_all(figure: Any, axes: Any, title: str) -> None:
    """One legend for all panels, above them, with the figure's title."""
    handles: dict[str, Any] = {}
    for panel in axes.flat:
        handles |= {label: handle for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    ordered = [name for name in STYLES if name in handles]
    legend = figure.legend([handles[name] for name in ordered], ordered, loc="outside upper center", ncols=len(ordered))
    legend.set_title(title, TITLE_FONT)


def plain_ticks(axis: Any, subdivisions: tuple[int, ...] = (1,)) -> None:
    """Plain numbers as ticks of a logarithmic axis, at these multiples of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=subdivisions))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def short(size: int) -> str:
    """A size with a binary prefix, if exact."""
    for bits, prefix in ((20, " Mi"), (10, " Ki")):
        if size % 2**bits == 0:
            return f"{size >> bits}{prefix}"
    return str(size)


def roofline(results: dict[str, Any]) -> Any:
    """GFLOP/s of unpacked dense layers over operations per byte, below the machine's limits."""
    rows = [row for row in rows_of(results, "dense with relu") if row["labels"]]
    peak = results["limits"].get(f"fma/{results['machine']['target']}/float32")
    if not rows or not peak:
        return None
    figure, ((axes,),) = new_figure(results, 5.2)
    figure.suptitle("Roofline of dense with relu, weights not packed ahead, float32, one thread", **TITLE_FONT)
    intensities = [row["flops"] / row["bytes"] for row in rows]
    left, right = min(intensities) / 1.5, max(intensities) * 1.5
    axes.hlines(peak * 1e-9, left, right, color="black", linewidth=1.2)
    axes.annotate(f"FMA peak {peak * 1e-9:.0f} GFLOP/s", (right, peak * 1e-9), ha="right", va="bottom", fontsize=8)
    sizes = (32 << 10, 512 << 10, 8 << 20, 256 << 20)
    for style, size in zip(("-", "--", "-.", ":"), sizes, strict=True):
        bandwidth = results["limits"][f"read/{size}"]
        knee = min(peak / bandwidth, right)
        axes.plot(
            (left, knee),
            (left * bandwidth * 1e-9, knee * bandwidth * 1e-9),
            style,
            color="black",
            linewidth=0.9,
            label=f"reading from {short(size)}B: {bandwidth * 1e-9:.0f} GB/s",
        )
    for colour, count in zip(ROW_COLOURS, sorted({row["labels"]["rows"] for row in rows}), strict=False):
        points = [
            (row["flops"] / row["bytes"], row["flops"] / row["seconds"][OURS]["median"] * 1e-9)
            for row in rows
            if row["labels"]["rows"] == count
        ]
        axes.scatter(
            *zip(*points, strict=True),
            s=22,
            color=colour,
            edgecolor="black",
            linewidth=0.4,
            zorder=3,
            label=f"{count} row{'s' * (count > 1)}",
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(left, right * 1.1),
        xlabel="operations for each byte of inputs, weights and outputs",
        ylabel="GFLOP/s",
    )
    plain_ticks(axes.xaxis, (1, 2, 5))
    plain_ticks(axes.yaxis)
    axes.legend(loc="lower right", fontsize=8)
    return figure


def time_by_batch(results: dict[str, Any]) -> Any:
    """Microseconds per row over the batch, for each network."""
    rows = rows_of(results, "Networks, float32")
    networks = list(dict.fromkeys(row["labels"]["network"] for row in rows))
    if not networks:
        return None
    figure, axes = new_figure(results, 6.5, nrows=(len(networks) + 2) // 3, ncols=min(len(networks), 3))
    for panel, network in zip(axes.flat, networks, strict=False):
        chosen = [row for row in rows if row["labels"]["network"] == network]
        lines(panel, chosen, lambda row: row["labels"]["batch"], lambda row, seconds: seconds / row["labels"]["batch"] * 1e6)
        panel.set_title(network, fontsize=9)
        batches = [row["labels"]["batch"] for row in chosen]
        panel.set_xticks(batches, map(str, batches))
        panel.xaxis.minorticks_off()
        plain_ticks(panel.yaxis, (1, 2, 5))
    for panel in axes[:, 0]:
        panel.set_ylabel("us a row")
    for panel in axes[-1]:
        panel.set_xlabel("batch")
    legend_for_all(figure, axes, "Networks, float32, one thread: microseconds a row over the batch")
    return figure


def time_by_size(results: dict[str, Any]) -> Any:
    """Nanoseconds per element over the number of elements, for each function."""
    tables = {kind: rows_of(results, f"Element-wise functions and softmax, {kind}") for kind in ("float32", "float64")}
    tables = {kind: rows for kind, rows in tables.items() if rows}
    functions = list(dict.fromkeys(row["labels"]["function"] for rows in tables.values() for row in rows))
    if not functions:
        return None
    figure, axes = new_figure(results, 6.5, nrows=len(tables), ncols=len(functions), sharey="row")
    for panels, (kind, rows) in zip(axes, tables.items(), strict=True):
        for panel, name in zip(panels, functions, strict=True):
            chosen = [row for row in rows if row["labels"]["function"] == name]
            lines(panel, chosen, lambda row: row["labels"]["elements"], lambda row, seconds: seconds * 1e9)
            panel.set_title(f"{name}, {kind}", fontsize=9)
            sizes = [row["labels"]["elements"] for row in chosen]
            panel.set_xticks(sizes, map(short, sizes))
            panel.xaxis.minorticks_off()
            plain_ticks(panel.yaxis)
        panels[0].set_ylabel("ns an element")
    for panel, name in zip(axes[-1], functions, strict=True):
        panel.set_xlabel("elements of a row" if name == "softmax" else "elements")
    legend_for_all(figure, axes, "Element-wise functions and softmax, one thread: nanoseconds an element")
    return figure


def tiny_latency(results: dict[str, Any]) -> Any:
    """Microseconds per call on one row, for the smallest networks."""
    rows = [row for row in rows_of(results, "Networks, float32") if row["labels"]["batch"] == 1][:2]
    if not rows:
        return None
    figure, axes = new_figure(results, 3.2, ncols=len(rows))
    figure.suptitle("One row through a small network, float32, one thread: microseconds a call", **TITLE_FONT)
    for panel, row in zip(axes.flat, rows, strict=False):
        times = {name: row["seconds"][name]["median"] * 1e6 for name in STYLES if name in row["seconds"]}
        ordered = sorted(times, key=lambda name: -times[name])
        for name in ordered:
            colour, marker = STYLES[name]
            panel.plot([times[name]], [name], color=colour, marker=marker, markersize=8)
            panel.annotate(f"{times[name]:.3g}", (times[name], name), (8, 0), textcoords="offset points", va="center")
        panel.set(xscale="log", title=row["labels"]["network"])
        panel.set_xlim(right=max(times.values()) * 3)
        plain_ticks(panel.xaxis)
    return figure


def overview(results: dict[str, Any]) -> Any:
    """Microseconds per training step and per prediction, of the libraries in COMPARED."""
    found = [
        (title, [row for row in rows_of(results, table) if labels.items() <= row["labels"].items()])
        for title, table, labels in OVERVIEW
    ]
    if not all(rows for _, rows in found):
        return None
    figure, axes = new_figure(results, 2.4, ncols=len(found))
    figure.suptitle("A network 64-64-10 that reads digits, float32, one thread: microseconds", **TITLE_FONT)
    for panel, (title, rows) in zip(axes.flat, found, strict=True):
        seconds = rows[0]["seconds"]
        times = {library: seconds[library]["median"] * 1e6 for library in COMPARED if library in seconds}
        bars = panel.barh(list(times), list(times.values()), color=[STYLES[library][0] for library in times])
        panel.bar_label(bars, fmt="%.3g", padding=3)
        panel.set_title(title, fontsize=9)
        panel.set_xlim(right=1.2 * max(times.values()))
        panel.invert_yaxis()
        panel.grid(visible=False)
        panel.tick_params(left=False, bottom=False, labelbottom=False)
        panel.spines[["left", "bottom"]].set_visible(False)
    return figure


def learning_steps(results: dict[str, Any]) -> Any:
    """Microseconds per training step, for each task."""
    tables = {kind: rows_of(results, f"Learning with Adam, {kind}") for kind in ("float32", "float64")}
    tables = {kind: rows[::-1] for kind, rows in tables.items() if rows}
    if not tables:
        return None
    figure, axes = new_figure(results, 4, ncols=len(tables), sharey="row")
    for panel, (kind, rows) in zip(axes.flat, tables.items(), strict=True):
        for library, (colour, marker) in STYLES.items():
            chosen = [row for row in rows if library in row["seconds"]]
            if chosen:
                times = [row["seconds"][library]["median"] * 1e6 for row in chosen]
                names = [textwrap.fill(row["labels"]["task"], 22) for row in chosen]
                panel.plot(times, names, marker, color=colour, markersize=8, label=library, zorder=3 if library == OURS else 2)
        panel.set(xscale="log", title=kind, xlabel="us a step")
        plain_ticks(panel.xaxis)
    legend_for_all(figure, axes, "Learning with Adam, one thread: microseconds a step")
    return figure


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
