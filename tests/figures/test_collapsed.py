"""Labels of collapsed trials: read one by one where few, counted where many, never overlapping."""

from frostline.figures import depth_table, depths_figure, draw_depths
from frostline.figures.collapsed import MOST_NAMED, Collapse, labels_of, room_for
from frostline.records import TrialRecord
from tests.factories import make_record
from tests.figures.samples import COLLAPSED, axes, texts


def collapsed_at(depths: tuple[int, ...], inits: tuple[str, ...] = ("a", "b")) -> list[TrialRecord]:
    return [
        make_record(init, depth, seed, ap=0.003, flags=COLLAPSED)
        for init in inits
        for depth in depths
        for seed in (0, 1)
    ]


def test_a_few_trials_are_named_in_as_few_rows_as_hold_them() -> None:
    ax = axes()
    ax.set_xlim(0, 50)
    found = [Collapse(1, "k", ((0, 0.001), (1, 0.002))), Collapse(49, "k", ((0, 0.003),))]
    labels = labels_of(ax, found)
    assert [label.text for label in labels] == [
        "seed 0 collapsed: 0.001",
        "seed 1 collapsed: 0.002",
        "seed 0 collapsed: 0.003",
    ]
    assert [label.row for label in labels] == [0, 1, 0], "far apart they share a row"
    assert [label.align for label in labels] == ["left", "left", "right"], "inside the axes"
    assert room_for(labels) == 9 + 2 * 14
    assert room_for([]) == 0


def test_of_many_trials_each_cell_has_their_number() -> None:
    ax = axes()
    ax.set_xlim(0, 50)
    found = [Collapse(x, "k", ((0, 0.001), (1, 0.002))) for x in (10, 10, 30)]
    labels = labels_of(ax, found)
    assert sum(len(cell.trials) for cell in found) > MOST_NAMED
    assert [(label.text, label.row) for label in labels] == [("2", 0), ("2", 1), ("2", 0)]


def test_labels_overlap_neither_each_other_nor_a_point() -> None:
    records = [*collapsed_at((0, 9, 18, 30, 39, 52)), make_record("a", 0, 7, ap=0.4)]
    figure = depths_figure([depth_table(records)], shape="narrow")
    ax = figure.axes[0]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text() == "2"]
    assert len(boxes) == 12
    for n, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[n + 1 :])
    lowest = ax.transData.transform((0, 0.4))[1]
    assert max(box.y1 for box in boxes) < lowest


def test_the_axis_says_what_the_numbers_are_where_there_are_any() -> None:
    many, few = axes(), axes()
    draw_depths(many, depth_table([*collapsed_at((0, 9)), make_record("a", 0, 7)]))
    assert many.get_xlabel().endswith("red cross: collapsed trials, and how many")
    draw_depths(few, depth_table([*collapsed_at((9,), ("a",)), make_record("a", 0, 7)]))
    assert "cross" not in few.get_xlabel()
    assert "seed 1 collapsed: 0.003" in texts(few)


def test_the_free_strip_has_no_ticks_below_zero() -> None:
    ax = axes()
    draw_depths(ax, depth_table(collapsed_at((0, 9))))
    assert ax.get_ylim()[0] < 0
    assert min(ax.get_yticks()) == 0


def test_a_start_of_which_everything_collapsed_is_named_beside_its_crosses() -> None:
    ax = axes()
    draw_depths(ax, depth_table([*collapsed_at((0, 9), ("b",)), make_record("a", 0, 7, ap=0.4)]))
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert places["b"][1] == 0
    assert places["a"][1] > 0
