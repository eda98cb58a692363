"""Derived seeds are part of every recorded result: they may never change."""

import pytest

from frostline.seeds import derived_seed


@pytest.mark.parametrize(
    ("purpose", "value"),
    [
        (("backbone.body.conv1.weight",), 7699839321027230594),
        (("step", 12), 6996404015348770129),
        (("order", 0), 1130243847516296705),
        (("probe", 3), 3672595205202945953),
    ],
)
def test_values_that_results_rest_on(purpose: tuple[str | int, ...], value: int) -> None:
    assert derived_seed(7, *purpose) == value
