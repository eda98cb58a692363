"""Fuzz campaign on the readers of data sets.

Seeds are a small data set in every layout, in the shapes that tools write, as a folder and as a zip
file; all are read in full first. Mutants change bytes, values of JSON, cells of csv, encodings,
the names of files and the files themselves, or read a file as another layout; some images, outlines
and texts are changed on their own. Every mutant must end in a data set or in ``DatasetError`` of
one line, within bounds of memory and time, without running anything and without opening a file
outside the folder of the set: an audit hook watches, and names and links that lead out are among
the changes.

    python benchmarks/fuzz_data.py --mutants 60000 --out benchmarks/results/fuzz/data.json
"""

import argparse
import collections
import contextlib
import copy
import datetime
import encodings
import importlib
import importlib.metadata
import io
import json
import os
import pathlib
import pkgutil
import platform
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import hotcoco  # noqa: F401 - imported late by what is watched
import numpy as np
from tests.datasets.convert import WRITERS, convert
from tests.datasets.samples import random_index
from tests.datasets.tools import NO_EMPTY

from frostline.datasets import LAYOUTS, check_dataset, find_dataset, read_dataset, read_splits
from frostline.datasets.decoding import decoded, decoded_xml
from frostline.datasets.grey_levels import find_grey_levels
from frostline.datasets.images import largest_level, load_image
from frostline.datasets.outlines import box_of, mask_of
from frostline.errors import DatasetError

EXTRA_MEMORY = 1 << 30  # bytes of address space above what the campaign itself has
SLOW = 20.0  # seconds of processor time for one mutant
WATCHED = (
    "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "subprocess.Popen", "exec",
    "compile", "ctypes.dlopen", "socket.connect", "os.remove", "os.rename", "os.mkdir",
    "pickle.find_class", "marshal.loads", "code.__new__", "shutil.rmtree", "import",
)  # fmt: skip
Mutant = tuple[str, Callable[[], None], Callable[[], None]]
"""Its kind, what reads it, and what puts things back."""

ONE_CLASS = ("kaggle", "gwhd2021")
TOKENS = (
    b"nan", b"-1", b"1e999", b"null", b"{}", b"[]", b'""', b"\0", b"\xff", b"9" * 400, b"../",
    b"/etc/passwd", b"true", b"\n", b",", b'"', b"<", b">", b"&a;", b"0x10", b"!!python/none",
    b"\xf0\x9f\x8c\xbe", b"inf", b"-0.0", b"=1+1", b"\\ud800", b"1e-320", b"'", b" ", b":", b";",
    b"<!DOCTYPE a [<!ENTITY a 'b'>]>", b"&#x41;", b"[" * 3000, b"<a>" * 100, b"\xc4\xe3",
    b"\x82\xa0",
    b"..\\..\\outside\\secret.png", b"../../outside/secret.png", b"link/secret.png", b"%2e%2e%2f",
    b"link.png", b"file:///etc/passwd", b"*a", b"&a [*a]", b"1" * 5000, b"\r", b"\t",
)  # fmt: skip
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, -1e308, float("nan"), float("inf"), 10**400, "", "x", "0",
    "1e9", [], {}, [[]], [None] * 3, {"a": 1}, "../../outside/secret.png", "/etc/passwd",
    "link.png",
    "link/secret.png", "a\0b", "\ud800", "\x1b[2J", "a" * 5000, [[1, 2, 3]], [1e9] * 8, [0] * 4,
    {"size": [64, 96], "counts": [6144]}, {"size": [10**9, 10**9], "counts": "o" * 50}, 2**63,
)  # fmt: skip
ENCODINGS = (
    "utf-16",
    "utf-8-sig",
    "gb18030",
    "cp932",
    "latin-1",
    "utf-32",
    "utf-7",
    "cp037",
    "big5",
)


class Watch:
    """Counts what an audit hook sees while a mutant is being read."""

    def __init__(self) -> None:
        self.root = ""  # "" while nothing is watched
        self.ran: collections.Counter[str] = collections.Counter()
        self.outside: collections.Counter[str] = collections.Counter()
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.root:
            return
        if event.startswith(WATCHED):
            self.ran[f"{event} {str(args)[:60]}"] += 1
        elif event == "open" and isinstance(args[0], str | bytes):
            path = os.path.realpath(os.fsdecode(args[0]))
            if not path.startswith(f"{self.root}/") and path != f"{self.root}.zip":
                self.outside[path] += 1
            if isinstance(args[1], str) and set(args[1]) & set("wxa+"):
                self.ran[f"open for writing {path}"] += 1


# --- seeds ---------------------------------------------------------------------------------------


class Seed:
    """One data set on disk, with the bytes of its annotation files and images."""

    def __init__(self, layout: str, top: pathlib.Path) -> None:
        self.layout, self.root = layout, top / layout / "set"
        classes = ("wheat_head",) if layout in ONE_CLASS else ("ear", "a leaf")
        empty = None if layout in NO_EMPTY else 1
        source = top / layout / "source"
        true = {
            "train": random_index(source, "t", 3, 1, classes, empty=empty),
            "val": random_index(source, "v", 2, 2, classes, empty=None),
        }
        self.splits = convert(true, layout, self.root)
        outside = top / layout / "outside"
        outside.mkdir()
        shutil.copy(source / "t0.png", outside / "secret.png")
        (self.root / "link").symlink_to(outside)
        (self.root / "link.png").symlink_to(outside / "secret.png")
        files = [p for p in self.root.rglob("*") if p.is_file() and not p.is_symlink()]
        inside = [p for p in files if "/link/" not in str(p)]
        self.files = {p.relative_to(self.root).as_posix(): p.read_bytes() for p in inside}
        self.told = sorted(name for name in self.files if not name.endswith(".png"))
        self.images = sorted(name for name in self.files if name.endswith(".png"))
        read = read_splits(self.root)
        for split, index in true.items():
            assert len(read[split]) == len(index), (layout, split)
            assert read[split].counts().boxes == index.counts().boxes, (layout, split)

    def put(self, changed: dict[str, bytes | None]) -> None:
        """Write files, or remove those that are None."""
        for name, data in changed.items():
            path = self.root / name
            if data is None:
                path.unlink(missing_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def restore(self, changed: dict[str, bytes | None]) -> None:
        self.put({name: self.files.get(name) for name in changed})

    def packed(self, changed: dict[str, bytes | None]) -> pathlib.Path:
        """The set as a zip file beside the folder."""
        path = pathlib.Path(f"{self.root}.zip")
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {**self.files, **changed}.items():
                if data is not None:
                    archive.writestr(name, data)
        return path


# --- mutations -----------------------------------------------------------------------------------


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One to four places overwritten, cut out, doubled, or replaced by something nasty."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice([0, 1, 2, 5, 20, 200]))
        middle = rng.choice([b"", rng.choice(TOKENS), data[start:end] * 2, rng.randbytes(3)])
        data = data[:start] + middle + data[end:]
    return data[: rng.randrange(len(data) + 1)] if rng.random() < 0.05 else data


def json_changed(data: bytes, rng: random.Random) -> bytes:
    """One to three values, keys or elements of a JSON text changed; it stays JSON."""
    value = copy.deepcopy(json.loads(data))
    for _ in range(rng.randint(1, 3)):
        holders: list[Any] = []
        _collect(value, holders)
        holder = rng.choice(holders) if holders else None
        if not holder:
            return json.dumps(rng.choice(NASTY)).encode()
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        kind = rng.randrange(4)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice(["x", "", "bbox", "regions", str(key).upper()])] = holder.pop(key)
        elif kind == 2 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[key] = copy.deepcopy(rng.choice(NASTY))
    return json.dumps(value, indent=rng.choice([None, 1])).encode("utf-8", "surrogatepass")


def _collect(value: Any, found: list[Any]) -> None:
    if isinstance(value, dict | list) and value:
        found.append(value)
        for child in value.values() if isinstance(value, dict) else value:
            _collect(child, found)


def cells_changed(data: bytes, rng: random.Random) -> bytes:
    """Fields of a line of text changed, moved, doubled or left out."""
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        mark = rng.choice([",", " ", ";", "\t"])
        cells = lines[at].split(mark)
        n = rng.randrange(len(cells))
        kind = rng.randrange(4)
        if kind == 0:
            cells[n] = rng.choice(TOKENS).decode("utf-8", "replace")
        elif kind == 1:
            cells.insert(n, cells[rng.randrange(len(cells))])
        elif kind == 2:
            del cells[n]
        else:
            rng.shuffle(cells)
        lines[at] = mark.join(cells)
    return "\n".join(lines).encode("utf-8", "replace")


def encoded(data: bytes, rng: random.Random) -> bytes:
    """The text in another encoding, with letters that are not ASCII."""
    text = data.decode("utf-8", "replace").replace(
        "ear", rng.choice(["小麦", "りんご", "Ähre", "ear"])
    )
    if rng.random() < 0.3:
        text = text.replace("\n", "\r\n")
    if rng.random() < 0.3:
        name = rng.choice(["gbk", "Shift_JIS", "latin-1", "utf-8", "utf-16", "zlib", "x" * 30])
        text = f'<?xml version="1.0" encoding="{name}"?>{text.partition("?>")[2] or text}'
    return text.encode(rng.choice(ENCODINGS), "replace")


def changes_of(  # noqa: PLR0911 - a kind of change each
    seed: Seed, rng: random.Random
) -> tuple[str, dict[str, bytes | None]]:
    """The kind of a mutation, and the files that it writes or removes."""
    name = rng.choice(seed.told)
    data = seed.files[name]
    kind = rng.choices(
        ["bytes", "values", "encoding", "names", "image", "swap"], [40, 35, 8, 7, 6, 4]
    )[0]
    if kind == "values" and name.endswith(".json"):
        return "json", {name: json_changed(data, rng)}
    if kind == "values":
        return "cells", {name: cells_changed(data, rng)}
    if kind == "encoding":
        changed = encoded(data, rng)
        return kind, {name: damaged(changed, rng) if rng.random() < 0.3 else changed}
    if kind == "names":
        other = rng.choice([
            f"{name.rpartition('/')[0]}/x.json", name.upper(), f"deep/{name}", f"{name}.gz",
            f"a\\b\\{name.rpartition('/')[2]}", "classes.txt", "data.yaml", f"._{name}",
        ]).lstrip("/")  # fmt: skip
        return kind, {name: None, other: data}
    if kind == "image":
        image = rng.choice(seed.images)
        return kind, {image: rng.choice([None, b"", damaged(seed.files[image], rng)])}
    if kind == "swap":
        return kind, {name: seed.files[rng.choice(list(seed.files))]}
    return "bytes", {name: damaged(data, rng)}


# --- one mutant ----------------------------------------------------------------------------------


def read_set(seed: Seed, root: pathlib.Path, rng: random.Random) -> None:
    """Read a changed set in one of the ways in which people do."""
    way = rng.random()
    if way < 0.3:
        json.dumps(check_dataset(find_dataset(root)).to_dict())
        return
    if way < 0.8:
        splits = read_splits(root, on_problem="drop" if way < 0.65 else "raise")
    else:
        file = root / rng.choice(list(seed.splits.values())).relative_to(seed.root)
        layout = rng.choice([seed.layout, "auto", rng.choice(list(LAYOUTS))])
        splits = {"one": read_dataset(root, file, layout=layout, on_problem="drop", split="train")}
    for index in splits.values():
        index.digest()
        json.dumps(index.to_dict())
        for finding in index.findings:
            assert str(finding).isprintable(), finding
    first = next(iter(splits.values()))
    first.load(first.images[0])
    if rng.random() < 0.05:
        find_grey_levels(splits.values())


def set_mutant(
    seed: Seed,
) -> Callable[[random.Random], Mutant]:
    def make(rng: random.Random) -> Mutant:
        kind, changed = changes_of(seed, rng)
        changed = {n: d for n, d in changed.items() if len(n.encode()) < 200 and "\0" not in n}
        seed.put(changed)
        state = rng.getrandbits(32)
        root = seed.packed(changed) if rng.random() < 0.15 else seed.root

        def read() -> None:
            read_set(seed, root, random.Random(state))

        return kind, read, lambda: seed.restore(changed)

    return make


def outline_mutant(rng: random.Random) -> Mutant:
    """Polygons and runs, changed or made up."""
    height, width = rng.choice([(64, 96), (1, 1), (3, 900)])
    polygon = [rng.uniform(-20, 120) for _ in range(2 * rng.randint(1, 9))]
    first = rng.randrange(height * width + 1)
    runs = {"size": [height, width], "counts": [first, height * width - first]}
    text = {"size": [height, width], "counts": rng.randbytes(rng.randrange(40)).decode("latin-1")}
    packed = {
        **text,
        "counts": "".join(chr(48 + rng.randrange(64)) for _ in range(rng.randrange(30))),
    }
    value: Any = rng.choice([[polygon], polygon, [polygon, polygon[:4]], runs, text, packed])
    if rng.random() < 0.6:
        value = json.loads(json_changed(json.dumps(value).encode(), rng))

    def read() -> None:
        box_of(value)
        assert mask_of(value, height, width).shape == (height, width)

    return "outline", read, lambda: None


def image_mutant(
    folder: pathlib.Path,
) -> Callable[[random.Random], Mutant]:
    """Images of every format, one of them of 16 bits, with EXIF."""
    from PIL import Image

    grey = Image.fromarray(np.arange(96 * 64, dtype=np.uint16).reshape(64, 96))
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {}
    for ending in ("png", "tif", "ppm", "jpg", "bmp", "webp", "gif"):
        image = grey if ending in ("tif", "ppm") else colour
        buffer = io.BytesIO()
        options = {"exif": exif} if ending in ("png", "jpg", "webp") else {}
        image.save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending), **options)
        files[ending] = buffer.getvalue()
    folder.mkdir()

    def make(rng: random.Random) -> Mutant:
        ending = rng.choice(list(files))
        (folder / f"a.{ending}").write_bytes(damaged(files[ending], rng))
        size, levels = rng.choice([None, (64, 96), (96, 64)]), rng.choice([None, 4096, 256])

        def read() -> None:
            load_image(folder, f"a.{ending}", size=size, grey_levels=levels)
            largest_level(folder, f"a.{ending}")

        return f"image {ending}", read, lambda: None

    return make


def text_mutant(rng: random.Random) -> Mutant:
    data = encoded(b"<?xml version='1.0'?><a>ear\n</a>" * rng.randint(1, 3), rng)
    data = damaged(data, rng) if rng.random() < 0.7 else data
    reader = rng.choice([decoded, decoded_xml])
    return "text", lambda: reader(data, "a.txt")[0].encode("utf-8") and None, lambda: None


# --- the campaign --------------------------------------------------------------------------------


def peak() -> int:
    """Largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def limit_memory() -> None:
    """Let a mutant that takes too much fail with MemoryError, which counts as a crash."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    size = pages * os.sysconf("SC_PAGE_SIZE") + EXTRA_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def campaign(count: int, start: int, crashes: pathlib.Path) -> dict[str, Any]:
    """Run it and say what happened."""
    with tempfile.TemporaryDirectory() as text:
        top = pathlib.Path(os.path.realpath(text), "a", "b", "c")
        top.mkdir(parents=True)
        seeds = {layout: Seed(layout, top) for layout in WRITERS}
        makers = {layout: (set_mutant(seed), str(seed.root)) for layout, seed in seeds.items()}
        makers["images alone"] = image_mutant(top / "images"), str(top / "images")
        makers["outlines alone"] = outline_mutant, str(top)
        makers["texts alone"] = text_mutant, str(top)
        for maker, _ in list(makers.values()) * 3:  # what is imported late is imported now
            _, read, undo = maker(random.Random(0))
            with contextlib.suppress(DatasetError):
                read()
            undo()
        for module in pkgutil.iter_modules(encodings.__path__):
            if module.name not in ("mbcs", "oem"):  # of Windows
                importlib.import_module(f"encodings.{module.name}")
        for seed in seeds.values():
            check_dataset(find_dataset(seed.root))
        return _run(makers, count, start, crashes)


def _run(makers: dict[str, Any], count: int, start: int, crashes: pathlib.Path) -> dict[str, Any]:
    outcomes: collections.Counter[str] = collections.Counter()
    by_layout: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    by_kind: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    names = list(makers)
    watch, worst = Watch(), 0.0
    limit_memory()
    before = peak()
    for number in range(start, start + count):
        if number % 5000 == 0:
            print(f"mutant {number}, {time.process_time():.0f} s", file=sys.stderr, flush=True)
        layout = names[number % len(names)]
        maker, root = makers[layout]
        kind, read, undo = maker(random.Random(number))
        begin = time.process_time()
        watch.root = root
        try:
            read()
            outcome = "read"
        except DatasetError as error:
            outcome = "refused" if str(error).isprintable() else "CRASH message of several lines"
        except BaseException as error:  # a crash: keep its number, and go on
            outcome = f"CRASH {type(error).__name__}"
            watch.root = ""
            traceback.print_exc()
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            watch.root = ""
        took = time.process_time() - begin
        worst = max(worst, took)
        outcome = "CRASH too slow" if took > SLOW else outcome
        if outcome.startswith("CRASH"):
            crashes.mkdir(parents=True, exist_ok=True)
            (crashes / f"{number}.txt").write_text(f"{layout} {kind} {outcome}\n")
            print(f"mutant {number}: {layout} {kind} {outcome}", file=sys.stderr, flush=True)
        undo()
        outcomes[outcome] += 1
        by_layout[layout][outcome] += 1
        by_kind[kind][outcome] += 1
    return {
        "mutants": sum(outcomes.values()),
        "outcomes": dict(sorted(outcomes.items())),
        "crashes": sum(n for name, n in outcomes.items() if name.startswith("CRASH")),
        "executed": dict(watch.ran),
        "opened_outside": dict(watch.outside),
        "slowest_mutant_cpu_s": worst,
        "peak_memory_growth_mib": (peak() - before) / 2**20,
        "address_space_allowed_mib": EXTRA_MEMORY / 2**20,
        "by_layout": {name: dict(sorted(c.items())) for name, c in sorted(by_layout.items())},
        "by_mutation": {name: dict(sorted(c.items())) for name, c in sorted(by_kind.items())},
    }


def environment() -> dict[str, str]:
    names = ("numpy", "pillow", "hotcoco", "pyyaml")
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        **{name: importlib.metadata.version(name) for name in names},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutants", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--crashes", type=pathlib.Path, default=pathlib.Path("fuzz-crashes"))
    args = parser.parse_args()
    begin = time.monotonic()
    result = campaign(args.mutants, args.seed, args.crashes)
    result |= {
        "seed": args.seed,
        "wall_s": time.monotonic() - begin,
        "cpu_s": time.process_time(),
        "command": f"fuzz_data.py --mutants {args.mutants} --seed {args.seed}",
        "environment": environment(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text + "\n")
    if result["crashes"] or result["executed"] or result["opened_outside"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
