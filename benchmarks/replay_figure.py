"""Regret against budget, every policy that every task can play."""

from collections.abc import Sequence

from frostline.figures import LIGHT, svg_text

Point = tuple[str, float, float]  # policy, cost in 1x, regret in AP points


def regret_figure(points: Sequence[Point], lines: Sequence[str]) -> str:
    """An SVG; policies with a budget are lines, the others numbered points with a list beside.

    The cost is logarithmic; regret above one point as well.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, ScalarFormatter

    figure = Figure(figsize=(9.8, 6.4), dpi=72)
    ax = figure.add_axes((0.07, 0.09, 0.5, 0.88))
    theme = LIGHT
    for line, color, marker in zip(lines, theme.lines, "os", strict=False):
        found = sorted(
            (x, y) for name, x, y in points if name.startswith(line) and "price" not in name
        )
        ax.plot(*zip(*found, strict=True), color=color, marker=marker, label=line, zorder=3)
    others = [p for p in points if not any(p[0].startswith(line) for line in lines)]
    for number, (_, x, y) in enumerate(others, start=1):
        ax.plot([x], [y], ".", color=theme.muted)
        ax.annotate(str(number), (x, y), xytext=(3, 3), textcoords="offset points",
                    fontsize=9, color=theme.ink)  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks([1, 1.5, 2, 3, 4, 6, 10, 14], minor=False)
    ax.set_xticks([], minor=True)
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.set_xlabel("cost, complete trainings, the winner's included", color=theme.ink)
    ax.set_ylabel("regret, AP points, mean over families", color=theme.ink)
    ax.set_yscale("symlog", linthresh=1.0)
    ax.set_yticks([0, 0.5, 1, 2, 4, 8])
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(bottom=-0.1)
    ax.grid(color=theme.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(frameon=False)
    text = "\n".join(f"{number:2d}  {name}" for number, (name, _, _) in enumerate(others, start=1))
    figure.text(0.6, 0.965, text, va="top", fontsize=9.5, color=theme.ink, linespacing=1.5)
    return svg_text(figure, text_as_paths=True, salt="regret")
