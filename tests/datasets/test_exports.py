"""Random exports are read in full, or what is lost is told; no box is ever on another picture."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.datasets.exports import DAMAGE, LAYOUTS, Export, Verdict, judge, make

SAMPLE, ALL = 150, 2000
IN_FULL = 0.98


def judged(folder: Path, first: int, count: int) -> Iterator[tuple[int, Export, Verdict]]:
    for seed in range(first, first + count):
        target = folder / str(seed)
        target.mkdir()
        export = make(seed, target)
        yield seed, export, judge(export)
        shutil.rmtree(target)


def require(results: list[tuple[int, Export, Verdict]]) -> None:
    wrong = [(seed, verdict.wrong) for seed, _, verdict in results if verdict.wrong]
    assert wrong == []
    lost = [(seed, verdict) for seed, _, verdict in results if not verdict.full]
    assert [(seed, verdict.message) for seed, verdict in lost if not verdict.told] == []
    assert len(lost) <= (1 - IN_FULL) * len(results), lost


def test_a_sample_of_exports(tmp_path: Path) -> None:
    results = list(judged(tmp_path, 0, SAMPLE))
    require(results)
    assert {export.layout for _, export, _ in results} == set(LAYOUTS)
    assert {kind for _, export, _ in results for kind in export.damage} == set(DAMAGE)
    assert {export.data.suffix == ".zip" for _, export, _ in results} == {False, True}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_thousand_exports(tmp_path: Path) -> None:
    require(list(judged(tmp_path, SAMPLE, ALL - SAMPLE)))


def test_a_box_on_another_picture_is_seen(tmp_path: Path) -> None:
    """The judge itself: pictures that change places are noticed, in a split and across them."""
    export = make(0, tmp_path)
    first, second = (export.split("train")[n] for n in (0, 1))
    paths = {p.file: next(tmp_path.rglob(p.file.rpartition("/")[2])) for p in (first, second)}
    contents = [paths[p.file].read_bytes() for p in (second, first)]
    for picture, content in zip((first, second), contents, strict=True):
        paths[picture.file].write_bytes(content)
    assert "has boxes" in judge(export).wrong
