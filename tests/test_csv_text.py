"""CSV: what a spreadsheet would run, what a reader must get back."""

import csv
import io

import pytest

from frostline.csv_text import rows_to_csv


def _read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\n=x"])
def test_a_text_that_is_a_formula_is_disarmed(text: str) -> None:
    assert _read(rows_to_csv([{"name": text}])) == [["name"], [f"'{text}"]]


@pytest.mark.parametrize("text", ["a\r=1+1", "a\n=1+1", "a\r\n=1+1", 'a",=1+1', "a,=1+1"])
def test_no_text_begins_another_cell(text: str) -> None:
    assert _read(rows_to_csv([{"name": text}])) == [["name"], [text]]


def test_numbers_and_plain_texts_stay_as_they_are() -> None:
    assert rows_to_csv([{"a": -1.5, "b": None, "c": "x,y"}]) == 'a,b,c\n-1.5,,"x,y"\n'


def test_a_column_name_is_disarmed_too() -> None:
    assert rows_to_csv([{"=cmd": 1}]).startswith("'=cmd")


def test_columns_of_all_rows_or_as_given() -> None:
    assert rows_to_csv([{"a": 1}, {"b": 2}]) == "a,b\n1,\n,2\n"
    assert rows_to_csv([], ["a", "b"]) == "a,b\n"
    assert rows_to_csv([{"a": 1, "b": 2}], ["b"]) == "b\n2\n"
