"""Figures as SVG text and PNG files, equal bytes for equal figures."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["svg_text", "write_png"]


def svg_text(figure: "Figure", *, text_as_paths: bool = False, salt: str = "frostline") -> str:
    """The figure as an SVG document, the same text for the same figure.

    Args:
        figure: what to write.
        text_as_paths: outlines instead of text, for files that must look the same everywhere.
        salt: makes the ids inside differ between figures of one page.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    kind = "path" if text_as_paths else "none"
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": kind, "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def write_png(figure: "Figure", path: Path, *, dpi: float = 200) -> None:
    """Write the figure as PNG, laid out as at 72 dpi and drawn at ``dpi``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=dpi, metadata={"Software": None})
