"""``diff``: how far each tensor of one file is from its counterpart in another."""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from frostline.checkpoints import Checkpoint, TensorRef
from frostline.checkpoints.streaming import PairReader, Precision
from frostline.comparison.results import Comparison
from frostline.comparison.rows import TensorDifference
from frostline.comparison.selection import (
    Files,
    Kind,
    Selected,
    as_checkpoints,
    look_different,
    match,
    missing,
    names_apart,
    select,
)
from frostline.depth import ConvLayer, published_eps
from frostline.difference import (
    Difference,
    NormDrift,
    NormTensors,
    difference_of_blocks,
    fold_of,
    folded_difference,
    norm_drift,
    norm_tensors,
    not_comparable,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["diff"]

_SMALL: Final = {"bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"}
_REAL: Final = ("float", "bfloat", "int", "uint", "bool")
_THREADS_FROM: Final = 1 << 26  # bytes: below, a second thread costs more than it gains
# Elements of a piece where there are threads: longer between two hand-overs of the interpreter.
# 4.3 GB of bfloat16 take 1.81 s in pieces of 2^16, 1.52 s of 2^17, 1.43 s of 2^18; more is memory.
_THREADED_CHUNK: Final[dict[Precision, int]] = {"float64": 1 << 16, "float32": 1 << 18}


def diff(
    before: "str | Path | Checkpoint",
    after: "str | Path | Checkpoint",
    *,
    kind: Kind | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    renames: Iterable[tuple[str, str]] = (),
    model: str | None = None,
    eps: float | None = None,
    section: str | None = None,
    exact: bool = False,
) -> Comparison:
    """Compare two weight files layer by layer.

    Nothing in the files is executed, and torch is not loaded.

    Args:
        before: file, folder or opened checkpoint before training.
        after: the same after training.
        kind: ``conv``, ``linear``, ``norm`` or ``all`` tensors; None: convolutions, or all where
            there are more than twice as many matrices (transformers).
        include: shell patterns; only tensors with a name that fits one.
        exclude: shell patterns; no tensors with a name that fits one.
        renames: (old, new) pairs for names that do not match by themselves (see ``align``).
        model: the backbone, where it should not be recognised by itself.
        eps: of the BatchNorms, for the folded difference; None: torchvision's for the recognised
            backbone. (torchvision's COCO_V1 detectors use 0.)
        section: the part to compare in files with several (``model``, ``ema`` ...); a file that
            is one flat state dict has no parts, and is taken whole.
        exact: float64 sums for 16-bit storage too.

    Raises:
        CheckpointError: a file cannot be read, or not without running code from it.
        AlignmentError: names are ambiguous, or nothing is left to compare.

    Example:
        >>> result = diff("before.pth", "after.pth")  # doctest: +SKIP
        >>> result.rows[0].name, result.rows[0].cosine  # doctest: +SKIP
        ('backbone.body.conv1.weight', 3.1e-05)
    """
    files = match(*as_checkpoints([before, after], section), renames=renames, model=model)
    chosen, kind = select(files, kind, include, exclude)
    architecture = files.backbone.table.architecture if files.backbone else None
    if eps is None and architecture is not None:
        eps = published_eps(architecture)
    rows = _measure_all(_Job(files, eps, exact), chosen)
    names = names_apart(files.before, files.after)
    return Comparison(
        before=names[0],
        after=names[1],
        rows=rows,
        kind=kind,
        architecture=architecture,
        order="forward" if architecture else "file",
        eps=eps if any(row.folded for row in rows) else None,
        only_before=files.alignment.only_before,
        only_after=files.alignment.only_after,
        confidence=files.alignment.confidence,
        matched=_count(pair.how for pair in files.alignment.pairs),
        missing=missing(files, kind, include, exclude),
        sections=(_sections(files.before), _sections(files.after)),
        left_out=(files.before.left_out, files.after.left_out),
        looks_different=look_different(files),
    )


def _sections(file: Checkpoint) -> tuple[str, ...]:
    """The part that was taken, then the others; none where the file is one state dict."""
    if not file.section:
        return ()
    return (file.section, *(name for name in file.sections if name != file.section))


def _count(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts


class _Job:
    """What measuring one pair needs to know."""

    __slots__ = ("counterparts", "eps", "exact", "files")

    def __init__(self, files: Files, eps: float | None, exact: bool) -> None:
        self.files, self.eps, self.exact = files, eps, exact
        self.counterparts = {pair.before: pair.after for pair in files.alignment.pairs}


def _measure_all(job: _Job, chosen: Sequence[Selected]) -> tuple[TensorDifference, ...]:
    nbytes = sum(job.files.before[item.pair.before].nbytes for item in chosen)
    workers = min(os.cpu_count() or 1, 4) if nbytes >= _THREADS_FROM else 1
    if workers == 1:
        readers = _Readers()
        return tuple(_measure(job, item, readers) for item in chosen)
    return _in_threads(lambda item, readers: _measure(job, item, readers), chosen, workers)


def _in_threads(
    work: "Callable[[Selected, _Readers], TensorDifference]",
    items: Sequence[Selected],
    workers: int,
) -> tuple[TensorDifference, ...]:
    """Results in the order of the items; the first error of any thread is raised here."""
    results: dict[int, TensorDifference] = {}
    errors: list[BaseException] = []
    queue = iter(enumerate(items))
    lock = threading.Lock()

    def run() -> None:
        readers = _Readers(threaded=True)
        while not errors:
            with lock:
                number, item = next(queue, (-1, None))
            if item is None:
                return
            try:
                results[number] = work(item, readers)
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return tuple(results[n] for n in range(len(items)))


class _Readers:
    """One thread's buffers, made when they are first needed."""

    def __init__(self, *, threaded: bool = False) -> None:
        self._threaded = threaded
        self._made: dict[Precision, PairReader] = {}

    def of(self, precision: Precision) -> PairReader:
        if precision not in self._made:
            chunk = {"chunk": _THREADED_CHUNK[precision]} if self._threaded else {}
            self._made[precision] = PairReader(precision, **chunk)
        return self._made[precision]


def _measure(job: _Job, item: Selected, readers: _Readers) -> TensorDifference:
    u, v = job.files.before[item.pair.before], job.files.after[item.pair.after]
    dtype = u.dtype if u.dtype == v.dtype else f"{u.dtype} -> {v.dtype}"
    precision: Precision = (
        "float32" if not job.exact and {u.dtype, v.dtype} <= _SMALL else "float64"
    )
    reason = _incomparable(u, v)
    folded = drift = None
    if reason:
        weight = not_comparable(reason)
    else:
        reader = readers.of(precision)
        weight, folded, drift = _weigh(job, item.layer, u, v, reader)
    layer = item.layer
    return TensorDifference(
        name=u.name,
        other=v.name,
        shape=u.shape,
        dtype=dtype,
        difference=weight,
        index=layer.index if layer else None,
        stage=layer.stage if layer else "",
        role=layer.role if layer else "",
        folded=folded,
        norm=drift,
        precision=precision,
    )


def _incomparable(u: TensorRef, v: TensorRef) -> str:
    if u.shape != v.shape:
        return f"shape {list(u.shape)} against {list(v.shape)}"
    if not u.dtype.startswith(_REAL) or not v.dtype.startswith(_REAL):
        return f"type {u.dtype} against {v.dtype}"
    return "" if u.size else "it has no elements"


def _weigh(
    job: _Job, layer: ConvLayer | None, u: TensorRef, v: TensorRef, reader: PairReader
) -> tuple[Difference, Difference | None, NormDrift | None]:
    """Difference of a tensor; with its BatchNorm, where it is a convolution that has one."""
    rows = u.shape[0] if len(u.shape) > 1 else 1
    filters = len(u.shape) > 1
    norms = _norms(job, layer) if layer is not None and filters else None

    def blocks() -> Iterable[Any]:
        return reader.pieces(u, v)

    if norms is None or norms[0].weight.shape != (rows,) or norms[1].weight.shape != (rows,):
        return difference_of_blocks(blocks, rows, filters=filters), None, None
    drift = norm_drift(*norms, job.eps)
    if job.eps is None:
        return difference_of_blocks(blocks, rows, filters=filters), None, drift
    fold = fold_of(*norms, job.eps)
    weight, folded = folded_difference(blocks, rows, fold, filters=filters)
    return weight, folded, drift


def _norms(job: _Job, layer: ConvLayer) -> tuple[NormTensors, NormTensors] | None:
    """The BatchNorm behind a convolution in both files, if both have all of it."""
    backbone = job.files.backbone
    if backbone is None or layer.norm is None:
        return None
    module = backbone.names[layer.norm]
    names = {part: f"{module}.{part}" for part in NormTensors._fields}
    if not all(name in job.counterparts for name in names.values()):
        return None
    before = {name: job.files.before[name].read() for name in names.values()}
    after = {name: job.files.after[job.counterparts[name]].read() for name in names.values()}
    pair = norm_tensors(before, module), norm_tensors(after, module)
    assert pair[0] is not None, "all four are there"
    assert pair[1] is not None, "all four are there"
    return pair[0], pair[1]
