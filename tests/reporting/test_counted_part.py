"""What depth counts is called as the architecture calls it, wherever a study's words are."""

import html
import re
from pathlib import Path

import pytest

from frostline.reporting import report
from frostline.reporting.answer import answer
from frostline.reporting.words import findings, headline
from tests.factories import make_grid, make_record, write_shapes_study, write_squares_study


def said_by(page: Path) -> str:
    """What stands on a page, its attributes included, in one line."""
    return " ".join(html.unescape(re.sub(r"</?[a-z]+", " ", page.read_text())).split())


@pytest.mark.parametrize("word", ["backbone", "encoder"])
def test_sentences_have_the_word_that_they_are_given(word: str) -> None:
    whole = answer([make_record(depth=52)], deepest=52, counted=word)
    assert f"the whole {word} frozen (k=52)" in headline(whole)
    grid = answer(make_grid(), deepest=52, counted=word)
    assert f"freezing the whole {word} costs" in " ".join(findings(grid))


def test_a_report_of_a_unet_speaks_of_its_encoder(tmp_path: Path) -> None:
    paths = report(write_shapes_study(tmp_path))
    text = said_by(paths.html)
    assert text.count("backbone") == 1, "the key of the setting alone"
    for said in (
        "the whole encoder",
        "all convolutions of the encoder from the input",
        "where a stage of the encoder ends",
        "It says nothing about the decoder and the head",
        "The decoder and the head are trained at every depth",
        "unet with mobilenet_v2 at 320 px",
        "2 depths, 1 other plan, 2 seeds",
    ):
        assert said in text, said
    assert "backbone" not in " ".join(paths.lines)


def test_a_report_of_a_detector_speaks_of_its_backbone(tmp_path: Path) -> None:
    text = said_by(report(write_squares_study(tmp_path)).html)
    assert "the whole backbone" in text
    assert "The neck, the region proposal network and the box head are trained at every" in text
    assert "faster_rcnn with mobilenet_v2 (slim) at 320 px" in text
    assert "encoder" not in text
