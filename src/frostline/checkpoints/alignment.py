"""Which tensor of one file is which tensor of another, without guessing.

In this order: names the user maps; names that known frameworks give to the same tensor; equal
names; names equal without wrapper prefixes; names equal but for a prefix that many tensors share
(as many as the rules before have paired, or what is left has no counterpart); and where all that
pairs less than half of the smaller file, order and shape (``by_order``), with a confidence.
All these must agree in shape. Equal names of different shape that are left over become a pair too
(a replaced head), which is not comparable.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Protocol

from frostline.checkpoints.messages import quoted
from frostline.checkpoints.names import strip_prefixes
from frostline.errors import AlignmentError

__all__ = ["Alignment", "TensorPair", "align"]

How = Literal["map", "same", "wrapper", "framework", "suffix", "order"]
_MAX_COMPARED = 4_000_000  # name pairs; 80 transformer layers of 9 tensors have 60,000
_SHOWN = 6


class HasShape(Protocol):
    """What alignment needs to know of a tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        ...


class TensorPair(NamedTuple):
    """One tensor in two files.

    Attributes:
        before: its name in the first file.
        after: its name in the second.
        how: what says that they are the same: ``map`` (the user), ``same`` (equal names),
            ``wrapper`` (equal but for a wrapper's prefix), ``framework`` (a known key map),
            ``suffix`` (equal but for a shared prefix) or ``order`` (no name says it: order and
            shape along the forward structure).
    """

    before: str
    after: str
    how: How


class Alignment(NamedTuple):
    """All pairs, in the order of the first file, and what has no counterpart.

    Attributes:
        pairs: what belongs together.
        only_before: names of the first file without counterpart.
        only_after: names of the second.
        confidence: of order and shape, from 0 to 1, where names did not suffice and it was tried;
            below 0.8 it has paired nothing. None where it was not needed.
    """

    pairs: tuple[TensorPair, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    confidence: float | None = None


def align(
    before: Mapping[str, HasShape],
    after: Mapping[str, HasShape],
    *,
    renames: Iterable[tuple[str, str]] = (),
) -> Alignment:
    """Pair the tensors of two files.

    Args:
        before: tensors by name.
        after: tensors by name.
        renames: (old, new): the tensor ``old``, or every tensor whose name begins with ``old``,
            is called ``new`` in the second file; wins over everything else.

    Raises:
        AlignmentError: a rename fits nothing, or a name could be either of several.

    Example:
        >>> from types import SimpleNamespace
        >>> w = SimpleNamespace(shape=(64, 3, 7, 7))
        >>> align({"module.conv1.weight": w}, {"conv1.weight": w}).pairs[0].how
        'wrapper'
    """
    matcher = _Matcher(before, after)
    for old, new in renames:
        matcher.rename(old, new)
    raw = {name: name for name in before}, {name: name for name in after}
    if before.keys() != after.keys():
        short = strip_prefixes(before), strip_prefixes(after)
        # Before equal names: MobileNetV2's authors call a BatchNorm features.1.conv.1, and
        # torchvision a convolution.
        neutral = _neutral(before, short[0]), _neutral(after, short[1])
        matcher.take(*neutral, "framework")
        for names in (*raw, *short):  # the same name for another thing
            _drop_contradictions(names, *neutral)
        matcher.take(*raw, "same")
        matcher.take(*short, "wrapper")
        matcher.by_prefix(*short)
        if matcher.confidence is None:
            matcher.by_order()
    matcher.take(*raw, "same", any_shape=True)
    return matcher.result()


def _neutral(tensors: Mapping[str, HasShape], short: dict[str, str]) -> dict[str, str]:
    from frostline.checkpoints.dialects import neutral_names  # two thirds of our files skip it

    shapes = {short[name]: tensor.shape for name, tensor in tensors.items()}
    neutral = neutral_names(shapes)
    return {name: neutral[s] for name, s in short.items() if s in neutral}


def _drop_contradictions(
    names: dict[str, str], before: dict[str, str], after: dict[str, str]
) -> None:
    """Leave out names that both files have and that known frameworks use for different things."""
    for name in before.keys() & after.keys():
        if before[name] != after[name]:
            names.pop(name, None)


class _Matcher:
    """Pairs found so far."""

    def __init__(self, before: Mapping[str, HasShape], after: Mapping[str, HasShape]) -> None:
        self.before, self.after = before, after
        self.found: dict[str, tuple[str, How]] = {}
        self.taken: set[str] = set()
        self.confidence: float | None = None

    @property
    def open(self) -> bool:
        """Whether both sides still have tensors without a counterpart."""
        return len(self.found) < len(self.before) and len(self.taken) < len(self.after)

    def left(self) -> tuple[list[str], list[str]]:
        """Names without a counterpart on each side."""
        return (
            [name for name in self.before if name not in self.found],
            [name for name in self.after if name not in self.taken],
        )

    def pair(self, old: str, new: str, how: How) -> None:
        """Settle one pair."""
        if how == "framework" and old == new:
            how = "same"
        self.found[old] = new, how
        self.taken.add(new)

    def rename(self, old: str, new: str) -> None:
        """Apply one rename, of a tensor or of a prefix."""
        start = old if not old or old.endswith(".") else f"{old}."
        pairs = {
            name: new + name[len(old) :]
            for name in self.before
            if name == old or name.startswith(start)
        }
        fitting = {name: other for name, other in pairs.items() if other in self.after}
        if not fitting:
            raise AlignmentError(
                f"map {old}={new} fits no tensor of both files: expected a name, or the beginning "
                "of names up to a dot, of the first file, and what takes its place in the second"
            )
        for name, other in fitting.items():
            if name not in self.found and other not in self.taken:
                self.pair(name, other, "map")

    def take(
        self,
        before: dict[str, str],
        after: dict[str, str],
        how: How,
        *,
        any_shape: bool = False,
    ) -> None:
        """Pair what has the same key on both sides, and the same shape unless ``any_shape``."""
        by_key = {key: name for name, key in after.items() if name not in self.taken}
        for name, key in before.items():
            other = by_key.get(key)
            if other is None or name in self.found:
                continue
            if any_shape or self.before[name].shape == self.after[other].shape:
                self.pair(name, other, how)

    def by_prefix(self, before: dict[str, str], after: dict[str, str]) -> None:
        """Pair what is equal but for a prefix, the most common prefix first.

        A prefix must explain as many tensors as are paired by their names, these included: where
        most names fit, what is left are heads of two kinds that happen to end alike, not another
        wrapper.
        """
        known = [
            _differing_prefixes(before.get(name, name), after.get(other, other))
            for name, (other, how) in self.found.items()
            if how != "map"
        ]
        while self.open:
            votes = {
                key: pairs
                for key, pairs in self._votes(before, after).items()
                if len(pairs) + known.count(key) >= len(known)
            }
            if not votes:
                return
            (old, new), pairs = max(votes.items(), key=lambda item: len(item[1]))
            rivals = self._rivals(votes, old, new)
            # Two whole copies are the user's to choose from: no order could tell them apart.
            copies = len(pairs) >= min(map(len, self.left()))
            if rivals and not copies and self.by_order():
                return
            if rivals:
                raise _several(pairs, rivals)
            for name, other in pairs:
                if name not in self.found and other not in self.taken:
                    self.pair(name, other, "suffix")

    def by_order(self) -> bool:
        """Pair by order and shape what names leave, where they pair less than half of a file.

        Returns:
            Whether that was sure enough.
        """
        sizes = [sum(math.prod(t.shape) for t in f.values()) for f in (self.before, self.after)]
        known = sum(math.prod(self.before[name].shape) for name in self.found)
        if 2 * known >= min(sizes) or not self.open:
            return False
        from frostline.checkpoints.by_order import pair_by_order

        names, others = self.left()
        pairs, self.confidence = pair_by_order(
            {name: self.before[name] for name in names},
            {other: self.after[other] for other in others},
        )
        for name, other in pairs:
            self.pair(name, other, "order")
        return bool(pairs)

    def _votes(
        self, before: dict[str, str], after: dict[str, str]
    ) -> dict[tuple[str, str], list[tuple[str, str]]]:
        """(prefix before, prefix after) -> the pairs of raw names that it explains."""
        tails: dict[tuple[str, tuple[int, ...]], list[str]] = {}
        names, others = self.left()
        names = [name for name in names if name in before]
        others = [other for other in others if other in after]
        for other in others:
            tails.setdefault((_tail(after[other]), self.after[other].shape), []).append(other)
        votes: dict[tuple[str, str], list[tuple[str, str]]] = {}
        compared = 0
        for name in names:
            candidates = tails.get((_tail(before[name]), self.before[name].shape), ())
            compared += len(candidates)
            if compared > _MAX_COMPARED:
                raise AlignmentError(
                    f"expected names that resemble each other, got {len(names)} against "
                    f"{len(others)} without a common scheme; give their prefixes with --map old=new"
                )
            for other in candidates:
                prefixes = _differing_prefixes(before[name], after[other])
                if prefixes is not None:
                    votes.setdefault(prefixes, []).append((name, other))
        return votes

    def _rivals(
        self, votes: dict[tuple[str, str], list[tuple[str, str]]], old: str, new: str
    ) -> list[tuple[str, str]]:
        """A pair of each prefix that explains as many tensors as the one chosen, and the same."""
        return [
            pairs[0]
            for key, pairs in votes.items()
            if len(pairs) == len(votes[old, new])
            and key != (old, new)
            and (key[0] == old or key[1] == new)
        ]

    def result(self) -> Alignment:
        pairs = tuple(
            TensorPair(name, *self.found[name]) for name in self.before if name in self.found
        )
        only_before, only_after = self.left()
        return Alignment(pairs, tuple(only_before), tuple(only_after), self.confidence)


def _several(best: list[tuple[str, str]], rivals: list[tuple[str, str]]) -> AlignmentError:
    options = " or ".join(f"{quoted(a)} = {quoted(b)}" for a, b in [best[0], *rivals][:_SHOWN])
    return AlignmentError(
        f"expected one counterpart for each tensor, got several: {options} "
        f"(and {len(best) - 1} more like it); choose with --map old=new"
    )


def _tail(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _differing_prefixes(a: str, b: str) -> tuple[str, str] | None:
    """What is left of both names without their longest common dotted end.

    None where a number is left over on both sides: then it is another block, not another wrapper.
    """
    x, y = a.split("."), b.split(".")
    common = 0
    while common < min(len(x), len(y)) and x[-1 - common] == y[-1 - common]:
        common += 1
    old, new = x[: len(x) - common], y[: len(y) - common]
    if old and new and any(part.isdigit() or part[-1:].isdigit() for part in (*old, *new)):
        return None
    return ".".join(old), ".".join(new)
