"""Freeze plans: the full list of tensors that training must not change.

Models, audit, records and caches consume a plan, never a bare number of layers: two plans made in
different ways are the same experiment exactly when they name the same tensors.
"""

import dataclasses
import fnmatch
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

from frostline.depth import ConvLayer, LayerTable, Numbering, Unit
from frostline.errors import PlanError
from frostline.notebook import table_html
from frostline.passage import as_written

__all__ = [
    "BACKBONE_PREFIX",
    "PLAN_VERSION",
    "BatchNormPolicy",
    "FreezePlan",
    "PlanVersion",
    "same_plans",
]

BatchNormPolicy = Literal["frozen", "follow", "live"]
PlanVersion = Literal[1, 2]

PLAN_VERSION: PlanVersion = 2  # of new plans; a folder keeps the version that it began with

BACKBONE_PREFIX = "backbone.body."
_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


@dataclasses.dataclass(frozen=True, slots=True)
class FreezePlan:
    """Tensor names (parameters and buffers) that are not updated, and how the list was made.

    Attributes:
        label: one phrase for tables (``k=11``, ``layer1``, ``patterns``).
        tensors: state-dict names, sorted, without repetition.
        batch_norm: the BatchNorm policy that the list already includes.
        depth: k, where the plan was made from a depth; else None.
        numbering: the numbering of ``depth``.
        version: how a depth or a stage was read. 1: its convolutions and their BatchNorm. 2:
            everything that a forward pass uses up to the cut. The six backbones of torchvision
            have the same plans in both. It is no part of the digest.
        unit: what ``depth`` counts.
    """

    label: str
    tensors: tuple[str, ...]
    batch_norm: BatchNormPolicy
    depth: int | None = None
    numbering: Numbering = "all"
    version: PlanVersion = PLAN_VERSION
    unit: Unit = "convolution"

    def __post_init__(self) -> None:
        assert list(self.tensors) == sorted(set(self.tensors)), "sorted, without repetition"

    @classmethod
    def at_depth(
        cls,
        table: LayerTable,
        k: int,
        *,
        batch_norm: BatchNormPolicy = "frozen",
        numbering: Numbering = "all",
        prefix: str = BACKBONE_PREFIX,
        version: PlanVersion = PLAN_VERSION,
    ) -> "FreezePlan":
        """Freeze the first ``k`` layers, with all that a forward pass uses before the next one.

        Layers are convolutions, or blocks where the table's unit says so. The cut is just before
        layer k + 1 is entered: a layer norm that stands between is inside.

        Args:
            table: the backbone's layers in forward order.
            k: number of layers counted from the input, 0 to ``table.max_depth(numbering)``.
            batch_norm: ``frozen`` adds every BatchNorm of the backbone, ``follow`` those of the
                frozen convolutions and those before the cut, ``live`` none.
            numbering: how ``k`` counts.
            prefix: what stands before the backbone's names in the model's state dict; "" for a
                table that was observed on the whole model.
            version: of the plan, see ``FreezePlan``.

        Raises:
            PlanError: k is beyond the model or the numbering is not defined for it.
        """
        frozen = table.frozen_layers(k, numbering)
        used = table.used_at(k, numbering) if version > 1 else None
        tensors = _cut(table, frozen, used, batch_norm, prefix)
        label = f"k={k}" if numbering == "all" else f"k={k} ({numbering})"
        return cls(label, tensors, batch_norm, k, numbering, version, table.unit)

    @classmethod
    def at_stage(
        cls,
        table: LayerTable,
        stage: str,
        *,
        batch_norm: BatchNormPolicy = "frozen",
        prefix: str = BACKBONE_PREFIX,
        version: PlanVersion = PLAN_VERSION,
    ) -> "FreezePlan":
        """Freeze everything from the input up to and including ``stage``.

        The cut is where the stage's module returns: a layer norm behind it is outside.

        Args:
            table: the model's layers in forward order.
            stage: a stage of the table (``layer2``), or any module that a forward pass calls
                (``layer2.0``), by its full name or by the end of it, where that is one module's.
            batch_norm: see ``at_depth``.
            prefix: see ``at_depth``.
            version: see ``at_depth``.

        Raises:
            PlanError: there is no such stage or module, or there are several.
        """
        end = table.end_of(stage)
        used = table.used_until(stage) if version > 1 else None
        if used is None:
            plan = cls.at_depth(table, end, batch_norm=batch_norm, prefix=prefix, version=version)
            return dataclasses.replace(plan, label=stage)
        tensors = _cut(table, table.layers[:end], used, batch_norm, prefix)
        return cls(stage, tensors, batch_norm, end, "all", version, table.unit)

    @classmethod
    def matching(
        cls,
        names: Iterable[str],
        patterns: Sequence[str],
        *,
        batch_norm: BatchNormPolicy,
    ) -> "FreezePlan":
        """Freeze the tensors whose names match any shell-style pattern (``backbone.body.0.*``).

        Only what the patterns name: with policy ``frozen`` they must name every BatchNorm too.

        Raises:
            PlanError: a pattern matches nothing, which is a typing error more often than a wish.
        """
        known = sorted(set(names))
        hits = {p: [n for n in known if _matches(n, p)] for p in patterns}
        for pattern, found in hits.items():
            if not found:
                raise PlanError(f"pattern '{pattern}' matches none of {len(known)} tensor names")
        tensors = tuple(sorted({name for found in hits.values() for name in found}))
        return cls("patterns: " + " ".join(patterns), tensors, batch_norm)

    @classmethod
    def of_layers(
        cls,
        label: str,
        table: LayerTable,
        layers: Sequence[ConvLayer],
        *,
        batch_norm: BatchNormPolicy,
        prefix: str = BACKBONE_PREFIX,
        version: PlanVersion = PLAN_VERSION,
    ) -> "FreezePlan":
        """Freeze some layers of a table, which need not be the first ones.

        Args:
            label: of the plan.
            table: all layers.
            layers: those to freeze, with the tensors that go with them.
            batch_norm: see ``at_depth``; ``follow`` adds those of the frozen layers.
            prefix: see ``at_depth``.
            version: see ``at_depth``.
        """
        tensors = _cut(table, layers, None, batch_norm, prefix)
        return cls(label, tensors, batch_norm, None, "all", version, table.unit)

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a plan that ``write`` wrote, edited by hand or not.

        Raises:
            PlanError: the file is no plan, was made by a newer version, or its names are not those
                of its digest.
        """
        try:
            data = json.loads(Path(path).read_bytes())
        except (OSError, ValueError) as error:
            raise PlanError(f"cannot read plan {path}: {error}") from None
        return cls.from_dict(data, name=str(path))

    @classmethod
    def from_dict(cls, data: Any, *, name: str = "the plan") -> Self:
        """The plan of ``to_dict``, checked.

        Args:
            data: plain values.
            name: of the plan in messages.

        Raises:
            PlanError: see ``read``.
        """
        problem = _problem(data)
        if problem:
            raise PlanError(f"{name} is no freeze plan: {problem}")
        values = {key: data.get(key, _DEFAULTS.get(key)) for key in _CHOICES}
        plan = cls(data["label"], tuple(data["tensors"]), depth=data.get("depth"), **values)
        if data.get("digest") != plan.digest():
            raise PlanError(
                f"{name} was changed: expected digest {data.get('digest')}, its "
                f"{len(plan.tensors)} names and policy give {plan.digest()}; put it back, or write "
                "this digest if you meant the change"
            )
        return plan

    def write(self, path: Path | str) -> None:
        """Write as JSON, which ``read`` checks."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        Path(path).write_text(f"{text}\n", encoding="utf-8")

    def digest(self) -> str:
        """SHA-256 (hex) over the names and the policy: equal plans are equal experiments."""
        text = "\n".join((self.batch_norm, *self.tensors))
        return hashlib.sha256(text.encode()).hexdigest()

    def fitted_to(self, names: Collection[str]) -> "FreezePlan":
        """The plan in the names of another model, where that can be done in one way.

        A wrapper may have put a prefix before all names (``model.``, ``module.``),
        ``torch.compile`` may have put ``_orig_mod`` between, and a plan made for a detector's
        backbone may be meant for the bare network. Nothing is left out: either
        every tensor of the plan has its counterpart, or it is an error.

        Args:
            names: the model's state-dict names.

        Raises:
            PlanError: the model lacks tensors of the plan, or several prefixes fit.
        """
        if all(name in names for name in self.tensors):
            return self
        known = {as_written(name): name for name in names}
        own = tuple(map(as_written, self.tensors))
        fits = {}
        for bare in dict.fromkeys((own, tuple(map(_without_backbone, own)))):
            for prefix in sorted(_prefixes(bare[0], known)):
                tensors = tuple(prefix + name for name in bare)
                if all(name in known for name in tensors):
                    fits[tuple(known[name] for name in tensors)] = prefix
        if not fits:
            missing = [name for name in self.tensors if name not in names]
            raise PlanError(
                f"plan '{self.label}' names {len(missing)} tensors that the model does not have, "
                f"first '{missing[0]}'; was it made for this model and BatchNorm policy?"
            )
        if len(fits) > 1:
            shown = ", ".join(f"'{prefix}'" for prefix in fits.values())
            raise PlanError(
                f"plan '{self.label}' fits several parts of the model, expected one: prefixes "
                f"{shown}; make the plan with the full names of one of them"
            )
        return dataclasses.replace(self, tensors=tuple(sorted(next(iter(fits)))))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**dataclasses.asdict(self), "tensors": list(self.tensors), "digest": self.digest()}

    def _repr_html_(self) -> str:
        caption = f"freeze plan {self.label}, BatchNorm {self.batch_norm}"
        return table_html(caption, ("tensor",), ((name,) for name in self.tensors))

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)


def _problem(data: Any) -> str | None:
    """What keeps values from being a plan, in words; None if nothing does."""
    if not isinstance(data, Mapping):
        return f"expected an object, got {type(data).__name__}"
    tensors, depth = data.get("tensors"), data.get("depth")
    names = tensors if isinstance(tensors, list) else [None]
    named = all(isinstance(name, str) for name in names)
    checks = {
        "expected a text under 'label'": isinstance(data.get("label"), str),
        "expected a list of names under 'tensors'": named,
        "expected 'tensors' sorted and without repetition": not named
        or names == sorted(set(names)),
        "expected a whole number or null under 'depth'": depth is None or type(depth) is int,
    }
    problems = [text for text, good in checks.items() if not good] + list(_wrong_choices(data))
    return problems[0] if problems else None


def _wrong_choices(data: Mapping[str, Any]) -> Iterator[str]:
    for key, choices in _CHOICES.items():
        value = data.get(key, _DEFAULTS.get(key))
        if value not in choices:
            shown = ", ".join(map(str, choices))
            newer = "; is it from a newer frostline?" if key == "version" else ""
            yield f"expected one of {shown} under '{key}', got {value!r}{newer}"


_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "batch_norm": get_args(BatchNormPolicy),
    "numbering": get_args(Numbering),
    "version": get_args(PlanVersion),
    "unit": get_args(Unit),
}
# Of plans from before these were written down.
_DEFAULTS: Mapping[str, Any] = {"numbering": "all", "version": 1, "unit": "convolution"}


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(as_written(name), pattern)


def _without_backbone(name: str) -> str:
    return name.removeprefix(BACKBONE_PREFIX)


def _prefixes(name: str, names: Collection[str]) -> set[str]:
    """What stands before ``name`` in names that end with it, whole modules only."""
    ending = f".{name}"
    return {other.removesuffix(name) for other in names if f".{other}".endswith(ending)}


def _cut(
    table: LayerTable,
    frozen: Sequence[ConvLayer],
    used: frozenset[str] | None,
    batch_norm: BatchNormPolicy,
    prefix: str,
) -> tuple[str, ...]:
    """Sorted names of what a cut freezes.

    Args:
        table: all layers.
        frozen: the layers before the cut.
        used: the tensors before the cut; None where they are those of the layers.
        batch_norm: the policy.
        prefix: what stands before the table's names in the state dict.
    """
    tracked = batch_norm != "frozen"  # FrozenBatchNorm2d counts no batches

    def norms(layers: Sequence[ConvLayer]) -> set[str]:
        return {name for layer in layers for name in _norm_tensors(layer, tracked)}

    every = norms(table.layers)
    if used is None:
        used = frozenset(name for layer in frozen for name in _conv_tensors(layer))
    fixed = {"frozen": every, "follow": norms(frozen) | (used & every), "live": set[str]()}
    return tuple(sorted(prefix + name for name in (used - every) | fixed[batch_norm]))


def _conv_tensors(layer: ConvLayer) -> Iterator[str]:
    if layer.tensors is not None:
        yield from layer.tensors
        return
    yield f"{layer.name}.weight"
    if layer.bias:
        yield f"{layer.name}.bias"


def _norm_tensors(layer: ConvLayer, tracked: bool) -> Iterator[str]:
    if layer.norm_tensors is not None:
        yield from layer.norm_tensors
        return
    if layer.norm is None:
        return
    for tensor in _NORM_TENSORS:
        yield f"{layer.norm}.{tensor}"
    if tracked:
        yield f"{layer.norm}.num_batches_tracked"


def same_plans(found: Mapping[tuple[str, str], Sequence[str]]) -> Iterator[str]:
    """Plans that freeze the same tensors from one start, in one line for all of its starts.

    Args:
        found: (start, digest of the plan) -> labels of the plans that have it.
    """
    starts: dict[tuple[str, ...], list[str]] = {}
    for (init, _), labels in found.items():
        distinct = tuple(dict.fromkeys(labels))
        if len(distinct) > 1:
            starts.setdefault(distinct, []).append(init)
    for labels, inits in starts.items():
        yield (
            f"Plans {', '.join(labels)} freeze the same tensors from {', '.join(inits)}: one "
            "experiment, which is run once for each."
        )
