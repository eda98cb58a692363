"""Values as a reader would write them."""

import math

import pytest

from frostline.reporting import formats


@pytest.mark.parametrize(
    ("share", "said"), [(0.0, "0"), (0.003, "<1"), (0.006, "1"), (0.474, "47"), (1.0, "100")]
)
def test_a_small_share_is_not_nothing(share: float, said: str) -> None:
    assert formats.percent(share) == f"{said}\u2009%"


def test_what_is_absent_says_so() -> None:
    for write in (formats.percent, formats.score, formats.thousandths, formats.duration):
        assert write(math.nan) == "n/a"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.24, "0.2 s"), (95, "95 s"), (282, "4.7 min"), (3990, "66.5 min"), (7920, "2.2 h")],
)
def test_durations(seconds: float, said: str) -> None:
    assert formats.duration(seconds) == said


@pytest.mark.parametrize(
    ("name", "markup"),
    [
        ("imagenet", "imagenet"),
        ("coco_then_person", "coco_<wbr>then_<wbr>person"),
        ("weights/resnet50.pth", "weights/<wbr>resnet50.<wbr>pth"),
        ("0.547 to +6.0 (k=9); a-1", "0.547 to +6.0 (k=9); a-1"),
        ("<b>&_x", "&lt;b&gt;&amp;_x"),
    ],
)
def test_long_names_may_be_broken_and_are_escaped(name: str, markup: str) -> None:
    assert str(formats.breakable(name)) == markup


def test_commands_in_a_sentence_are_code_and_stay_escaped() -> None:
    told = formats.with_code("`frostline run` does <it>, `<b>` too; ` alone is left")
    assert str(told) == (
        "<code>frostline run</code> does &lt;it&gt;, <code>&lt;b&gt;</code> too; ` alone is left"
    )


def test_a_setting_of_several_values_is_no_python() -> None:
    assert formats.text({"cross_entropy": 1.0, "dice": 0.5}) == "cross_entropy 1, dice 0.5"
    assert formats.text({"flip": True, "crop": None}) == "flip on, crop none"
