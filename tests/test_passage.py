"""Cuts of a forward pass written down by hand."""

import pytest

from frostline.passage import Passage, as_written

# root: stem (a convolution), a token of the root's own, body.0, body.1 (a list), head.
PASSAGE = Passage(
    (
        ("enter", ""),
        ("enter", "stem"),
        ("use", "stem.weight"),
        ("leave", "stem"),
        ("use", "token"),
        ("enter", "body.0"),
        ("use", "body.0.weight"),
        ("leave", "body.0"),
        ("enter", "body.1"),
        ("use", "body.1.weight"),
        ("leave", "body.1"),
        ("use", "scale"),
        ("end", ""),
        ("enter", "head"),
        ("use", "head.weight"),
        ("leave", "head"),
        ("leave", ""),
    )
)


def test_a_layer_is_cut_before_and_a_module_behind() -> None:
    assert PASSAGE.before("body.0") == {"stem.weight", "token"}
    assert PASSAGE.until("stem") == {"stem.weight"}
    assert PASSAGE.until("body.0") == {"stem.weight", "token", "body.0.weight"}
    assert PASSAGE.to_the_end() == PASSAGE.until("body") | {"scale"}
    assert PASSAGE.until("") == PASSAGE.to_the_end() | {"head.weight"}


def test_a_list_of_modules_begins_and_ends_with_its_members() -> None:
    assert PASSAGE.entry("body") == PASSAGE.entry("body.0") == 5
    assert PASSAGE.exit("body") == PASSAGE.exit("body.1") == 10
    assert PASSAGE.exit("nothing") == -1


def test_a_name_may_be_the_end_of_one() -> None:
    twice = Passage(
        tuple(
            ("leave", name)
            for name in ("net.a.conv", "net.b.conv", "net.b", "net._orig_mod.c", "net._orig_mod")
        )
    )
    assert PASSAGE.find("body") == ("body",)
    assert twice.find("b") == ("net.b",)
    assert twice.find("conv") == ("net.a.conv", "net.b.conv")
    assert twice.find("net.c") == ("net._orig_mod.c",)
    assert twice.find("onv") == ()


def test_several_names_of_one_module_are_one() -> None:
    shared = Passage((("leave", "a.conv"), ("enter", "x"), ("leave", "b.conv")))
    assert shared.find("conv") == ("a.conv", "b.conv")
    tied = Passage((("enter", "x"), ("leave", "a.conv")))
    assert tied.find("conv") == ("a.conv",)


@pytest.mark.parametrize(
    ("name", "written"),
    [("_orig_mod.a.weight", "a.weight"), ("a._orig_mod.b", "a.b"), ("my_orig_mod.b",) * 2],
)
def test_names_without_what_compiling_adds(name: str, written: str) -> None:
    assert as_written(name) == written
