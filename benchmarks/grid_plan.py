"""What the grid runs: data sets, their splits, and the trials in the order in which they run."""

import csv
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "grid"

RATES = (1e-4, 3e-4, 1e-3)
COMMON_RATE = 3e-4
SGD_RATE = 0.02
DEPTHS = (0, 9, 18, 30, 39, 52)  # block ends of MobileNetV2
DEEPEST = DEPTHS[-1]
SEEDS = (0, 1, 2, 3, 4)
PAIR = (0, 1)  # seeds of references, controls and sensitivities
WEIGHTS = {
    "imagenet": "mobilenet_v2_imagenet.safetensors",
    "coco_then_person": "mobilenet_v2_coco_then_vocperson_ssdlite.safetensors",
    "coco_dequantised": "mobilenet_v2_coco_ssd_dequant.safetensors",
}
RANDOM = "random"

Json = dict[str, Any]


def _itself(name: str) -> str:
    return name


def _tile(name: str) -> str:
    return name.rsplit("_", 2)[0]


def _photo(name: str) -> str:
    return name.split("_12kv", maxsplit=1)[0]


def _minute(name: str) -> str:
    found = re.match(r"IMG_(\d{8}_\d{4})", name)
    return found.group(1) if found else name


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One data set of the grid.

    Attributes:
        sources: annotation files of the pool that training and selection images come from.
        scored: annotation files of the images that give the scores.
        group: file name -> source photo or scene; groups are never divided.
        grouping: the same in words.
        select: share of the pool that selects the learning rate.
        image_size: longest side, px.
        epochs: passes over the training images, meant to be so many that the last three
            evaluations lie within one AP point. On bccd 2 of 6 trials did with 12, some two thirds
            do with 18, which also score 2 to 3 points higher; on playing_cards 54 of 90 do, on
            wheat all.
        augment: training-time transforms.
        train_images: how many training images to take, about; None takes all.
        starts: names of ``WEIGHTS``.
        resplit: share of the pool that is scored, where the official split is too small.
        folder: folder of the data, where it is not the name.
        alike: whether the scored images are like the selection images. Else how far their scores
            lie apart says nothing of further images like the latter.
    """

    sources: tuple[str, ...]
    scored: tuple[str, ...]
    group: Callable[[str], str]
    grouping: str
    image_size: int
    epochs: int
    augment: Mapping[str, bool]
    select: float = 0.2
    train_images: int | None = None
    starts: tuple[str, ...] = ("imagenet", "coco_then_person")
    resplit: float | None = None
    folder: str | None = None
    alike: bool = True


FLIPS = {"flip": True, "colour": False, "scale_jitter": False}
ALL = {"flip": True, "colour": True, "scale_jitter": True}
THREE = ("imagenet", "coco_then_person", "coco_dequantised")

DATASETS: dict[str, DataSet] = {
    # Stage 1
    "bccd": DataSet(
        sources=("train.json",),
        scored=("val.json", "test.json"),
        group=_itself,
        grouping="none known: each image is its own group",
        image_size=256,
        epochs=18,
        augment=FLIPS,
        starts=THREE,
    ),
    "wheat29_tiles512": DataSet(
        sources=("train.json",),
        scored=("val.json",),
        group=_tile,
        grouping="by source photo of the tile",
        image_size=224,
        epochs=40,
        augment=ALL,
    ),
    "playing_cards": DataSet(
        sources=("train.json",),
        scored=("test.json",),
        group=_itself,
        grouping="none known: each image is its own group",
        image_size=256,
        epochs=16,
        augment=FLIPS,
        train_images=200,
        starts=THREE,
    ),
    # Stage 2
    "pear640": DataSet(
        sources=("train.json",),
        scored=("val.json", "test.json"),
        group=_photo,
        grouping="by source photo of the tile",
        image_size=320,
        epochs=12,
        augment=FLIPS,
        train_images=200,
    ),
    "microcontrollers": DataSet(
        sources=("train.json", "test.json"),
        scored=(),
        group=_minute,
        grouping="by the minute of the photo; the official test split has 7 images, so it is new",
        image_size=256,
        epochs=20,
        augment=FLIPS,
        resplit=0.3,
    ),
    "treecrowns_tiles": DataSet(
        sources=("train.json",),
        scored=("val.json",),
        group=_itself,
        grouping="none possible: all training tiles are of one aerial image",
        image_size=320,
        epochs=40,
        augment=ALL,
        alike=False,  # scored is another aerial image
    ),
}
for _count in (50, 100):
    for _name in ("bccd", "pear640"):
        DATASETS[f"{_name}_{_count}"] = dataclasses.replace(
            DATASETS[_name],
            folder=_name,
            train_images=_count,
            epochs=DATASETS[_name].epochs * 200 // _count,  # the same number of steps
            starts=("imagenet", "coco_then_person"),
        )


@dataclasses.dataclass(frozen=True)
class Arm:
    """One trial of the grid.

    Attributes:
        init: name of the start.
        depth: frozen convolutions.
        seed: of head, order and augmentation.
        optimizer: ``adamw`` or ``sgd``.
        lr: peak learning rate.
        boxes: ``true``, or ``shuffled`` between images: what optimisation moves without a task.
    """

    init: str
    depth: int
    seed: int
    optimizer: str
    lr: float
    boxes: str = "true"

    @property
    def slug(self) -> str:
        """Folder name of the trial."""
        rate = f"{self.lr:.0e}".replace("e-0", "e-")
        shuffled = "" if self.boxes == "true" else "-shuffled"
        return f"{self.init}-{self.optimizer}-{rate}{shuffled}-k{self.depth:02d}-s{self.seed}"

    @classmethod
    def of_row(cls, row: Mapping[str, str]) -> "Arm":
        """The arm of a committed row."""
        return cls(
            row["init"],
            int(row["depth"]),
            int(row["seed"]),
            row["optimizer"],
            float(row["lr"]),
            row["boxes"],
        )


def rows_of(name: str, table: str = "trials") -> list[dict[str, str]]:
    """Committed rows of one table of a data set."""
    return csv_rows(RESULTS / name / f"{table}.csv")


def csv_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table; none where there is no such file yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def failures_of(name: str) -> list[Arm]:
    """Trials whose loss was no number: they have no score, and would end so again."""
    return [Arm.of_row(row) for row in rows_of(name, "failures")]


def chosen_rates(name: str, rows: Sequence[Mapping[str, str]]) -> dict[str, float] | None:
    """Learning rate of each start by mean selection AP over k=0 and k=all at seed 0.

    None while a trial of the choice is missing. A collapsed trial counts with its AP, near 0, a
    diverged one with 0.
    """
    chosen, failures = {}, failures_of(name)
    for init in DATASETS[name].starts:
        means = rate_means(init, rows, failures)
        if len(means) < len(RATES):
            return None
        chosen[init] = max(means, key=lambda lr: means[lr])
    return chosen


def rate_means(
    init: str, rows: Iterable[Mapping[str, str]], failures: Iterable[Arm] = ()
) -> dict[float, float]:
    """Mean selection AP over k=0 and k=all at seed 0, of each rate that has both trials."""
    done = dict.fromkeys(failures, 0.0)
    done |= {Arm.of_row(row): float(row["select_ap"] or 0) for row in rows}
    means = {}
    for lr in RATES:
        pair = [Arm(init, depth, 0, "adamw", lr) for depth in (0, DEEPEST)]
        if all(arm in done for arm in pair):
            means[lr] = sum(done[arm] for arm in pair) / len(pair)
    return means


def rate_arms(name: str) -> list[Arm]:
    """The trials that choose the rates."""
    return [
        Arm(init, depth, 0, "adamw", lr)
        for init in DATASETS[name].starts
        for lr in RATES
        for depth in (0, DEEPEST)
    ]


def arms(name: str, rates: Mapping[str, float]) -> list[Arm]:
    """Every trial of a data set in running order, seed by seed: cut short, it has whole curves."""
    return list(dict.fromkeys([*rate_arms(name), *_after_rates(name, rates)]))


def cell_arms(name: str, rates: Mapping[str, float]) -> list[Arm]:
    """The grid itself: starts x depths x seeds at the chosen rates."""
    starts = DATASETS[name].starts
    return [Arm(i, k, s, "adamw", rates[i]) for s in SEEDS for i in starts for k in DEPTHS]


def _after_rates(name: str, rates: Mapping[str, float]) -> Iterator[Arm]:
    starts, cells = DATASETS[name].starts, cell_arms(name, rates)
    yield from (arm for arm in cells if arm.seed in PAIR)
    for seed in PAIR:
        yield from (Arm(init, 0, seed, "adamw", rates[init], "shuffled") for init in starts)
        yield from (Arm(init, 0, seed, "sgd", SGD_RATE) for init in starts)
        yield Arm(RANDOM, 0, seed, "adamw", COMMON_RATE)
    for seed in SEEDS:
        yield from (arm for arm in cells if arm.seed == seed)
        yield from (Arm(init, 0, seed, "adamw", COMMON_RATE) for init in starts)


# Splits: file names only


def split_file(name: str) -> Path:
    """Where the split of a data set is committed."""
    return RESULTS / "splits" / f"{name}.json"


def make_split(name: str) -> Json:
    """Divide the pool by whole groups, in an order fixed by their hashed names."""
    data = DATASETS[name]
    pool = _by_group(data, _names(name, data.sources))
    scored = _names(name, data.scored)
    total = sum(map(len, pool.values()))
    if data.resplit is not None:
        scored = _take(pool, data.resplit * total)
    rest = sum(map(len, pool.values()))
    wanted = data.train_images
    select = _take(pool, data.select * (rest if wanted is None else wanted / (1 - data.select)))
    train = _take(pool, rest if wanted is None else wanted)
    return {
        "grouping": data.grouping,
        "train": sorted(train),
        "select": sorted(select),
        "score": sorted(scored),
    }


def _by_group(data: DataSet, names: Sequence[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(data.group(name), []).append(name)
    order = sorted(groups, key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    return {group: groups[group] for group in order}


def _take(pool: dict[str, list[str]], count: float) -> list[str]:
    """Remove whole groups from the front until ``count`` images are taken."""
    taken: list[str] = []
    while pool and len(taken) < round(count):
        taken += pool.pop(next(iter(pool)))
    return taken


def _names(name: str, files: Sequence[str]) -> list[str]:
    return [image["file_name"] for file in files for image in _source(name, file)["images"]]


def data_folder(name: str) -> Path:
    """Folder of a data set's images and annotations."""
    return Path(os.environ["FROSTLINE_DATA"]) / (DATASETS[name].folder or name)


def _source(name: str, file: str) -> Json:
    result: Json = json.loads((data_folder(name) / file).read_bytes())
    return result


def write_annotations(name: str, folder: Path) -> None:
    """COCO files of the committed split, and one with the training boxes shuffled."""
    data, split = DATASETS[name], json.loads(split_file(name).read_bytes())
    sources = [_source(name, file) for file in dict.fromkeys((*data.sources, *data.scored))]
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "select", "score"):
        (folder / f"{part}.json").write_text(json.dumps(_subset(sources, split[part])))
    shuffled = shuffle_boxes(_subset(sources, split["train"]))
    (folder / "train_shuffled.json").write_text(json.dumps(shuffled))


def _subset(sources: Sequence[Json], names: Sequence[str]) -> Json:
    """The images of the given names, from several COCO files, numbered anew."""
    found: dict[str, tuple[Json, list[Json]]] = {}
    for source in sources:
        boxes: dict[int, list[Json]] = {}
        for box in source["annotations"]:
            boxes.setdefault(box["image_id"], []).append(box)
        for image in source["images"]:
            found[image["file_name"]] = image, boxes.get(image["id"], [])
    images, annotations = [], []
    for number, name in enumerate(names, start=1):
        image, boxes_of_image = found[name]
        images.append({**image, "id": number})
        annotations += [{**box, "image_id": number} for box in boxes_of_image]
    numbered = [{**box, "id": i} for i, box in enumerate(annotations, start=1)]
    categories = sources[0]["categories"]
    return {"images": images, "annotations": numbered, "categories": categories}


def shuffle_boxes(coco: Json) -> Json:
    """Every image gets the boxes of another: a cyclic shift in the order of hashed names.

    Boxes keep their size and place; what would stick out of a smaller image is cut off.
    """
    images = coco["images"]
    order = sorted(images, key=lambda x: hashlib.sha256(x["file_name"].encode()).hexdigest())
    receiver = {a["id"]: b for a, b in zip(order, [*order[1:], order[0]], strict=True)}
    moved = [_moved(box, receiver[box["image_id"]]) for box in coco["annotations"]]
    return {**coco, "annotations": [box for box in moved if min(box["bbox"][2:]) >= 1]}


def _moved(box: Json, image: Json) -> Json:
    x, y, width, height = box["bbox"]
    width, height = min(width, image["width"] - x), min(height, image["height"] - y)
    return {**box, "image_id": image["id"], "bbox": [x, y, width, height], "area": width * height}
