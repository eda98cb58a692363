"""Which tensors of two files are compared, and in which order."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from frostline.checkpoints import Alignment, Checkpoint, TensorPair, align, open_checkpoint
from frostline.checkpoints.architectures import Backbone, find_backbone
from frostline.checkpoints.messages import quoted
from frostline.depth import ConvLayer
from frostline.errors import AlignmentError, CheckpointError, ConfigError

__all__ = [
    "KINDS",
    "Files",
    "Kind",
    "Selected",
    "as_checkpoints",
    "distinct_names",
    "kind_of",
    "look_different",
    "match",
    "missing",
    "names_apart",
    "select",
]

Kind = Literal["conv", "linear", "norm", "all"]
KINDS: tuple[str, ...] = get_args(Kind)
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")
_MATRIX = 2  # dimensions of a linear layer's weight; a convolution has more
_SHOWN = 3


class Selected(NamedTuple):
    """One pair of tensors to compare, and its place in the network where that is known."""

    pair: TensorPair
    layer: ConvLayer | None  # of the convolution, or the one that a norm follows


class Files(NamedTuple):
    """Two opened files, matched."""

    before: Checkpoint
    after: Checkpoint
    alignment: Alignment
    backbone: Backbone | None


def as_checkpoints(
    sources: Sequence[str | Path | Checkpoint], section: str | None = None
) -> list[Checkpoint]:
    """Paths opened; opened files as they are.

    Raises:
        CheckpointError: a file cannot be read, or none of those opened here has the section.
    """
    files = [
        source if isinstance(source, Checkpoint) else open_checkpoint(source, section=section)
        for source in sources
    ]
    if section is not None and all(file.section != section for file in files):
        raise CheckpointError(
            f"expected a part named {quoted(section)} (--section), got none in "
            f"{', '.join(file.path.name for file in files)}"
        )
    return files


def distinct_names(files: Sequence[Checkpoint]) -> tuple[str, ...]:
    """File names, with as many of their folders as tell them apart.

    Trials keep their weights under one name: ``seed0/weights.safetensors``. What still is the same
    (a file given twice) is numbered.
    """
    parts = [file.path.resolve().parts for file in files]
    names = [file.path.name for file in files]
    for depth in range(2, max(map(len, parts))):
        if len(set(names)) == len(set(parts)):
            break
        names = ["/".join(part[-depth:]) for part in parts]
    seen: dict[str, int] = {}
    for n, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        names[n] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return tuple(names)


def match(
    before: Checkpoint,
    after: Checkpoint,
    *,
    renames: Iterable[tuple[str, str]] = (),
    model: str | None = None,
) -> Files:
    """Align two files and recognise the backbone of the first.

    Raises:
        AlignmentError: names are ambiguous, or the model asked for is not there.
    """
    alignment = align(before, after, renames=renames)
    return Files(before, after, alignment, _backbone(before, after, alignment, model))


def _backbone(
    before: Checkpoint, after: Checkpoint, alignment: Alignment, model: str | None
) -> Backbone | None:
    """The backbone of the first file, or of the second in the names of the first."""
    if model is not None and not _by_order(alignment):
        return find_backbone(before, model)
    found = find_backbone(before)
    if found is None and _by_order(alignment):  # names that nobody knows, but for one file
        found = _translated(find_backbone(after, model), alignment)
    return found if found is not None or model is None else find_backbone(before, model)


def _by_order(alignment: Alignment) -> bool:
    return any(pair.how == "order" for pair in alignment.pairs)


def _translated(backbone: Backbone | None, alignment: Alignment) -> Backbone | None:
    """A backbone of the second file, by the names that the first has for its modules."""
    if backbone is None:
        return None
    names = {
        pair.after.removesuffix(".weight"): pair.before.removesuffix(".weight")
        for pair in alignment.pairs
        if pair.after.endswith(".weight") and pair.before.endswith(".weight")
    }
    if not all(module in names for module in backbone.names.values()):
        return None
    return Backbone(backbone.table, {key: names[m] for key, m in backbone.names.items()})


def look_different(files: Files) -> bool:
    """Whether two files seem to hold different networks.

    That is where what has a counterpart of the same shape makes up less than half of the elements
    of the smaller file, and the convolutions of no known backbone are all among it.
    """
    before, after = files.before, files.after
    alike = {
        pair.before: before[pair.before].size
        for pair in files.alignment.pairs
        if before[pair.before].shape == after[pair.after].shape
    }
    smaller = min(sum(tensor.size for tensor in file.values()) for file in (before, after))
    if 2 * sum(alike.values()) >= smaller:
        return False
    backbone = files.backbone
    return backbone is None or not all(
        f"{backbone.names[layer.name]}.weight" in alike for layer in backbone.table.layers
    )


def names_apart(before: Checkpoint, after: Checkpoint) -> tuple[str, str]:
    """The names of two files; where they have the same name, their paths as given."""
    if before.path.name != after.path.name:
        return before.path.name, after.path.name
    return str(before.path), str(after.path)


def kind_of(tensors: Mapping[str, object], name: str, shape: Sequence[int]) -> str:
    """``conv``, ``linear``, ``norm``, or ``other`` (biases, counters) of a tensor.

    Args:
        tensors: all names of the file, with values that have a shape.
        name: the tensor.
        shape: its sizes.
    """
    if len(shape) > _MATRIX:
        # A class token or table of positions (1, N, C) is no convolution.
        return "other" if len(shape) == _MATRIX + 1 and shape[0] == 1 else "conv"
    if len(shape) == _MATRIX:
        return "linear"
    module, _, part = name.rpartition(".")
    weight = getattr(tensors.get(f"{module}.weight"), "shape", None)
    is_norm = part in _NORM_PARTS and len(shape) == 1 and weight == tuple(shape)
    return "norm" if is_norm else "other"


def select(
    files: Files, kind: Kind | None, include: Sequence[str], exclude: Sequence[str]
) -> tuple[tuple[Selected, ...], Kind]:
    """The pairs to compare in order, and the kind they are of.

    Forward order where the backbone is known (what lies outside of it follows in file order), else
    the order of the first file.

    Args:
        files: the matched files.
        kind: what to compare; None: convolutions, or everything where there are more than twice as
            many matrices (transformers).
        include: shell patterns, of which a name must fit one (if any are given).
        exclude: shell patterns, of which a name must fit none.

    Raises:
        AlignmentError: nothing is left to compare.
        ConfigError: an unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"expected a kind of {', '.join(KINDS)}, got {kind!r}")
    kinds = {
        pair.before: kind_of(files.before, pair.before, files.before[pair.before].shape)
        for pair in files.alignment.pairs
    }
    if kind is None:
        found = list(kinds.values())
        few = 2 * found.count("conv") < max(1, found.count("linear"))
        kind = "all" if few else "conv"
    pairs = [
        pair
        for pair in files.alignment.pairs
        if kind in {"all", kinds[pair.before]}
        and _wanted((pair.before, pair.after), include, exclude)
    ]
    if not pairs:
        raise AlignmentError(_nothing(files, kind))
    layers = _layer_of_tensor(files.backbone)
    chosen = [Selected(pair, layers.get(pair.before)) for pair in pairs]
    last = 1 + max((item.layer.index for item in chosen if item.layer), default=0)
    chosen.sort(key=lambda item: item.layer.index if item.layer else last)
    return tuple(chosen), kind


def missing(
    files: Files, kind: Kind, include: Sequence[str], exclude: Sequence[str]
) -> tuple[str, ...]:
    """Tensors of the first file that ``select`` would have chosen, had they a counterpart."""
    before = files.before
    return tuple(
        name
        for name in files.alignment.only_before
        if kind in {"all", kind_of(before, name, before[name].shape)}
        and _wanted((name,), include, exclude)
    )


def _wanted(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether one of the names fits; a text alone is one pattern, not as many as its letters."""
    if not include and not exclude:
        return True
    import fnmatch

    def fits(patterns: Sequence[str]) -> bool:
        every = [patterns] if isinstance(patterns, str) else patterns
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in every for name in names)

    return (not include or fits(include)) and not fits(exclude)


def _nothing(files: Files, kind: str) -> str:
    if files.alignment.pairs:
        advice = "check the patterns" if kind == "all" else "use --kind all, or check the patterns"
        return (
            f"expected tensors of kind {kind!r} that fit the patterns, got none of "
            f"{len(files.alignment.pairs)} matched; {advice}"
        )
    some = [", ".join(map(quoted, list(x)[:_SHOWN])) for x in (files.before, files.after)]
    return (
        f"expected tensors with a counterpart, got none: {files.before.path.name} has {some[0]}, "
        f"{files.after.path.name} has {some[1]}{_doubt(files.alignment.confidence)}; give their "
        "prefixes with --map old=new"
    )


def _doubt(confidence: float | None) -> str:
    if confidence is None:
        return ""
    return f" (order and shape do not tell either, confidence {confidence:.2f})"


def _layer_of_tensor(backbone: Backbone | None) -> dict[str, ConvLayer]:
    """Tensor name in the file -> the convolution it belongs to."""
    layers: dict[str, ConvLayer] = {}
    if backbone is None:
        return layers
    for layer in backbone.table.layers:
        for part in ("weight", "bias"):
            layers[f"{backbone.names[layer.name]}.{part}"] = layer
        if layer.norm is not None:
            for part in (*_NORM_PARTS, "num_batches_tracked"):
                layers[f"{backbone.names[layer.norm]}.{part}"] = layer
    return layers
