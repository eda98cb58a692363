"""Pairs by order and shape along the forward structure, where names tell nothing.

Two files of one network in unknown names have the same weights: as many of each shape, and those of
one shape in the same order. So the part of each file that holds the network is looked for (a
backbone within a detector is one), weights of one shape are paired in their order, projections
beside a block apart from its main path, norms likewise; biases and statistics follow their modules.

``confidence`` is the share of elements, of the larger of the two parts, whose shape occurs equally
often in both, times how well the order of the pairs in one file follows that in the other. It falls
where the networks differ (ResNet-50 and ResNet-101: 0.4) or a file is in no order, and below 0.8
nothing is paired.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

__all__ = ["ENOUGH", "ByOrder", "pair_by_order"]

ENOUGH: Final = 0.8  # confidence from which pairs are taken
_FEWEST: Final = 8  # weights with two or more dimensions: fewer prove nothing
_MOST_PARTS: Final = 24  # parts of a file that are tried
_IMAGE: Final = 3  # input channels of a first convolution; more or fewer look like groups
_SIDE: Final = re.compile(
    r"(?:^|[._])(?:short_?cut|down_?sample|skip|identity|residual|side|conv_proj|proj_conv)(?=[._\d]|$)"
)
_PARTS: Final = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class _HasShape(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


Tensors = Mapping[str, _HasShape]
_Key = tuple[tuple[int, ...], bool]  # shape, and whether it is of a projection


class ByOrder(NamedTuple):
    """Names of both files that belong together, and how sure that is, from 0 to 1."""

    pairs: tuple[tuple[str, str], ...]
    confidence: float


class _Part(NamedTuple):
    """The tensors below one prefix."""

    weights: tuple[str, ...]
    counts: Counter[_Key]
    elements: int


def pair_by_order(before: Tensors, after: Tensors) -> ByOrder:
    """Pair tensors by order and shape.

    Args:
        before: tensors by name, in file order (or sorted by name, as safetensors writes them).
        after: the same.

    Returns:
        The pairs and their confidence; no pairs where it is below ``ENOUGH``.
    """
    best = _best(_parts(before), _parts(after))
    if best is None:
        return ByOrder((), 0.0)
    left, right = best
    alike = _alike(left, right)
    share = alike / max(left.elements, right.elements)
    smaller = min(_part(_weights(file), file).elements for file in (before, after))
    if 2 * alike < smaller:  # a part that two networks share is not the network
        share = alike / smaller
    weights = _in_order(left, right, before, after)
    pairs = _with_modules(weights, before, after)
    pairs += _norms(left, right, dict(pairs), before, after)
    confidence = share * _agreement(weights, right)
    return ByOrder(tuple(pairs) if confidence >= ENOUGH else (), confidence)


def _weights(tensors: Tensors) -> list[str]:
    """Matrices and convolutions in forward order; no tokens and tables of positions (1, N, C)."""
    names = [
        name
        for name, tensor in tensors.items()
        if len(tensor.shape) > 1 and not (len(tensor.shape) == 3 and tensor.shape[0] == 1)  # noqa: PLR2004
    ]
    return sorted(names, key=_natural) if names == sorted(names) else names


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that puts ``layers.10`` behind ``layers.9``."""
    return [
        (0, int(piece), "") if piece.isdecimal() else (1, 0, piece)
        for piece in re.split(r"(\d{1,9})", name)
    ]


def _parts(tensors: Tensors) -> list[_Part]:
    """The whole file, and what is below a prefix and begins with an image, largest first."""
    below: defaultdict[str, list[str]] = defaultdict(list)
    for name in _weights(tensors):
        pieces = name.split(".")
        for depth in range(min(len(pieces), 6)):
            below[".".join(pieces[:depth])].append(name)
    whole = below.get("", [])
    images = {name for name in whole if tensors[name].shape[1:2] == (_IMAGE,)}
    found = [
        _part(names, tensors)
        for names in below.values()
        if len(names) >= _FEWEST and (names is whole or not images or images & set(names))
    ]
    return sorted(found, key=lambda part: -part.elements)[:_MOST_PARTS]


def _part(names: Sequence[str], tensors: Tensors) -> _Part:
    counts = Counter(_key(name, tensors) for name in names)
    return _Part(tuple(names), counts, sum(math.prod(tensors[name].shape) for name in names))


def _key(name: str, tensors: Tensors) -> _Key:
    return tensors[name].shape, _SIDE.search(name) is not None


def _shared(left: _Part, right: _Part) -> dict[_Key, _Key]:
    """Keys that occur equally often in both parts -> what the other part calls them.

    A word such as ``downsample`` tells a projection only where others have the same shape.
    """
    found: dict[_Key, _Key] = {}
    for key, count in left.counts.items():
        shape, side = key
        for other in (key, (shape, not side)):
            alone = (shape, not side) not in left.counts, (shape, not other[1]) not in right.counts
            if right.counts.get(other) == count and (other == key or all(alone)):
                found[key] = other
                break
    return found


def _alike(left: _Part, right: _Part) -> int:
    """Elements of the shapes that occur equally often in both parts."""
    return sum(left.counts[key] * math.prod(key[0]) for key in _shared(left, right))


def _best(lefts: Sequence[_Part], rights: Sequence[_Part]) -> tuple[_Part, _Part] | None:
    """Of the parts that agree well enough the largest, else those that agree best."""

    def rate(pair: tuple[_Part, _Part]) -> tuple[bool, float, float]:
        alike = _alike(*pair)
        share = alike / max(pair[0].elements, pair[1].elements)
        return share >= ENOUGH, alike if share >= ENOUGH else share, share

    pairs = [(a, b) for a in lefts for b in rights if a.elements and b.elements]
    return max(pairs, key=rate, default=None)


def _in_order(left: _Part, right: _Part, before: Tensors, after: Tensors) -> list[tuple[str, str]]:
    """The n-th weight of a shape with the n-th of the other part, in the order of the first."""
    others: defaultdict[_Key, list[str]] = defaultdict(list)
    for name in right.weights:
        others[_key(name, after)].append(name)
    waiting = {key: iter(others[other]) for key, other in _shared(left, right).items()}
    found = ((name, next(waiting.get(_key(name, before), iter(())), "")) for name in left.weights)
    return [(name, other) for name, other in found if other]


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _with_modules(
    weights: Iterable[tuple[str, str]], before: Tensors, after: Tensors
) -> list[tuple[str, str]]:
    """The weights, and what their modules have besides (biases)."""
    pairs: list[tuple[str, str]] = []
    for name, other in weights:
        pairs.append((name, other))
        ends = name.rpartition(".")[2], other.rpartition(".")[2]
        if ends == ("weight", "weight"):
            bias = f"{_module(name)}.bias", f"{_module(other)}.bias"
        else:  # in_proj_weight and in_proj_bias, qkv.weight and qkv.bias
            bias = name.replace("weight", "bias"), other.replace("weight", "bias")
        if bias != (name, other) and _fit(*bias, before, after):
            pairs.append(bias)
    return pairs


def _fit(name: str, other: str, before: Tensors, after: Tensors) -> bool:
    return name in before and other in after and before[name].shape == after[other].shape


def _norms(
    left: _Part, right: _Part, known: Mapping[str, str], before: Tensors, after: Tensors
) -> list[tuple[str, str]]:
    """Norms of the two parts by order and size, with all that their modules have."""
    pairs: list[tuple[str, str]] = []
    ours, theirs = _norm_modules(left, before), _norm_modules(right, after)
    for key, modules in ours.items():
        others = theirs.get(key, [])
        if len(modules) != len(others):
            continue
        for module, other in zip(modules, others, strict=True):
            for part in _PARTS:
                pair = f"{module}.{part}", f"{other}.{part}"
                if pair[0] not in known and _fit(*pair, before, after):
                    pairs.append(pair)
    return pairs


def _norm_modules(part: _Part, tensors: Tensors) -> dict[_Key, list[str]]:
    """Modules with a vector as their weight, below the part's prefix, by size."""
    prefix = _common(part.weights)
    names = [
        name
        for name, tensor in tensors.items()
        if name.endswith(".weight") and len(tensor.shape) == 1 and name.startswith(prefix)
    ]
    found: defaultdict[_Key, list[str]] = defaultdict(list)
    for name in sorted(names, key=_natural) if names == sorted(names) else names:
        found[_key(name, tensors)].append(_module(name))
    return found


def _common(names: Sequence[str]) -> str:
    """The dotted prefix that all names share, with its dot."""
    first, last = min(names).split("."), max(names).split(".")
    shared = 0
    while shared < min(len(first), len(last)) - 1 and first[shared] == last[shared]:
        shared += 1
    return "".join(f"{piece}." for piece in first[:shared])


def _agreement(pairs: Sequence[tuple[str, str]], right: _Part) -> float:
    """How well one order follows the other: 1 for the same, about 0 for a shuffled one.

    Neighbours may change places (sorted names do so within a block); what counts is how far pairs
    are from where they should be, as a share of all, of which a third is what chance gives.
    """
    place = {name: n for n, name in enumerate(right.weights)}
    there = sorted(range(len(pairs)), key=lambda n: place[pairs[n][1]])
    away = sum(abs(n - m) for m, n in enumerate(there))
    return max(0.0, 1 - 3 * away / max(1, len(pairs)) ** 2)
