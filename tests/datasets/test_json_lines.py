import json
from pathlib import Path

import pytest

from frostline.datasets.files import FolderTree
from frostline.datasets.json_lines import EntryLines, element_lines

TEXT = """{
 "info": {"images": [1,
  2]}, "images": [
  {"id": 1}, {"id": 2},

  {"id": "]\\n\\"["}
 ],
 "none": [],
 "annotations" : [ 7 ] , "last": null
}
"""


def test_lines_by_hand() -> None:
    assert element_lines(TEXT) == {"images": [4, 4, 6], "none": [], "annotations": [9]}


@pytest.mark.parametrize("text", ["{}", " { } ", '{"a": 1}', '{"a": []}'])
def test_nothing_in_it(text: str) -> None:
    assert not any(element_lines(text).values())


@pytest.mark.parametrize("indent", [0, 1, 4])
def test_every_line_is_that_of_its_element(indent: int) -> None:
    data = {key: [{"id": f"{key}-{n}"} for n in range(50)] for key in ("images", "annotations")}
    lines = json.dumps(data, indent=indent).splitlines()
    for key, starts in element_lines(json.dumps(data, indent=indent)).items():
        for n, line in enumerate(starts):
            assert lines[line - 1].strip() == "{"
            assert f'"{key}-{n}"' in lines[line]


def test_of_a_key_that_is_there_twice_the_last_counts() -> None:
    assert element_lines('{"a": [1],\n"a": [2]}') == {"a": [2]}


def test_entries(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(TEXT)
    (tmp_path / "one.json").write_text('{"images": [1, 2]}\n')
    line_of = EntryLines(FolderTree(tmp_path), "a.json")
    assert [line_of(f"images[{n}]") for n in range(4)] == [4, 4, 6, None]
    assert line_of("class x") is None
    assert line_of("categories[0]") is None
    assert EntryLines(FolderTree(tmp_path), "one.json")("images[1]") is None
