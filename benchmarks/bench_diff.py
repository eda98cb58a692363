"""``frostline diff`` against the limit of the machine, a naive script, and other tools.

Whole commands are timed, start-up included, as interleaved pairs (ours, other, ours, other ...) on
a warm page cache; the table gives medians of the ratio other / ours of elapsed and of processor
time, which hold on a shared machine too, and each side's peak resident memory. Losses (ratios
below 1) are in the table like wins.

    python benchmarks/bench_diff.py --files /tmp/bench --rounds 10 --out benchmarks/results/diff

Peers are looked for in the virtual environment named by ``--peers`` or by the variable
``FROSTLINE_BENCH_PEERS`` (pip install modeldelta mergelens diffai-python); without it they are left
out and the table says so. The 4 GB pair needs ``--large`` and 9 GB of disk.
"""

import argparse
import csv
import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import shutil
import statistics
import struct
import subprocess
import sys
import time

NAIVE = """
import sys, torch, torch.nn.functional as F
def load(path):
    import pathlib
    path = pathlib.Path(path)
    if path.is_dir() or path.suffix == ".safetensors":
        from safetensors.torch import load_file
        files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        return {k: v for f in files for k, v in load_file(f).items()}
    return torch.load(path, map_location="cpu", weights_only=True)
a, b = load(sys.argv[1]), load(sys.argv[2])
for name, u in a.items():
    v = b.get(name)
    if v is not None and u.shape == v.shape and u.is_floating_point():
        print(name, 1 - abs(F.cosine_similarity(u.flatten(), v.flatten(), dim=0).item()))
"""
DIFFAI = "import sys, diffai; print(diffai.diff_paths(sys.argv[1], sys.argv[2]))"
BOUND = 900  # seconds after which a peer is stopped; said in the table


def ours(a: pathlib.Path, b: pathlib.Path) -> list[str]:
    script = "import sys; from frostline.__main__ import main; sys.exit(main())"  # as pip makes it
    return [sys.executable, "-c", script, "diff", str(a), str(b), "--kind", "all",
            "--format", "json"]  # fmt: skip


def others(
    a: pathlib.Path, b: pathlib.Path, peers: pathlib.Path | None
) -> dict[str, list[str] | str]:
    """What to compare with: a command, or the reason why there is none."""
    files = [str(f) for p in (a, b) for f in (sorted(p.iterdir()) if p.is_dir() else [p])]
    found: dict[str, list[str] | str] = {
        "cat": ["cat", *files],
        "naive torch.load + F.cosine_similarity": [sys.executable, "-c", NAIVE, str(a), str(b)],
    }
    for peer in ("mergelens", "modeldelta", "diffai-python"):
        found[peer] = peer_command(peer, a, b, peers) if peers else "no --peers given"
    return found


def peer_command(
    peer: str, a: pathlib.Path, b: pathlib.Path, peers: pathlib.Path
) -> list[str] | str:
    if peer == "diffai-python":
        if a.is_dir():
            return "takes single files only"
        return [str(peers / "bin" / "python"), "-c", DIFFAI, str(a), str(b)]
    if a.suffix == ".pth":
        return "takes folders of safetensors only"
    folders = [p if p.is_dir() else p.with_suffix("") for p in (a, b)]
    for file, folder in zip((a, b), folders, strict=True):
        if not folder.exists():
            folder.mkdir()
            (folder / "model.safetensors").symlink_to(file)
    if peer == "mergelens":
        return [str(peers / "bin" / "mergelens"), "compare", *map(str, folders),
                "-m", "cosine_similarity", "--no-strategy"]  # fmt: skip
    return [str(peers / "bin" / "modeldelta"), *map(str, folders), "-q"]


# Files


def pairs_in(folder: pathlib.Path, large: bool) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
    """Name of each pair -> where its two files or folders are."""
    pairs = {
        f"{name}{suffix}": (folder / f"{name}_a{suffix}", folder / f"{name}_b{suffix}")
        for name in ("resnet50", "rcnn")
        for suffix in (".pth", ".safetensors")
    }
    if large:
        pairs["llm 2 x 4.3 GB bf16"] = (folder / "llm_a", folder / "llm_b")
    return pairs


def make_files(folder: pathlib.Path, large: bool) -> None:
    """Write seeded networks and the same after small seeded steps, where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("resnet50", "rcnn"):
        if not (folder / f"{name}_b.safetensors").exists():
            write_network(name, folder)
    for seed, path in enumerate((folder / "llm_a", folder / "llm_b")):
        if large and not (path / "model.safetensors.index.json").exists():
            write_shards(path, seed)


def write_network(name: str, folder: pathlib.Path) -> None:
    import torch
    import torchvision
    from safetensors.torch import save_file

    torch.manual_seed(0)
    if name == "resnet50":
        model = torchvision.models.resnet50()
    else:
        model = torchvision.models.detection.fasterrcnn_resnet50_fpn(
            weights=None, weights_backbone=None
        )
    before = {k: v.contiguous() for k, v in model.state_dict().items()}
    g = torch.Generator().manual_seed(1)
    after = {
        k: v * (1 + 1e-3 * torch.randn(v.shape, generator=g)) if v.is_floating_point() else v
        for k, v in before.items()
    }
    for side, tensors in (("a", before), ("b", after)):
        torch.save(tensors, folder / f"{name}_{side}.pth")
        save_file(tensors, folder / f"{name}_{side}.safetensors")


def write_shards(folder: pathlib.Path, seed: int) -> None:
    """A decoder of 2.15 billion bfloat16 parameters in four shards, a megabyte at a time."""
    folder.mkdir(exist_ok=True)
    width, layers = 3072, 16
    shapes = {"model.embed_tokens.weight": (128256, width)}
    for i in range(layers):
        p = f"model.layers.{i}"
        shapes |= {
            f"{p}.input_layernorm.weight": (width,),
            f"{p}.self_attn.q_proj.weight": (width, width),
            f"{p}.self_attn.k_proj.weight": (1024, width),
            f"{p}.self_attn.v_proj.weight": (1024, width),
            f"{p}.self_attn.o_proj.weight": (width, width),
            f"{p}.mlp.gate_proj.weight": (8704, width),
            f"{p}.mlp.up_proj.weight": (8704, width),
            f"{p}.mlp.down_proj.weight": (width, 8704),
            f"{p}.post_attention_layernorm.weight": (width,),
        }
    shapes["model.norm.weight"] = (width,)
    names, weight_map = list(shapes), {}
    per_shard = -(-len(names) // 4)
    for n in range(4):
        part = names[n * per_shard : (n + 1) * per_shard]
        file = f"model-0000{n + 1}-of-00004.safetensors"
        write_shard(folder / file, {name: shapes[name] for name in part}, seed)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_shard(path: pathlib.Path, shapes: dict[str, tuple[int, ...]], seed: int) -> None:
    import numpy as np

    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, shape in enumerate(shapes.values()):
            left, piece = math.prod(shape), 0
            while left:
                count = min(left, 1 << 20)
                rng = np.random.default_rng([number, piece])  # the same on both sides
                values = rng.standard_normal(count, dtype=np.float32) * np.float32(0.02)
                if seed:
                    step = np.random.default_rng([number, piece, seed])
                    values *= 1 + np.float32(0.02) * step.standard_normal(count, dtype=np.float32)
                file.write((values.view(np.uint32) >> 16).astype("<u2").tobytes())
                left, piece = left - count, piece + 1


# Timing


def timed(command: list[str]) -> dict[str, float]:
    """Elapsed and processor seconds and peak memory in MiB of one command."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    watchdog = subprocess.Popen(["sleep", str(BOUND)])
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if watchdog.poll() is not None:
            process.kill()
        time.sleep(0.001)
    elapsed = time.perf_counter() - begin
    watchdog.kill()
    watchdog.wait()
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "wall_s": elapsed,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,
        "exit": process.returncode,
    }


def compare(
    pair: str, label: str, mine: list[str], other: list[str], rounds: int
) -> list[dict[str, object]]:
    """Interleaved runs, the one that goes first changing; raw rows."""
    rows = []
    for number in range(rounds):
        order = [("frostline", mine), (label, other)]
        for tool, command in order if number % 2 == 0 else order[::-1]:
            row = {"pair": pair, "against": label, "round": number, "tool": tool, **timed(command)}
            rows.append(row)
            if row["exit"] != 0 and tool != "frostline":
                return rows  # it does not run at all; once is enough to say so
            if row["exit"] != 0:
                raise SystemExit(f"our own command failed: {' '.join(command)}")
    return rows


def summary(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Medians of each comparison."""
    lines = []
    keys = dict.fromkeys((row["pair"], row["against"]) for row in rows)
    for pair, against in keys:
        mine = [
            r for r in rows if (r["pair"], r["against"], r["tool"]) == (pair, against, "frostline")
        ]
        other = [
            r for r in rows if (r["pair"], r["against"], r["tool"]) == (pair, against, against)
        ]
        bad = [r for r in other if r["exit"] != 0]
        line: dict[str, object] = {"pair": pair, "against": against, "rounds": len(other)}
        if bad:
            line["note"] = f"does not run: exit {bad[0]['exit']} after {bad[0]['wall_s']:.1f} s"
            lines.append(line)
            continue
        for unit in ("wall_s", "cpu_s"):
            ratios = [o[unit] / m[unit] for m, o in zip(mine, other, strict=True)]
            line |= {
                f"{unit} ratio": statistics.median(ratios),
                f"{unit} ratio min": min(ratios),
                f"{unit} ratio max": max(ratios),
                f"ours {unit}": statistics.median(r[unit] for r in mine),
                f"other {unit}": statistics.median(r[unit] for r in other),
            }
        line["ours peak_mib"] = max(r["peak_mib"] for r in mine)
        line["other peak_mib"] = max(r["peak_mib"] for r in other)
        lines.append(line)
    return lines


def markdown(lines: list[dict[str, object]], left_out: list[tuple[str, str, str]]) -> str:
    """The table that people read."""
    text = [
        "| pair | against | other / ours, elapsed (min to max) | other / ours, processor | "
        "ours: s, MiB | other: s, MiB | rounds |",
        "|---|---|---|---|---|---|---|",
    ]
    for x in lines:
        if "note" in x:
            text.append(f"| {x['pair']} | {x['against']} | {x['note']} | | | | {x['rounds']} |")
            continue
        text.append(
            f"| {x['pair']} | {x['against']} | **{x['wall_s ratio']:.2f}** "
            f"({x['wall_s ratio min']:.2f} to {x['wall_s ratio max']:.2f}) | "
            f"{x['cpu_s ratio']:.2f} | "
            f"{x['ours wall_s']:.2f}, {x['ours peak_mib']:.0f} | "
            f"{x['other wall_s']:.2f}, {x['other peak_mib']:.0f} | {x['rounds']} |"
        )
    text += [f"| {pair} | {label} | not run: {why} | | | | 0 |" for pair, label, why in left_out]
    return "\n".join(text) + "\n"


def command_line(args: argparse.Namespace) -> str:
    """How this was run, without the paths of one machine."""
    words = ["python benchmarks/bench_diff.py --files DIR --rounds", str(args.rounds)]
    words += ["--large"] * args.large + ["--peers VENV"] * bool(args.peers)
    words += [f"--{key} {getattr(args, key)}" for key in ("only", "against") if getattr(args, key)]
    return " ".join(words)


def processor_name() -> str:
    """What the processor calls itself; ``unknown`` where /proc does not say."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else "unknown"


def environment(peers: pathlib.Path | None) -> dict[str, object]:
    versions = {n: importlib.metadata.version(n) for n in ("numpy", "torch", "safetensors")}
    if peers:
        code = (
            "import importlib.metadata as m\n"
            "for n in ('modeldelta', 'mergelens', 'diffai-python'): print(n, m.version(n))"
        )
        done = subprocess.run(
            [str(peers / "bin" / "python"), "-c", code], capture_output=True, text=True, check=False
        )
        versions |= dict(line.split() for line in done.stdout.splitlines())
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load_average_at_start": os.getloadavg()[0],
        "versions": versions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", help="a part of the names of the pairs to run")
    parser.add_argument(
        "--against", help="parts of the names of the tools to run, separated by commas"
    )
    parser.add_argument("--name", default="bench")
    parser.add_argument(
        "--peers", type=pathlib.Path, default=os.environ.get("FROSTLINE_BENCH_PEERS")
    )
    parser.add_argument("--make", action="store_true", help="only make the files")
    args = parser.parse_args()
    if args.make:
        make_files(args.files, args.large)
        return
    # In a process of its own: what this one holds would be counted in its children's peak memory.
    subprocess.run([sys.executable, *sys.argv, "--make"], check=True)
    peers = pathlib.Path(args.peers) if args.peers else None
    about = environment(peers) | {"command": command_line(args)}
    rows: list[dict[str, object]] = []
    left_out = []
    for pair, (a, b) in pairs_in(args.files, args.large).items():
        if args.only and args.only not in pair:
            continue
        for warm in (ours(a, b), others(a, b, None)["cat"]):
            subprocess.run(warm, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        for label, command in others(a, b, peers).items():
            if args.against and not any(part in label for part in args.against.split(",")):
                continue
            if isinstance(command, str):
                left_out.append((pair, label, command))
                continue
            rows += compare(pair, label, ours(a, b), command, args.rounds)
            print(markdown(summary(rows[-2 * args.rounds :]), []).splitlines()[-1], flush=True)
    lines = summary(rows)
    table = markdown(lines, left_out)
    print(table)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        with (args.out / f"{args.name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        content = {"environment": about, "lines": lines, "left_out": left_out}
        (args.out / f"{args.name}.json").write_text(json.dumps(content, indent=1) + "\n")
        (args.out / f"{args.name}.md").write_text(table)


if __name__ == "__main__":
    if shutil.which("cat") is None:
        raise SystemExit("this benchmark needs a system with cat")
    main()
