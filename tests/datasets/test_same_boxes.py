import numpy as np

from frostline.datasets import Boxes, ImageRecord
from frostline.datasets.same_boxes import SameBoxes, same_boxes


def found(*boxes: list[float], labels: list[int] | None = None, crowd: int = 0) -> list[SameBoxes]:
    image = ImageRecord(
        "a.png",
        100,
        100,
        Boxes(
            np.array(boxes, dtype=np.float64).reshape(-1, 4),
            np.array(labels or [1] * len(boxes), dtype=np.int64),
            np.arange(len(boxes)) < crowd,
        ),
    )
    return list(same_boxes(image))


def test_limits_by_hand() -> None:
    """10 x 20 and 10 x 18 share 180 of 200; 10 x 17.9 is below the limit."""
    big = [0.0, 0.0, 10.0, 20.0]
    assert found(big, [0, 0, 10, 18]) == [SameBoxes(0, 1, True, 0.9)]
    assert found(big, [0, 0, 10, 17.9]) == []


def test_classes_differ() -> None:
    big = [0.0, 0.0, 10.0, 20.0]
    assert found(big, [0, 0, 10, 19], labels=[1, 2]) == []
    assert found(big, big, labels=[1, 2]) == [SameBoxes(0, 1, False, 1.0)]


def test_a_group_is_not_compared_with_its_members() -> None:
    big = [0.0, 0.0, 10.0, 20.0]
    assert found(big, big, crowd=1) == []
    assert found(big, big, crowd=2) == [SameBoxes(0, 1, True, 1.0)]


def test_none_or_one() -> None:
    assert found() == found([0, 0, 1, 1]) == []


def test_all_pairs_of_three() -> None:
    pairs = found(*[[0.0, 0.0, 10.0, 20.0]] * 3)
    assert [(p.first, p.second) for p in pairs] == [(0, 1), (0, 2), (1, 2)]
