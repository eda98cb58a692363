from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frostline.datasets import (
    DatasetIndex,
    Finding,
    split_by_fraction,
    split_by_group,
    train_and_val,
)
from frostline.errors import DatasetError
from tests.datasets.samples import record


def index(n: int, groups: str = "") -> DatasetIndex:
    images = [
        record(f"{k:03}.png", [], group=groups[k % len(groups)] if groups else None)
        for k in range(n)
    ]
    return DatasetIndex(Path("x"), ("ear",), tuple(images))


def files(part: DatasetIndex) -> list[str]:
    return [image.file for image in part]


def test_parts_are_disjoint_whole_and_in_order() -> None:
    train, val = split_by_fraction(index(100), 0.2, seed=0)
    assert (len(train), len(val)) == (80, 20)
    assert sorted(files(train) + files(val)) == files(index(100))
    assert files(val) == sorted(files(val))


def test_draw_is_pinned() -> None:
    """By definition the same on every platform and in every version."""
    assert files(split_by_fraction(index(10), 0.3, seed=7)[1]) == ["006.png", "007.png", "008.png"]


def test_draw_does_not_depend_on_the_order() -> None:
    whole = index(50)
    turned = DatasetIndex(whole.root, whole.classes, whole.images[::-1])
    drawn = set(files(split_by_fraction(whole, 0.3, seed=3)[1]))
    assert set(files(split_by_fraction(turned, 0.3, seed=3)[1])) == drawn


def test_seed_changes_the_draw() -> None:
    draws = {tuple(files(split_by_fraction(index(50), 0.3, seed=s)[1])) for s in range(10)}
    assert len(draws) == 10


def test_images_keep_their_side_when_others_are_added() -> None:
    few = set(files(split_by_fraction(index(100), 0.2, seed=1)[1]))
    more = set(files(split_by_fraction(index(110), 0.2, seed=1)[1]))
    assert len(few & more) >= 15


def test_each_side_has_an_image() -> None:
    assert [len(p) for p in split_by_fraction(index(2), 0.01, seed=0)] == [1, 1]
    assert [len(p) for p in split_by_fraction(index(2), 0.99, seed=0)] == [1, 1]


@pytest.mark.parametrize(("n", "fraction"), [(10, 0.0), (10, 1.0), (10, float("nan")), (1, 0.5)])
def test_fraction_out_of_bounds(n: int, fraction: float) -> None:
    with pytest.raises(DatasetError, match="expected a fraction between 0 and 1"):
        split_by_fraction(index(n), fraction, seed=0)


def test_groups_are_held_out_whole() -> None:
    train, val = split_by_group(index(9, "abc"), ["b"])
    assert {i.group for i in train} == {"a", "c"}
    assert {i.group for i in val} == {"b"}
    assert len(train) + len(val) == 9


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["z"], "expected groups out of a, b, got z"),
        ([], "got none"),
        (["a", "b"], "leave images to train on"),
    ],
)
def test_groups_that_do_not_split(groups: list[str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        split_by_group(index(4, "ab"), groups)


def test_train_and_val_are_the_two_ways() -> None:
    whole = index(10, "ab")
    by_group = train_and_val(whole, val_groups=["b"])
    assert {name: files(part) for name, part in by_group.items()} == {
        "train": files(split_by_group(whole, ["b"])[0]),
        "val": files(split_by_group(whole, ["b"])[1]),
    }
    by_fraction = train_and_val(whole, fraction=0.3, seed=4)
    assert files(by_fraction["val"]) == files(split_by_fraction(whole, 0.3, 4)[1])


def test_a_finding_is_told_once() -> None:
    """With its image; what is said of the annotation file, or of nothing left, with the rest."""
    places = ("boxes.csv", "000.png", "001.png", "gone.png")
    found = tuple(Finding("warning", "x", place, "m") for place in places)
    train, val = split_by_group(replace(index(4, "ab"), findings=found), ["b"])
    assert [f.file for f in train.findings] == ["boxes.csv", "000.png", "gone.png"]
    assert [f.file for f in val.findings] == ["001.png"]


@pytest.mark.parametrize("ways", [{}, {"fraction": 0.5, "val_groups": ["a"]}])
def test_train_and_val_want_one_way(ways: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match="either a fraction or groups"):
        train_and_val(index(4, "ab"), **ways)
