"""Regret and its interval, by hand."""

import math

import pytest

from frostline.advice.scoring import Scores, family_interval, family_mean, reference, regret
from tests.advice.toy import A, B, C


def test_the_reference_is_chosen_by_selection_and_scored_by_test() -> None:
    """Over seeds 1 and 2, A selects higher and tests lower, so that regret is negative."""
    selection = {(A, 0): 0.1, (A, 1): 0.6, (A, 2): 0.8, (B, 0): 0.9, (B, 1): 0.5, (B, 2): 0.7}
    test = {(A, 0): 0.1, (A, 1): 0.4, (A, 2): 0.5, (B, 0): 0.9, (B, 1): 0.5, (B, 2): 0.6}
    scores = Scores(selection, test)
    assert reference((A, B), 0, scores) == A
    assert regret(B, 0, (A, B), scores) == pytest.approx(0.45 - 0.55)
    assert regret(A, 0, (A, B), scores) == 0


def test_cells_with_fewer_seeds_are_no_reference_and_are_compared_over_shared_ones() -> None:
    table = {(A, 0): 0.1, (A, 1): 0.4, (A, 2): 0.6, (B, 0): 0.1, (B, 1): 0.9, (C, 0): 0.2}
    scores = Scores(table, table)
    assert reference((A, B, C), 0, scores) == A
    assert regret(B, 0, (A, B, C), scores) == pytest.approx(0.4 - 0.9)
    assert math.isnan(regret(C, 0, (A, B, C), scores))


def test_families_count_alike_and_are_drawn_whole() -> None:
    values = {"x": [1.0, 1.0, 1.0, 1.0], "y": [3.0]}
    assert family_mean(values) == 2.0
    low, high = family_interval(values)
    assert (low, high) == (1.0, 3.0)  # both, once, with chance 1/4 each
    assert family_interval({"x": [2.0, 4.0]}) == (3.0, 3.0)
