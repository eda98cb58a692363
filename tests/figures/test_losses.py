"""Training curves: the table and its drawing."""

from frostline.figures import draw_losses, loss_table
from tests.factories import make_record
from tests.figures.samples import COLLAPSED, axes


def test_loss_table_sums_the_losses_of_each_epoch() -> None:
    record = make_record(epochs=3)
    (line,) = loss_table([record]).lines
    assert line.losses == tuple(sum(epoch.losses.values()) for epoch in record.history)
    assert len(line.losses) == 3


def test_a_panel_has_the_lines_of_its_depth_and_marks_the_collapsed_one() -> None:
    ax = axes()
    records = [make_record(), make_record(seed=1, flags=COLLAPSED), make_record(depth=9)]
    draw_losses(ax, loss_table(records), "k=0")
    assert ax.get_title(loc="left") == "k=0"
    assert len([line for line in ax.lines if line.get_marker() != "x"]) == 2
    assert len([line for line in ax.lines if line.get_marker() == "x"]) == 1


def test_a_single_epoch_is_a_point() -> None:
    ax = axes()
    draw_losses(ax, loss_table([make_record(epochs=1)]), "k=0")
    assert [line.get_marker() for line in ax.lines] == ["."]
