"""The public functions that join modules: ``advise``, ``layers`` and ``run``."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.depth import LayerTable
from frostline.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from frostline.advice.result import Advice
    from frostline.advice.shipped import Prefer
    from frostline.events import Event
    from frostline.study import Study

__all__ = ["advise", "layers", "run"]

_log = logging.getLogger(__name__)


def layers(
    model: "str | nn.Module", example_input: Any = None, *, width_mult: float = 1.0
) -> LayerTable:
    """The convolutions of a backbone or of any model, in the order a forward pass meets them.

    Args:
        model: the name of a backbone, ``timm:<model>``, or a model. The name of one of
            ``depth.BACKBONES`` needs no deep-learning framework.
        example_input: what the model is called with, a tensor or a tuple of arguments; None: its
            ``example_input_array``. Not for names.
        width_mult: channel multiplier of ``mobilenet_v2``, for a name only.

    Raises:
        PlanError: the name is unknown, or the model cannot be looked into; see
            ``observing.observe_table``.
        ConfigError: timm has no such model, or none that depth is defined for.
        DependencyError: timm is not installed.

    Example:
        >>> layers("resnet50").stage_ends()
        {'stem': 1, 'layer1': 11, 'layer2': 24, 'layer3': 43, 'layer4': 53}
    """
    if isinstance(model, str):
        from frostline.backbones import backbone_table

        return backbone_table(model, width_mult=width_mult)
    from frostline.observing import observe_table

    return observe_table(model, example_input)


def run(
    study: "Study | Path | str",
    *,
    out: Path | str | None = None,
    workers: int = 1,
    threads: int | None = None,
    device: str = "auto",
    progress: bool = True,
    on_event: "Callable[[Event], None] | None" = None,
) -> "Study":
    """Run what is left of a study: finished trials are kept, interrupted ones resume.

    In a notebook its progress is shown under the cell, on a terminal in bars on stderr, elsewhere
    not at all. A trial that fails is logged and the others go on; ``Study.status`` tells why.

    Args:
        study: a study, or the path of its ``study.yaml``.
        out: output folder; None: the study's own. With a path only.
        workers: trials side by side, >= 1. From a script, workers need the ``if __name__ ==
            "__main__":`` of Python's multiprocessing.
        threads: CPU threads of each; None: ``OMP_NUM_THREADS``, else cores / workers.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: False shows nothing.
        on_event: called for everything that happens, instead of showing it.

    Returns:
        The study, with ``status()`` and ``records()`` of its trials; ``report`` takes it.

    Raises:
        ConfigError: ``out`` is given with a study, which has a folder.
        FrostlineError: something is wrong that would stop every trial; nothing has run.
    """
    from frostline.watching import watch

    study = _study(study, out)
    with watch(len(study.left()), silent=not progress or on_event is not None) as shown:
        outcomes = study.run(
            workers=workers, threads=threads, device=device, on_event=on_event or shown
        )
    for outcome in outcomes:
        if outcome.failed:
            _log.warning("trial %s failed: %s", outcome.key.slug, outcome.message)
        elif outcome.elsewhere:
            _log.warning("trial %s: %s", outcome.key.slug, outcome.message)
    return study


def advise(
    study: "Study | Path | str",
    *,
    budget: str | float | None = None,
    prefer: "Prefer" = "accuracy",
    out: Path | str | None = None,
    workers: int = 1,
    threads: int | None = None,
    device: str = "auto",
    keep: bool = False,
    progress: bool = True,
    say: Callable[[str], None] | None = None,
    on_event: "Callable[[Event], None] | None" = None,
) -> "Advice":
    """Choose a start (and rate) for the price of a few trainings, and finish its training.

    It shares folder and trials with ``run``; killed at any moment, the same call goes on and comes
    to the same pick. The folder then has ``advice.json``, the winner's weights and a report.

    Args:
        study: a study, or the path of its ``study.yaml``.
        budget: ``"2x"`` (complete trainings with nothing frozen), ``"90min"`` or ``"3h"``; None:
            2x, where the study lists several rates 4x. What ran before counts.
        prefer: ``speed`` takes the cheapest depth that is expected to lose at most a point.
        out: output folder; None: the study's own. With a path only.
        workers: trials side by side, >= 1; as in ``run``.
        threads: CPU threads of each; None: ``OMP_NUM_THREADS``, else cores / workers.
        device: ``auto``, ``cpu`` or ``cuda``.
        keep: keep the weights of trials that ended and lost.
        progress: False shows no bars.
        say: called with a line for each decision; None logs them.
        on_event: called for everything that happens to trials, instead of showing it.

    Raises:
        ConfigError: the budget is too small (names the smallest), or the study cannot be used.
        TrainingError: nothing was trained to its end.
        FrostlineError: something is wrong that would stop every trial.
    """
    from frostline.advising import advise_study
    from frostline.reporting import report
    from frostline.watching import watch

    study = _study(study, out)
    with watch(0, silent=not progress or on_event is not None) as shown:
        advice = advise_study(
            study, budget=budget, prefer=prefer, workers=workers, threads=threads, device=device,
            keep=keep, say=say or _log.info, on_event=on_event or shown,
        )  # fmt: skip
    report(study)
    return advice


def _study(study: "Study | Path | str", out: Path | str | None) -> "Study":
    from frostline.study import Study

    if not isinstance(study, Study):
        return Study.from_yaml(study, out)
    if out is not None:
        raise ConfigError(
            f"expected out with the path of a study, got it with a study that writes to "
            f"{study.folder}; leave it out, or give the path of its study.yaml"
        )
    return study
