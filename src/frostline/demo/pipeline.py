"""The demo: write its data, starting points and study, run it, and say what came out."""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from frostline.advice.words import verdict
from frostline.config import parse_study
from frostline.demo.field import FIELDS, IMAGE_SIDE, Field, paint
from frostline.errors import ConfigError
from frostline.events import Event
from frostline.records import TrialRecord, atomic_write
from frostline.study import Study

__all__ = ["NOTICE", "STARTS", "DemoResult", "demo_trials", "run_demo", "summary", "write_demo"]

NOTICE = (
    "Everything in this demo is synthetic: images, boxes and starting points come from formulas. "
    "It shows how a study runs, and says nothing about wheat."
)

STARTS = ("classification", "detection")
"""Names of the two starting points, files ``<name>.safetensors`` of the demo."""

_ADVICE = "runs/advice"
_IMAGES = 12  # of each field
_EMPTY = (
    ("synthetic_green", 100),
    ("synthetic_dense", 100),
)  # field and number of images without ears
_HELD_OUT = ("synthetic_pale", "synthetic_russet")
_JPEG_QUALITY = 92

_STUDY = f"""\
# The study of frostline's demo. {NOTICE.partition(":")[0]}: see README.md beside this file.
# Paths resolve against this file; output goes to runs/study/. Change what you like, in a copy:
# finished trials belong to what stands here.
version: 1

data:
  layout: kaggle               # image_id,width,height,bbox,source: one row a box
  images: data/train
  annotations: data/train.csv
  split:
    val_groups: [{", ".join(_HELD_OUT)}]   # whole fields, unseen in training

model:
  backbone: mobilenet_v2
  width_mult: 0.35             # a third of the channels: small enough for two CPU cores
  preset: slim                 # a smaller neck and head than torchvision's
  batch_norm: frozen           # as torchvision and detectron2 fine-tune
  image_size: 192              # longest side after resizing, px

inits:                         # two starts that differ in nothing but the backbone's weights
  classification: {{source: classification.safetensors}}
  detection: {{source: detection.safetensors}}

depths: [0, 9, 18, 39, all]    # convolutions that are not updated, counted from the input
seeds: [0, 1]

schedule:
  epochs: 7
  batch_size: 2
  optimizer: adamw
  lr: 1.0e-3                   # peak, after the warm-up; then a cosine to zero
  warmup_epochs: 0.5
  augment: {{flip: true, colour: false, scale_jitter: false}}
"""

_README = f"""\
# A frostline demo

{NOTICE}

- `data/`: a procedural field of wheat-like ears in the layout of Kaggle's Global Wheat Detection.
  Each `source` is a field with its own colours, scale and light. Two images have no ears, and so
  no row in `train.csv`.
- `classification.safetensors`, `detection.safetensors`: two starting points for the backbone. The
  first was trained to tell procedural textures apart; the second went on from there, trained to
  detect procedural shapes. Neither has seen an ear.
- `study.yaml`: two starts x five depths x two seeds. Its output is in `runs/study/`. In
  `runs/advice/` the same question is answered for the price of two trainings.

From the folder above this one:

    frostline status demo/runs/study
    frostline report demo/runs/study
    frostline data check demo/data
    frostline diff demo/detection.safetensors \\
        demo/runs/study/trials/detection-k00-s0/weights.safetensors
    frostline run demo/study.yaml
    frostline advise demo/study.yaml --out demo/runs/advice
"""


@dataclasses.dataclass(frozen=True, slots=True)
class DemoResult:
    """What a demo ends with.

    Attributes:
        report: path of the HTML page.
        lines: three lines of result.
        ok: whether every trial has a record.
        advice: what two trainings say of the same study.
        advice_report: path of its HTML page.
    """

    report: Path
    lines: tuple[str, str, str]
    ok: bool
    advice: str
    advice_report: Path


def run_demo(
    folder: Path,
    *,
    workers: int = 2,
    on_event: Callable[[Event], None] = lambda event: None,
) -> DemoResult:
    """Run the whole pipeline on embedded data: study, report, advice. Needs no network.

    An interrupted demo resumes. Each trial has one thread, so the figures do not depend on the
    number of workers.

    Args:
        folder: the demo's own folder, such as ``demo``; see `write_demo`.
        workers: trials side by side, >= 1.
        on_event: called for everything that happens.

    Raises:
        ConfigError: the folder holds another study or other starting points.
        RecordError: the disk is full or the folder cannot be written.
    """
    from frostline.reporting import report  # matplotlib: not for `write_demo`

    path = write_demo(folder)
    study = Study.from_yaml(path)
    study.run(workers=workers, threads=1, on_event=on_event)
    paths = report(study.folder)
    lines = (paths.lines[0], *summary(study.records()))
    line, page = _advice(Study.from_yaml(path, folder / _ADVICE), workers, on_event)
    return DemoResult(paths.html, lines, not study.left(), line, page)


def _advice(study: Study, workers: int, on_event: Callable[[Event], None]) -> tuple[str, Path]:
    """The same question for two trainings, in a folder of its own: nothing is shared."""
    from frostline.advising import advise_study
    from frostline.reporting import report

    found = advise_study(study, budget="2x", workers=workers, threads=1, on_event=on_event)
    paths = report(study.folder)
    return f"Advice for {found.cost.spent:.2f} trainings: {verdict(found)}", paths.html


def demo_trials() -> int:
    """Number of trials that end: those of the demo's study, and the one that its advice picks."""
    return len(Study(parse_study(yaml.safe_load(_STUDY)), Path(), Path()).cells()) + 1


def write_demo(folder: Path) -> Path:
    """Write the demo's data, starting points and ``study.yaml``; what is there already stays.

    Args:
        folder: made if it does not exist. After it, the README's commands can be typed as they
            stand, if it is called ``demo``.

    Returns:
        Path of ``study.yaml``.

    Raises:
        ConfigError: a file of the study is there with other content.
        RecordError: the disk is full or the folder cannot be written.
    """
    study = folder / "study.yaml"
    _put(study, _STUDY.encode())
    _put(folder / "README.md", _README.encode())
    for name in STARTS:
        asset = resources.files("frostline") / "assets" / f"start_{name}.safetensors"
        _put(folder / f"{name}.safetensors", asset.read_bytes())
    _write_data(folder / "data")
    return study


def summary(records: Sequence[TrialRecord]) -> tuple[str, str]:
    """What goes with the report's verdict: the cost of freezing everything, the starts compared.

    Args:
        records: finished trials of the demo's study; may be incomplete.
    """
    cells = _cells(records)
    return _freezing_line(cells), _starts_line(cells)


_Cells = dict[tuple[str, int], list[TrialRecord]]


def _cells(records: Sequence[TrialRecord]) -> _Cells:
    """Records of each (init, depth), one per seed."""
    cells: _Cells = {}
    for record in records:
        cells.setdefault((record.key.init, record.plan.depth or 0), []).append(record)
    return cells


def _scores(records: Sequence[TrialRecord], metric: str) -> list[float]:
    """A COCO score on the held-out fields, per seed; NaN where there is none."""
    return [record.score(metric) for record in records]


def _spread(values: Sequence[float]) -> str:
    each = ", ".join(f"{value:.3f}" for value in values)
    return f"{np.mean(values):.3f} (seeds {each})"


def _freezing_line(cells: _Cells) -> str:
    """AP with everything frozen minus AP with nothing frozen, per start and seed."""
    parts = []
    for name in STARTS:
        deepest = max((depth for init, depth in cells if init == name), default=0)
        pair = cells.get((name, 0)), cells.get((name, deepest))
        if deepest and pair[0] and pair[1] and len(pair[0]) == len(pair[1]):
            points = 100 * np.subtract(_scores(pair[1], "ap"), _scores(pair[0], "ap"))
            each = ", ".join(f"{value:+.1f}" for value in points)
            parts.append(f"{name} {points.mean():+.1f} AP points (seeds {each})")
    return "Freezing all of the backbone instead of nothing: " + ("; ".join(parts) or "n/a") + "."


def _starts_line(cells: _Cells) -> str:
    """AP and AP50 of each start with nothing frozen."""
    parts = [
        f"{name} AP {_spread(_scores(cells[name, 0], 'ap'))}, "
        f"AP50 {_spread(_scores(cells[name, 0], 'ap50'))}"
        for name in STARTS
        if (name, 0) in cells
    ]
    return (
        f"With nothing frozen: {'; '.join(parts) or 'n/a'}. The ears are synthetic: this shows the "
        "method and says nothing about wheat."
    )


def _put(path: Path, content: bytes) -> None:
    """Write a file that is not there yet; refuse one that is there with other content."""
    if not path.exists():
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    elif path.read_bytes() != content:
        raise ConfigError(
            f"{path} is not the demo's own: it was changed, or another version wrote it; "
            "`frostline run` runs a changed study; for a fresh demo give another folder"
        )


def _write_data(folder: Path) -> None:
    """Write ``train/*.jpg``, then ``train.csv``: where the table is, the images are complete."""
    table = folder / "train.csv"
    if table.exists():
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image_id", "width", "height", "bbox", "source"))
    for field, number in _images():
        painting = paint(field, number, empty=(field.name, number) in _EMPTY)
        image_id = f"{field.name}_{number:03d}"
        for x0, y0, x1, y1 in painting.boxes.tolist():
            box = [float(v) for v in (x0, y0, x1 - x0, y1 - y0)]
            writer.writerow((image_id, IMAGE_SIDE, IMAGE_SIDE, box, field.name))
        with atomic_write(folder / "train" / f"{image_id}.jpg") as temporary:
            image = Image.fromarray(painting.pixels)
            image.save(temporary, format="JPEG", quality=_JPEG_QUALITY)
    with atomic_write(table) as temporary:
        temporary.write_bytes(text.getvalue().encode())


def _images() -> Iterator[tuple[Field, int]]:
    """Field and number of every image of the demo."""
    for field in FIELDS:
        yield from ((field, number) for number in range(_IMAGES))
        yield from ((field, number) for name, number in _EMPTY if name == field.name)
