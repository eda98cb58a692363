"""Scores as a task declares them: what they are called, which one ranks, where each is shown.

Everything above the tasks knows scores by their declaration only. A record carries its own, so it
can be read where neither the task nor a deep-learning framework is.
"""

from collections.abc import Collection, Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from frostline.errors import ConfigError

__all__ = ["Declaration", "Score", "merged"]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Declared):
    """One score; higher is better. Differences are told in points, hundredths of its range.

    Attributes:
        key: its name in records and tables.
        label: what sentences and headings call it.
        axis: what the axis of a figure says.
        unit: of its values; "" for a share.
        low: smallest possible value.
        high: largest possible value; the range is 1 wide.
        meaning: what it is, for the report's list of words; "" where another's covers it.
        ranks: the cells of a study are ordered by it; one score of a task does this.
        chart: it has a panel in Figure 3.
        headline: it is printed by ``run``, shown in notebooks and measured after epochs.
        by_trial: it is a column of the report's table of trials.
        by_part: it is a column of the report's tables by class and by group.
        asked: the name in ``data.metrics`` that asks for it; "" for one that is always measured.
        layouts: data layouts for which it is measured without being asked for.
    """

    key: str
    label: str
    axis: str
    unit: str = ""
    low: float = 0.0
    high: float = 1.0
    meaning: str = ""
    ranks: bool = False
    chart: bool = False
    headline: bool = False
    by_trial: bool = False
    by_part: bool = False
    asked: str = ""
    layouts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_wide(self) -> "Score":
        assert self.high - self.low == 1, "differences are told in points, hundredths of the range"
        return self

    @property
    def mean_label(self) -> str:
        """What its mean over seeds is called: a mean that is in its name is said once.

        Example:
            >>> Score(key="miou", label="mean IoU", axis="mean IoU").mean_label
            'mean IoU'
        """
        return self.label if self.label.startswith("mean ") else f"mean {self.label}"


class Declaration(_Declared):
    """What a task measures, and what is told of it.

    Attributes:
        task: its name.
        scores: in the order of tables.
        least_gain: what the ranking score must gain above its floor, the score of a constant
            prediction, for a training to count as one that learned something.
        examples: how the report draws an image with what was found in it; None for not at all.
    """

    task: str
    scores: tuple[Score, ...]
    least_gain: float
    examples: Literal["boxes", "masks"] | None = None

    @property
    def masks(self) -> bool:
        """Whether its images are annotated with masks; outlines of objects are painted for it."""
        return self.examples == "masks"

    @model_validator(mode="after")
    def _one_ranks(self) -> "Declaration":
        assert sum(score.ranks for score in self.scores) == 1, "one score orders the cells"
        return self

    @property
    def ranking(self) -> Score:
        """The score that orders the cells."""
        return next(score for score in self.scores if score.ranks)

    def score(self, key: str | None = None) -> Score:
        """The score of a key; None is the ranking one.

        Raises:
            ConfigError: the task does not measure it; names what it does.
        """
        if key is None:
            return self.ranking
        found = {score.key: score for score in self.scores}
        if key not in found:
            raise ConfigError(f"expected a score of {self.task} ({', '.join(found)}), got '{key}'")
        return found[key]

    def measured(self, keys: Collection[str]) -> "Declaration":
        """The same for those scores alone that were measured, and the ranking one."""
        kept = tuple(score for score in self.scores if score.ranks or score.key in keys)
        return self.model_copy(update={"scores": kept})

    def asked(self, metrics: Collection[str], layout: str) -> frozenset[str]:
        """What is to be measured besides what always is, by its names in ``data.metrics``.

        Raises:
            ConfigError: a name of ``metrics`` is none of this task.
        """
        known = {score.asked for score in self.scores if score.asked}
        for name in metrics:
            if name not in known:
                offered = ", ".join(sorted(known)) or "none"
                raise ConfigError(
                    f"data.metrics: expected what {self.task} can measure besides the usual "
                    f"({offered}), got '{name}'"
                )
        by_layout = {score.asked for score in self.scores if layout in score.layouts}
        return frozenset(metrics) | by_layout


def merged(declarations: Iterable[Declaration]) -> Declaration:
    """One declaration for several records of a study: every score that any of them has."""
    every = list(declarations)
    scores = {score.key: score for one in every for score in one.scores}
    order = {score.key: n for one in sorted(every, key=lambda d: len(d.scores), reverse=True)[:1]
             for n, score in enumerate(one.scores)}  # fmt: skip
    kept = sorted(scores.values(), key=lambda score: order.get(score.key, len(order)))
    return every[0].model_copy(update={"scores": tuple(kept)})
