"""Training curves: the table and its drawing."""

from frostline.figures import draw_losses, loss_table, losses_figure
from tests.factories import make_record
from tests.figures.samples import COLLAPSED, axes


def test_loss_table_sums_the_losses_of_each_epoch() -> None:
    written = [{"box": 0.5, "class": 0.25}, {"box": 0.125, "class": 0.25}, {"box": 0.0625}]
    record = make_record("coco", 9, seed=4, epochs=3)
    history = [
        e.model_copy(update={"losses": x}) for e, x in zip(record.history, written, strict=True)
    ]
    record = record.model_copy(update={"history": tuple(history)})
    table = loss_table([record, make_record("imagenet", 0, epochs=1)])
    line = table.lines[0]
    assert line.losses == (0.75, 0.375, 0.0625)
    assert (line.init, line.plan, line.seed, line.collapsed) == ("coco", "k=9", 4, False)
    assert table.plans == ("k=0", "k=9"), "by what they freeze"


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


def test_the_curve_of_a_trial_is_drawn_over_its_epochs() -> None:
    ax, record = axes(), make_record(epochs=3, flags=COLLAPSED)
    falls = [e.model_copy(update={"losses": {"x": 3.0 - e.epoch}}) for e in record.history]
    draw_losses(ax, loss_table([record.model_copy(update={"history": tuple(falls)})]), "k=0")
    curve, mark = ax.lines
    assert curve.get_xydata().tolist() == [[1, 2.0], [2, 1.0], [3, 0.0]]  # type: ignore[union-attr]
    assert mark.get_xydata().tolist() == [[3, 0.0]]  # type: ignore[union-attr]


def test_the_lowest_panel_of_each_column_has_its_epochs() -> None:
    figure = losses_figure(loss_table([make_record(depth=k) for k in (0, 9, 18, 30)]))
    figure.draw_without_rendering()
    shown = [any(t.get_visible() and t.label1.get_visible() for t in ax.xaxis.get_major_ticks())
             for ax in figure.axes[:4]]  # fmt: skip
    assert shown == [False, True, True, True]
