"""The study's figures in two steps: a table of what is to be drawn, then the drawing on given Axes.

The tables are plain frozen values, so every number in a figure can be tested and written out. The
drawing needs matplotlib, which is imported at its first use; pyplot and the global style are left
alone. A figure is a module: ``differences`` is Figure 2, ``depths`` Figure 3, ``losses`` the
training curves. Below them ``values`` and ``stages`` read records, ``theme`` holds colours,
``axes`` what is drawn the same way everywhere, ``panels`` the layout; ``files`` writes them.
"""

from frostline.figures.axes import Names
from frostline.figures.depths import (
    DepthLine,
    DepthPoint,
    DepthTable,
    depth_table,
    depths_figure,
    draw_depths,
)
from frostline.figures.differences import (
    QUANTITIES,
    DifferenceLine,
    DifferenceTable,
    Quantity,
    difference_table,
    differences_figure,
    draw_differences,
    profiles_table,
)
from frostline.figures.files import svg_text, write_png
from frostline.figures.losses import LossLine, LossTable, draw_losses, loss_table, losses_figure
from frostline.figures.panels import Shape
from frostline.figures.stages import Stage
from frostline.figures.theme import DARK, LIGHT, Theme
from frostline.figures.values import is_collapsed

__all__ = [
    "DARK",
    "LIGHT",
    "QUANTITIES",
    "DepthLine",
    "DepthPoint",
    "DepthTable",
    "DifferenceLine",
    "DifferenceTable",
    "LossLine",
    "LossTable",
    "Names",
    "Quantity",
    "Shape",
    "Stage",
    "Theme",
    "depth_table",
    "depths_figure",
    "difference_table",
    "differences_figure",
    "draw_depths",
    "draw_differences",
    "draw_losses",
    "is_collapsed",
    "loss_table",
    "losses_figure",
    "profiles_table",
    "svg_text",
    "write_png",
]
