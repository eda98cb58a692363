"""Records as a finished trial leaves them, made up: for tests of what reads records."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from frostline.cells import FROZEN_RANDOM
from frostline.config import DataConfig, MasksConfig, SplitConfig, StudyConfig
from frostline.datasets import DatasetIndex, Mask, mask_labels
from frostline.depth import Numbering, depth_label, layer_table
from frostline.detection_scores import DETECTION_SCORES, scores_and_details
from frostline.evaluation import Detections, to_coco_results
from frostline.plans import BatchNormPolicy, FreezePlan
from frostline.records import (
    AuditRecord,
    DataRecord,
    EpochRecord,
    InitRecord,
    PlanRecord,
    SplitDetails,
    TrialKey,
    TrialRecord,
    write_json,
)
from frostline.tasks.segmentation import TASK as SEGMENTATION
from frostline.trial import load_data
from tests.helpers import write_squares
from tests.shapes import write_shapes

DATA_DIGESTS = {"train": "a" * 64, "val": "b" * 64}
_CONV_PARAMETERS = 2_223_872  # of mobilenet_v2's convolutions, near enough for a table


def make_record(
    init: str = "imagenet",
    depth: int = 0,
    seed: int = 0,
    *,
    ap: float | None = 0.5,
    ranked: bool = True,
    flags: tuple[str, ...] = (),
    scale: float = 1e-3,
    backbone: str = "mobilenet_v2",
    classes: tuple[str, ...] = ("ear",),
    groups: tuple[str, ...] = (),
    epochs: int = 4,
    seconds: float | None = None,
    digests: dict[str, str] | None = None,
    changed: tuple[str, ...] = (),
    findings: dict[str, int] | None = None,
    with_test: bool = False,
    plan_label: str | None = None,
    layers: tuple[int, ...] | None = None,
    variant: str | None = None,
    numbering: Numbering = "all",
) -> TrialRecord:
    """One finished trial. ``ap`` gives every score; ``scale`` the size of its differences.

    A plan with a label of its own freezes ``layers`` of the table, and is no prefix.
    """
    table = layer_table(backbone)
    prefix = table.frozen_layers(depth, numbering)
    layers = tuple(layer.index for layer in prefix) if layers is None else layers
    batch_norm: BatchNormPolicy = "frozen" if ranked else "live"
    plan = FreezePlan.at_depth(table, depth, batch_norm=batch_norm, numbering=numbering)
    share = len(layers) / len(table)
    train = seconds if seconds is not None else 100.0 * (1 - 0.3 * share)
    splits = ("val", "test") if with_test else ("val",)
    digests = digests or DATA_DIGESTS
    measured = scores_and_details(_metrics(ap, classes, groups))
    return TrialRecord(
        key=TrialKey(init=init, plan=plan_label or depth_label(depth), variant=variant, seed=seed),
        ranked=ranked,
        spec={
            "form": 2,
            "seed": seed,
            "model": {
                "backbone": backbone,
                "preset": "slim",
                "batch_norm": batch_norm,
                "image_size": 320,
                "width_mult": 1.0,
                "norm_eps": 1e-5,
            },
            "schedule": {
                "epochs": epochs,
                "batch_size": 4,
                "optimizer": "adamw",
                "lr": 3e-4,
                "momentum": 0.9,
                "weight_decay": 1e-4,
                "lr_schedule": "cosine",
                "warmup_epochs": 1.0,
                "clip_norm": 10.0,
                "precision": "fp32",
                "augment": {"flip": True, "colour": True, "scale_jitter": True},
            },
            "weights": "c" * 64 if ranked else None,
            "parts": ["backbone"],
            "plan": plan.digest(),
            "data": dict(digests),
        },
        scoring={"max_detections": 300},
        init=InitRecord(
            source=f"{init}.safetensors" if ranked else "random",
            parts=("backbone",),
            sha256="c" * 64 if ranked else None,
            matched=260 if ranked else 0,
        ),
        plan=PlanRecord(
            label=plan_label or plan.label,
            depth=depth if plan_label is None else None,
            numbering=numbering,
            batch_norm=batch_norm,
            digest=plan.digest(),
            layers=layers,
            tensors=plan.tensors,
            frozen_parameters=round(_CONV_PARAMETERS * share),
            trainable_parameters=4_638_824 - round(_CONV_PARAMETERS * share),
        ),
        audit=AuditRecord(frozen=len(plan.tensors), changed=changed),
        data={
            split: DataRecord(
                digest=digests.get(split, "d" * 64),
                images=images,
                empty_images=1,
                boxes=images * 9,
                classes=classes,
                groups={group: images // len(groups) for group in groups},
                findings=dict(findings or {}),
            )
            for split, images in (("train", 80), ("val", 24))
        },
        history=tuple(_epoch(n, epochs, seed) for n in range(1, epochs + 1)),
        task=DETECTION_SCORES,
        scores=dict.fromkeys(splits, measured[0]),
        details={split: SplitDetails.model_validate(measured[1]) for split in splits},
        differences=tuple(
            make_difference(layer.index, layer.name, layer.stage, layer.shape, moved)
            for layer in table.layers
            for moved in [0.0 if layer.index in layers else scale * (1 + layer.index / 20 + seed)]
        ),
        flags=flags,
        environment={"python": "3.11.9", "frostline": "0.1.0", "torch": "2.15.0", "device": "CPU"},
        seconds={"load": 0.5, "train": train, "evaluate": 2.0, "difference": 0.1},
        finished_at="2026-01-02T03:04:05+00:00",
    )


def make_grid(
    inits: Iterable[str] = ("imagenet", "coco"),
    depths: Iterable[int] = (0, 9, 18, 30, 39, 52),
    seeds: Iterable[int] = (0, 1, 2),
    **changes: Any,
) -> list[TrialRecord]:
    """A whole study: the first init is best, at depth 9, and seeds differ by some 0.005 AP."""
    depths, seeds = tuple(depths), tuple(seeds)
    return [
        make_record(
            init, depth, seed, ap=make_ap(i, depth, seed), scale=1e-3 / (1 + 3 * i), **changes
        )
        for seed in seeds
        for i, init in enumerate(inits)
        for depth in depths
    ]


def make_ap(i: int, depth: int, seed: int) -> float:
    """A smooth curve over depth with its top near 9, and a wobble that is the same on each run."""
    wobble = 0.004 * math.sin(12.9898 * seed + 78.233 * depth + 37.7 * i)
    return 0.50 - 0.06 * i - 4e-5 * (depth - 9) ** 2 + wobble


def make_difference(
    index: int, name: str, stage: str, shape: tuple[int, ...], cosine: float | None
) -> dict[str, Any]:
    """One row as ``LayerDifference.to_dict`` writes it; None is "not comparable"."""
    angle = None if cosine is None else math.degrees(math.acos(max(-1.0, 1 - cosine)))
    measures = {
        "cosine": cosine,
        "signed_cosine": None if cosine is None else 1 - cosine,
        "angle": angle,
        "relative_l2": None if cosine is None else math.sqrt(2 * cosine),
        "norm_ratio": None if cosine is None else 1.0,
        "filters": None,
        "note": "",
    }
    return {
        "index": index,
        "name": name,
        "stage": stage,
        "role": "main",
        "shape": list(shape),
        **measures,
        "folded": measures | {"cosine": None if cosine is None else 2 * cosine},
        "norm": {"weight": 0.0, "bias": 0.0, "running_mean": 0.0, "running_var": 0.0},
        "note": "not comparable: test" if cosine is None else "",
    }


def make_config(records: Iterable[TrialRecord], **changes: Any) -> StudyConfig:
    """The study that would have run these records."""
    records = list(records)
    keys = [record.key for record in records]
    backbone = records[0].spec["model"]["backbone"]
    ranked = {record.key.init: record.ranked for record in records}
    raw = {
        "data": {"layout": "coco", "images": "images", "train": "train.json", "val": "val.json"},
        "model": {"backbone": backbone, "preset": "slim", "image_size": 320},
        "inits": {
            init: {"source": f"{init}.safetensors" if good else "random"}
            for init, good in ranked.items()
        },
        "depths": sorted(
            {record.plan.depth for record in records if record.plan.depth is not None}
        ),
        "seeds": sorted({key.seed for key in keys}),
        "schedule": {"epochs": 4},
    }
    return StudyConfig.model_validate(raw | changes)


def write_study_folder(
    folder: Path, records: Iterable[TrialRecord], config: StudyConfig | None = None
) -> Path:
    """A study's output folder as a run leaves it: study.json and one record per trial."""
    records = list(records)
    config = config or make_config(records)
    write_json(folder / "study.json", config.model_dump(mode="json"))
    for record in records:
        record.write(folder / "trials" / record.key.slug / "record.json")
    return folder


def _epoch(n: int, epochs: int, seed: int) -> EpochRecord:
    total = 1.5 * math.exp(-2 * n / epochs) + 0.3 + 0.01 * seed
    return EpochRecord(
        epoch=n,
        step=20 * n,
        lr=3e-4,
        losses={"loss_box_reg": total / 2, "loss_classifier": total / 2},
        seconds=25.0,
        images_per_second=3.2,
    )


def _metrics(ap: float | None, classes: tuple[str, ...], groups: tuple[str, ...]) -> dict[str, Any]:
    return {
        "images": 24,
        "boxes": 216,
        "detections": 700,
        "coco": {
            "max_dets": 100,
            "beyond_max_dets": 0,
            "overall": _coco(ap),
            "per_class": {name: _coco(ap) for name in classes},
            "per_group": {name: _coco(ap) for name in groups},
        },
        "wheat": {
            "overall": _wheat(ap),
            "per_class": {name: _wheat(ap) for name in classes},
            "per_group": {name: _wheat(ap) for name in groups},
        },
    }


def _coco(ap: float | None) -> dict[str, float | None]:
    ap50 = None if ap is None else min(1.0, 1.6 * ap)
    names = [
        "ap50",
        "ap75",
        "ap_medium",
        "ap_large",
        "ar_1",
        "ar_10",
        "ar",
        "ar_medium",
        "ar_large",
    ]
    return {"ap": ap, **dict.fromkeys(names, ap), "ap50": ap50, "ap_small": None, "ar_small": None}


def _wheat(ap: float | None) -> dict[str, Any]:
    return {
        "score": ap,
        "threshold": 0.62,
        "threshold_source": "best on these images",
        "score_at_half": None if ap is None else ap - 0.01,
        "images": 24,
        "empty_images": 1,
        "crowd_boxes": 0,
    }


def write_squares_study(root: Path, *, shift: float = 0.0, score: float = 0.9) -> Path:
    """A finished study over a readable data set of squares, under ``root/runs/squares``.

    Every trial found every box, moved by ``shift`` of its width to the right.
    """
    write_squares(root)
    config = DataConfig(
        layout="kaggle",
        images="images",
        annotations="train.csv",
        split=SplitConfig(val_groups=("field_1",)),
    )
    data = load_data(config, root)
    digests = {split: index.digest() for split, index in data.items()}
    records = make_grid(depths=(0, 52), seeds=(0,), digests=digests, classes=data["val"].classes)
    study = make_config(records, data=config.model_dump())
    folder = write_study_folder(root / "runs" / "squares", records, study)
    found = [
        Detections(
            image.boxes + shift * (image.boxes[:, 2:3] - image.boxes[:, :1]) * [1, 0, 1, 0],
            np.full(len(image.boxes), score),
            image.labels,
        )
        for image in data["val"].images
    ]
    results = to_coco_results(data["val"], found)
    for record in records:
        write_json(folder / "trials" / record.key.slug / "detections.json", {"val": results})
    return folder


def write_shapes_study(root: Path) -> Path:
    """A finished study of masks over a readable data set, under ``root/runs/shapes``.

    Every trial found the truth, moved to the right: further, the later its seed and deeper its
    plan. What the random start freezes is random; a rule made the last plan.
    """
    write_shapes(root, 12, side=96)
    config = DataConfig(
        layout="masks",
        images="images",
        annotations="masks",
        split=SplitConfig(fraction=0.5),
        masks=MasksConfig(classes={0: "ground", 1: "disc", 2: "bar"}),
    )
    data = load_data(config, root)
    rule: dict[str, Any] = {"rule": "freeze-above", "t": "median", "threshold": 0.00123}
    rule |= {"frozen_layers": 26, "of_layers": 52, "references": {"imagenet-k00-s0": {}}}
    grid = make_grid(inits=("imagenet", "random"), depths=(0, 52), seeds=(0, 1))
    for seed in (0, 1):
        ruled = make_record(seed=seed, plan_label="above-median", layers=tuple(range(27, 53)))
        plan = ruled.plan.model_copy(update={"rule": rule})
        grid.append(ruled.model_copy(update={"plan": plan}))
    found = {r.key: _moved_right(data["val"], 1 + r.key.seed + len(r.plan.layers) // 13)
             for r in grid}  # fmt: skip
    records = [_segmented(record, data, found[record.key]) for record in grid]
    study = make_config(
        records,
        data=config.model_dump(),
        task="segmentation",
        model={"architecture": "unet", "backbone": "mobilenet_v2", "image_size": 96},
        plans={"above-median": {"rule": "freeze-above", "t": "median"}},
        allow_frozen_random=True,
    )
    folder = write_study_folder(root / "runs" / "shapes", records, study)
    for key, masks in found.items():
        written = {"val": SEGMENTATION.write(data["val"], masks)}
        write_json(folder / "trials" / key.slug / "detections.json", written)
    return folder


def _moved_right(index: DatasetIndex, pixels: int) -> list[npt.NDArray[np.uint8]]:
    targets = [image.target for image in index.images]
    return [np.roll(mask_labels(x), pixels, axis=1) for x in targets if isinstance(x, Mask)]


def _segmented(
    record: TrialRecord, data: Mapping[str, DatasetIndex], found: list[npt.NDArray[np.uint8]]
) -> TrialRecord:
    measured = SEGMENTATION.evaluate(data["val"], found, None, ())
    splits = {
        split: record.data[split].model_copy(
            update={
                "digest": index.digest(),
                "images": len(index),
                "classes": index.classes,
                "pixels": index.counts().pixels_per_class,
            }
        )
        for split, index in data.items()
    }
    frozen = record.key.init == "random" and record.plan.layers
    return record.model_copy(
        update={
            "init": record.init.model_copy(update={"parts": ("encoder",)}),
            "task": SEGMENTATION.declares,
            "scores": {"val": dict(measured.scores)},
            "details": {"val": measured.details},
            "data": splits,
            "flags": (FROZEN_RANDOM,) if frozen else (),
        }
    )
