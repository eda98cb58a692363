"""Fuzz campaign on the readers of weight files.

Seeds are honest and hostile files of every format, made on the spot; each must read equal to what
its own framework reads. Mutants change bytes, numbers, structure (pickle opcodes, JSON headers,
zip entries) and the seams between two files. For every mutant, opening it and reading all its
tensors must end in values or in ``CheckpointError``, within bounds of memory and time, and without
running anything or opening a file elsewhere: an audit hook watches for it, and payloads in the
hostile seeds write a trace.

    python benchmarks/fuzz_checkpoints.py --mutants 20000 --out OUT.json
"""

import argparse
import collections
import datetime
import importlib.metadata
import io
import json
import os
import pathlib
import pickle
import platform
import resource
import sys
import tempfile
import time
import traceback
import zipfile

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
import torch.distributed.checkpoint
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import frostline.checkpoints.recognise  # noqa: F401  (before imports are watched)
from frostline.checkpoints import open_checkpoint
from frostline.checkpoints.reasons import REASONS
from frostline.errors import CheckpointError, UnsafeCheckpointError

EXTRA_MEMORY = 1 << 30  # bytes of address space above what the campaign itself has
SLOW = 20.0  # seconds of processor time for one mutant
# Where an error comes from once a container's magic and directory have been accepted.
INNER = {
    "make_tensor", "collect_tensors", "find_section", "_tensor", "_check_cover", "read", "reduce",
    "build", "persistent", "_legacy_storage", "_place_storages", "_from_numpy", "_span",
    "_open_shards", "_damaged", "_unpack",
}  # fmt: skip
WATCHED = (
    "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "subprocess.Popen", "exec",
    "compile", "ctypes.dlopen", "socket.connect", "os.remove", "os.rename", "os.mkdir",
    "pickle.find_class", "marshal.loads", "code.__new__", "shutil.rmtree", "import",
)  # fmt: skip


# Seeds


def tensors() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    base = torch.randn(4, 3, 3, 3, generator=g)
    return {
        "backbone.conv1.weight": base,
        "backbone.view": base[1:, :, 1],
        "backbone.last": torch.randn(2, 3, 2, 2, generator=g).to(memory_format=torch.channels_last),
        "backbone.bn1.running_mean": torch.randn(4, generator=g, dtype=torch.float64),
        "half": torch.randn(5, generator=g).half(),
        "brain": torch.randn(5, generator=g).bfloat16(),
        "count": torch.tensor(7),
    }


def net() -> torch.nn.Module:
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
    return torch.nn.Sequential(conv, norm, torch.nn.Sequential(torch.nn.Linear(3, 2)))


def saved(value: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "stem.conv1.weight": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "fortran": np.asfortranarray(rng.standard_normal((3, 5))),
        "big": np.arange(600, dtype=">f4"),
        "scalar": np.array(3.5),
    }


def npz(compressed: bool) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays())
    return buffer.getvalue()


def deflated(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return buffer.getvalue()


class Payload:
    """Leaves a trace if it is ever run."""

    def __init__(self, function: object, *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.function, self.args


def honest_seeds() -> dict[str, tuple[bytes, dict[str, np.ndarray]]]:
    """Name -> (file, what its own framework reads from it)."""
    plain = tensors()
    dense = {k: v.contiguous().clone() for k, v in plain.items()}
    module = net()
    hub = {
        "meta": {"epoch": 1, "seed": np.int64(3), "classes": ("wheat",)},
        "message_hub": {"loss": np.float32(2), "history": np.arange(3.0)},
        "state_dict": collections.OrderedDict(plain),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}},
    }
    ultra = {"model": module, "ema": None, "date": datetime.datetime(2026, 1, 2), "epoch": -1}
    old = {"_use_new_zipfile_serialization": False}

    def read(data: bytes, *path: str) -> dict[str, np.ndarray]:
        value = torch.load(io.BytesIO(data), weights_only=False)
        for key in path:
            value = value[key]
        value = value.state_dict() if isinstance(value, torch.nn.Module) else value
        return {
            k: (v.float() if v.dtype == torch.bfloat16 else v).numpy() for k, v in value.items()
        }

    files = {
        "zip": (saved(plain), ()),
        "zip nested": (saved({"model": plain, "epoch": 1}), ("model",)),
        "zip mmengine": (saved(hub), ("state_dict",)),
        "zip module": (saved(ultra), ("model",)),
        "zip protocol 4": (saved(plain, pickle_protocol=4), ()),
        "zip deflated": (deflated(saved(plain)), ()),
        "legacy": (saved(plain, **old), ()),
        "legacy nested": (saved({"state_dict": plain, "epoch": 1}, **old), ("state_dict",)),
        "legacy module": (saved(ultra, **old), ("model",)),
    }
    seeds = {name: (data, read(data, *path)) for name, (data, path) in files.items()}
    seeds["script"] = script(), {k: v.numpy() for k, v in net().state_dict().items()}
    st_file = safetensors.torch.save(dense, metadata={"format": "pt"})
    st_ours = safetensors.torch.load(st_file)
    seeds["safetensors"] = (
        st_file,
        {k: (v.float() if v.dtype == torch.bfloat16 else v).numpy() for k, v in st_ours.items()},
    )
    seeds["safetensors numpy"] = (safetensors.numpy.save(arrays()), arrays_of(arrays()))
    for protocol in (2, 4, 5):
        data = pickle.dumps({"model": arrays(), "__author__": "x"}, protocol)
        seeds[f"pickle {protocol}"] = (data, pickle.loads(data)["model"])
    for compressed in (False, True):
        data = npz(compressed)
        with np.load(io.BytesIO(data)) as file:
            seeds[f"npz{' compressed' * compressed}"] = (data, dict(file))
    return seeds


def placeholder(*args: object) -> None:
    """What ``Asked`` pickles a call of, until another name is put in its place."""


class Asked:
    """Pickles as a call of ``placeholder``."""

    def __init__(self, *args: object) -> None:
        self.args = args

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return placeholder, self.args


def calls() -> dict[str, tuple[object, ...]]:
    """Arguments of the calls that look at theirs; all others get a number."""
    tensor, array, layer = torch.ones(2), np.ones(2, np.float32), torch.nn.Linear
    hooks: collections.OrderedDict[str, object] = collections.OrderedDict()
    stored = (tensor._typed_storage(), 0, (2,), (1,))
    elsewhere = (array, torch.float32, "xla:0", False)
    given: dict[str, tuple[object, ...]] = {
        "torch._utils._rebuild_tensor": stored,
        "torch._utils._rebuild_tensor_v2": (*stored, False, hooks, {"neg": True}),
        "torch._utils._rebuild_tensor_v3": (*stored, False, hooks, torch.float32),
        "torch._utils._rebuild_parameter": (tensor, True, hooks),
        "torch._utils._rebuild_parameter_with_state": (tensor, True, hooks, {}),
        "torch._utils._rebuild_device_tensor_from_numpy": elsewhere,
        "torch._utils._rebuild_device_tensor_from_cpu_tensor": (tensor, *elsewhere[1:]),
        "torch._utils._rebuild_xla_tensor": elsewhere,
        "torch._utils._rebuild_mlc_tensor": elsewhere,
        "torch._utils._rebuild_wrapper_subclass": (layer, torch.float32, (2,), (1,), 0),
        "torch._tensor._rebuild_from_type_v2": (
            torch._utils._rebuild_tensor_v2, torch.Tensor, (*stored, False, hooks), {},
        ),
        "torch.Size": ((1, 2),),
        "torch.jit._pickle.restore_type_tag": ([1], "List[int]"),
        "numpy.dtype": ("f4", False, True),
        "_codecs.encode": ("x", "latin1"),
        "collections.Counter": ({"a": 1},),
        "collections.defaultdict": (dict,),
    }  # fmt: skip
    for name in REASONS:
        last = name.rpartition(".")[2]
        if last in {"list", "tuple", "set", "frozenset", "deque"} or last.startswith("build_"):
            given[name] = ([1],)
        elif last == "OrderedDict":
            given[name] = ([["a", 1]],)
        elif last == "getattr":
            given[name] = (layer, "forward")
        elif last in {"_reconstructor", "__newobj__"}:
            given[name] = (layer, object, None)
        elif last == "_frombuffer":
            given[name] = (b"1234", np.dtype("f4"), (1,), "C")
    return given


def call_seeds() -> dict[str, bytes]:
    """For every call that a file may ask for a file that asks for it, beside a tensor ``a``."""
    given = calls()
    own = f"c{placeholder.__module__}\nplaceholder\n".encode()
    seeds = {}
    for name in REASONS:
        # The tensor comes first: a value that is no tensor must not hide it.
        asked = {"a": torch.ones(3), "b": Asked(*given.get(name, (1,)))}
        module, _, last = name.rpartition(".")
        if last == "_load_from_bytes":  # in plain pickles alone
            seeds[f"call {name}"] = pickle.dumps({"a": torch.ones(3)}, 2)
            continue
        if name == "zoneinfo.ZoneInfo._unpickle":
            module, last = "zoneinfo", "ZoneInfo._unpickle"
        seeds[f"call {name}"] = renamed(saved(asked), own, f"c{module}\n{last}\n".encode())
    return seeds


def renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    """A zip archive with some bytes of its pickle changed for others."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(buffer, "w") as after:
        for entry in before.namelist():
            content = before.read(entry)
            if entry.endswith("data.pkl"):
                assert content.count(old) == 1
                content = content.replace(old, new)
            after.writestr(entry, content)
    return buffer.getvalue()


def script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(net()), buffer)
    return buffer.getvalue()


FOLDERS = {"dcp metadata": ".metadata", "dcp pieces": "__0_0.distcp"}


def folder_seeds(folder: pathlib.Path) -> dict[str, bytes]:
    """Folders of torch.distributed.checkpoint, and the file in each that mutants replace."""
    seeds = {}
    for name, file in FOLDERS.items():
        torch.distributed.checkpoint.save({"model": tensors()}, checkpoint_id=str(folder / name))
        seeds[name] = (folder / name / file).read_bytes()
        checkpoint = open_checkpoint(folder / name)
        assert set(checkpoint) == set(tensors())
        for key, value in tensors().items():
            plain = value.float() if value.dtype == torch.bfloat16 else value
            assert np.array_equal(checkpoint[key].read(), plain.numpy()), (name, key)
    return seeds


def place(folder: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path]:
    """The file that a mutant is written to, and what is opened."""
    if name in FOLDERS:
        return folder / name / FOLDERS[name], folder / name
    path = index_path(folder) if name == "index" else folder / "mutant"
    return path, path


def arrays_of(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return safetensors.numpy.load(safetensors.numpy.save(values))


def hostile_seeds(trace: pathlib.Path) -> dict[str, bytes]:
    """Files whose payload runs when pickle.load meets them: none may run, before or after."""
    touch = Payload(pathlib.Path.touch, trace)
    system = Payload(os.system, f"touch {trace}")
    python = Payload(exec, f"open({str(trace)!r}, 'w')")
    old = {"_use_new_zipfile_serialization": False}
    return {
        "evil zip": saved({"model": tensors(), "x": touch}),
        "evil zip first": saved({"x": system, "model": tensors()}),
        "evil legacy": saved({"model": tensors(), "x": python}, **old),
        "evil pickle": pickle.dumps({"model": arrays(), "x": system}, 2),
        "evil pickle 5": pickle.dumps({"x": touch, "model": arrays()}, 5),
    }


SHARD = "model-00001-of-00001.safetensors"


def index_seed() -> tuple[bytes, bytes]:
    """The index of a sharded model, and its one shard."""
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(arrays(), SHARD)}
    return json.dumps(index).encode(), safetensors.numpy.save(arrays())


def index_path(folder: pathlib.Path) -> pathlib.Path:
    return folder / "model.safetensors.index.json"


# Mutations


NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
)
OPCODES = bytes(range(128, 153)) + b"(.012BCFGIJKLMNPQRSTUVX]abcdeghijlopqrstu})"
SNIPPETS = (
    b"cos\nsystem\n(X\x01\x00\x00\x00atR", b"cbuiltins\nexec\n(X\x01\x00\x00\x00atR",
    b"(ios\nsystem\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"h\x00", b"q\x00", b"0", b"2",
    b"(l", b"}", b"]", b"K\xff", b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
    b"\x85", b"\x86", b"\x87", b"R", b"b", b"\x81", b"Q", b"PK\x01\x02", b"PK\x05\x06",
    b'"data_offsets":[0,0]', b'"shape":[]', b"-1", b"9999999999", b"[[[[[[", b"{}", b"null",
)  # fmt: skip


@st.composite
def mutants(draw: st.DrawFn, files: dict[str, bytes]) -> tuple[str, bytes]:
    """One to four changes of one seed; in half of the mutants inside an intact container."""
    # The calls are many and alike: a quarter of the mutants is for all of them.
    kinds = sorted(files)
    asked = [name for name in kinds if name.startswith("call ")]
    others = [name for name in kinds if not name.startswith("call ")]
    name = draw(st.sampled_from(asked if draw(st.integers(0, 3)) == 0 else others))
    data = files[name]
    if draw(st.booleans()):
        return name, changed(draw, data, files)
    if data.startswith(b"PK"):
        return name, changed_entry(draw, data, files)
    if name.startswith("safetensors"):
        length = int.from_bytes(data[:8], "little")
        header = changed(draw, data[8 : 8 + length], files)
        return name, len(header).to_bytes(8, "little") + header + data[8 + length :]
    return name, changed(draw, data, files)


def changed_entry(draw: st.DrawFn, data: bytes, files: dict[str, bytes]) -> bytes:
    """A zip archive with one entry changed and its directory put right."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(buffer, "w") as new,
    ):
        names = old.namelist()
        pickles = [name for name in names if name.endswith("data.pkl")]
        target = draw(st.sampled_from(pickles * len(names) + names))
        for name in names:
            content = old.read(name)
            content = changed(draw, content, files) if name == target else content
            new.writestr(name, content, old.getinfo(name).compress_type)
    return buffer.getvalue()


def changed(  # noqa: C901  (one branch for each kind of change)
    draw: st.DrawFn, original: bytes, files: dict[str, bytes]
) -> bytes:
    """One to four changes of some bytes."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(places(len(data)))
        kind = draw(st.integers(0, 8))
        if kind == 0:
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == 1 and data:
            data[at % len(data)] ^= 1 << draw(st.integers(0, 7))
        elif kind == 2:
            width = draw(st.sampled_from((1, 2, 4, 8)))
            number = draw(st.sampled_from(NUMBERS)) & ((1 << 8 * width) - 1)
            data[at : at + width] = number.to_bytes(width, draw(st.sampled_from(("little", "big"))))
        elif kind == 3:
            data[at:at] = draw(st.sampled_from(SNIPPETS))
        elif kind == 4:
            data[at : at + 1] = bytes([draw(st.sampled_from(OPCODES))])
        elif kind == 5:
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == 6:
            end = at + draw(st.integers(1, 200))
            data[at:at] = data[at:end] * draw(st.sampled_from((1, 2, 50)))
        elif kind == 7:
            other = files[draw(st.sampled_from(sorted(files)))]
            start = draw(places(len(other)))
            data[at : at + 32] = other[start : start + draw(st.integers(1, 400))]
        elif draw(st.integers(0, 3)) == 0:
            del data[draw(places(len(data))) :]
    return bytes(data)


def places(length: int) -> st.SearchStrategy[int]:
    """Anywhere, the beginning and the end (headers, directories) more often."""
    last = max(0, length - 1)
    return st.one_of(
        st.integers(0, last),
        st.integers(0, min(last, 700)),
        st.integers(max(0, last - 1500), last),
    )


# One mutant


class Watch:
    """Counts what an audit hook sees while a mutant is being read."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.on = False
        self.folder = os.path.realpath(folder)
        self.seen: collections.Counter[str] = collections.Counter()
        self.outside: collections.Counter[str] = collections.Counter()
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if self.on and event.startswith(WATCHED):
            self.seen[f"{event} {str(args)[:60]}"] += 1
        if self.on and event == "open" and isinstance(args[1], str) and set(args[1]) & set("wxa+"):
            self.seen[f"open for writing {args[0]}"] += 1
        if self.on and event == "open" and isinstance(args[0], str | bytes):
            path = os.path.realpath(os.fsdecode(args[0]))
            if not path.startswith(f"{self.folder}/"):
                self.outside[path] += 1


def read_all(path: pathlib.Path) -> str:
    """What became of a file: ``read``, ``refused`` (unsafe), ``error``, and how far it got."""
    try:
        checkpoint = open_checkpoint(path)
        for tensor in checkpoint.values():
            tensor.read()
    except UnsafeCheckpointError:
        return "refused"
    except CheckpointError as error:
        return "error past header" if past_header(error) else "error in header"
    return "read"


def past_header(error: CheckpointError) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    if any(frame.name in INNER for frame in frames):
        return True
    if not any(frame.name == "load_pickle" for frame in frames):
        return any(frame.name == "_header" for frame in frames)  # an array inside an npz
    number = [word.strip(";") for word in str(error).split() if word.strip(";").isdigit()]
    return any(int(n) > 64 for n in number)  # some opcodes have been run


def check_seeds(folder: pathlib.Path, trace: pathlib.Path) -> tuple[dict[str, bytes], int]:
    """Honest seeds read equal to their framework; hostile ones are refused. All are returned."""
    path = folder / "seed"
    honest, hostile = honest_seeds(), hostile_seeds(trace)
    for name, (data, expected) in honest.items():
        path.write_bytes(data)
        checkpoint = open_checkpoint(path)
        assert set(checkpoint) == set(expected), name
        for key, value in expected.items():
            got = checkpoint[key].read()
            assert got.shape == value.shape, (name, key)
            assert np.array_equal(got, value), (name, key)
    for data in hostile.values():
        path.write_bytes(data)
        assert read_all(path) == "refused"
    index, shard = index_seed()
    (folder / SHARD).write_bytes(shard)
    index_path(folder).write_bytes(index)
    sharded = open_checkpoint(index_path(folder))
    assert set(sharded) == set(arrays())
    assert all(np.array_equal(sharded[key].read(), x) for key, x in arrays_of(arrays()).items())
    honest["index"] = index, {}
    asked = call_seeds()
    for data in asked.values():
        path.write_bytes(data)
        assert "a" in open_checkpoint(path)
    honest |= {name: (data, {}) for name, data in folder_seeds(folder).items()}
    assert not trace.exists()
    return {name: data for name, (data, _) in honest.items()} | asked | hostile, len(honest)


def peak() -> int:
    """Largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def limit_memory() -> None:
    """Let a mutant that takes too much fail with MemoryError, which counts as a crash."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    size = pages * os.sysconf("SC_PAGE_SIZE") + EXTRA_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def campaign(count: int, start: int, crashes: pathlib.Path) -> dict[str, object]:
    """Run it and say what happened."""
    with tempfile.TemporaryDirectory() as text:
        folder = pathlib.Path(text)
        trace = folder / "trace"
        files, honest = check_seeds(folder, trace)
        outcomes: collections.Counter[str] = collections.Counter()
        by_seed: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        worst = 0.0
        watch = Watch(folder)
        limit_memory()
        before = peak()

        @seed(start)
        @settings(
            max_examples=count, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(mutants(files))
        def one(mutant: tuple[str, bytes]) -> None:
            nonlocal worst
            name, data = mutant
            target, opened = place(folder, name)
            target.write_bytes(data)
            begin = time.process_time()
            watch.on = True
            try:
                outcome = read_all(opened)
            except BaseException as error:  # a crash: keep it, and go on
                watch.on = False
                outcome = f"CRASH {type(error).__name__}"
                crashes.mkdir(parents=True, exist_ok=True)
                (crashes / f"{name} {sum(outcomes.values())}".replace(" ", "_")).write_bytes(data)
                traceback.print_exc()
                if isinstance(error, KeyboardInterrupt):
                    raise
            finally:
                watch.on = False
            took = time.process_time() - begin
            worst = max(worst, took)
            if took > SLOW:
                outcome = "CRASH too slow"
                (crashes / f"slow_{sum(outcomes.values())}").write_bytes(data)
            outcomes[outcome] += 1
            by_seed[name][outcome] += 1

        one()
        total = sum(outcomes.values())
        past = total - outcomes["error in header"]
        return {
            "mutants": total,
            "outcomes": dict(sorted(outcomes.items())),
            "crashes": sum(n for name, n in outcomes.items() if name.startswith("CRASH")),
            "past_header": past / total,
            "payloads_executed": int(trace.exists()),
            "audit_events": dict(watch.seen),
            "opened_outside": dict(watch.outside),
            "seeds_equal_to_their_framework": honest,
            "calls_answered_without_being_made": len(REASONS),
            "hostile_seeds_refused": len(files) - honest - len(REASONS),
            "slowest_mutant_cpu_s": worst,
            "peak_memory_growth_mib": (peak() - before) / 2**20,
            "address_space_allowed_mib": EXTRA_MEMORY / 2**20,
            "by_seed": {name: dict(sorted(c.items())) for name, c in sorted(by_seed.items())},
        }


def environment() -> dict[str, str]:
    names = ("numpy", "torch", "safetensors", "hypothesis")
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        **{name: importlib.metadata.version(name) for name in names},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--crashes", type=pathlib.Path, default=pathlib.Path("fuzz-crashes"))
    args = parser.parse_args()
    begin = time.monotonic()
    result = campaign(args.mutants, args.seed, args.crashes)
    result |= {
        "seed": args.seed,
        "wall_s": time.monotonic() - begin,
        "command": f"fuzz_checkpoints.py --mutants {args.mutants} --seed {args.seed}",
        "environment": environment(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    bad = ("crashes", "payloads_executed", "audit_events", "opened_outside")
    if any(result[name] for name in bad):
        sys.exit(1)


if __name__ == "__main__":
    main()
