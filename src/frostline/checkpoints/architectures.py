"""Which known backbone a file holds, and the file's name of each of its convolutions."""

from collections.abc import Mapping

from frostline.checkpoints.alignment import HasShape
from frostline.checkpoints.names import strip_prefixes
from frostline.depth import BACKBONES, LayerTable, layer_table
from frostline.errors import AlignmentError

__all__ = ["Backbone", "find_backbone"]


class Backbone:
    """A recognised backbone.

    Attributes:
        table: its convolutions in forward order.
        names: for each name in the table (``layer1.0.conv1``, ``layer1.0.bn1``), the module's
            name in the file.
    """

    __slots__ = ("names", "table")

    def __init__(self, table: LayerTable, names: dict[str, str]) -> None:
        self.table, self.names = table, names


def find_backbone(
    tensors: Mapping[str, HasShape], architecture: str | None = None
) -> Backbone | None:
    """The backbone whose convolutions a file holds, in any framework's names; None if none.

    The largest that fits is taken: a ResNet-50 has all the names of a ResNet-18 too.

    Args:
        tensors: shapes by name.
        architecture: accept only this one.

    Raises:
        AlignmentError: the file does not hold the architecture asked for.
        PlanError: the architecture is not known.
    """
    wanted = BACKBONES if architecture is None else (architecture,)
    tables = sorted((layer_table(name) for name in wanted), key=len, reverse=True)
    for table in tables:
        names = _by_prefix(tensors, table)
        if names:
            return Backbone(table, names)
    from frostline.checkpoints.dialects import shows_body

    if shows_body(tensors):
        files = _neutral_files(tensors)
        for table in tables:
            names = _by_dialect(tensors, files, table)
            if names:
                return Backbone(table, names)
    if architecture is None:
        return None
    raise AlignmentError(
        f"expected the {len(tables[0])} convolutions of {architecture}, got a file without "
        f"{tables[0].layers[0].name} or others; leave out --model, or give the one it was made with"
    )


def _by_prefix(tensors: Mapping[str, HasShape], table: LayerTable) -> dict[str, str] | None:
    """The module names of torchvision, behind any prefix."""
    first = f"{table.layers[0].name}.weight"
    stages = {layer.name.partition(".")[0] for layer in table.layers}
    for name in tensors:
        prefix = name.removesuffix(first)
        if prefix == name or (prefix and not prefix.endswith(".")):
            continue
        if not all(f"{prefix}{layer.name}.weight" in tensors for layer in table.layers):
            continue
        found = {
            other[len(prefix) :].removesuffix(".weight")
            for other, tensor in tensors.items()
            if _is_convolution(other, tensor)
            and other.startswith(prefix)
            and other[len(prefix) :].partition(".")[0] in stages
        }
        if found == {layer.name for layer in table.layers}:
            return {module: prefix + module for module in _modules(table)}
    return None


def _is_convolution(name: str, tensor: HasShape) -> bool:
    return len(tensor.shape) == 4 and name.endswith(".weight")  # noqa: PLR2004


def _modules(table: LayerTable) -> list[str]:
    return [x.name for x in table.layers] + [x.norm for x in table.layers if x.norm]


def _neutral_files(tensors: Mapping[str, HasShape]) -> dict[str, str]:
    """Neutral name -> name in the file."""
    from frostline.checkpoints.dialects import neutral_names

    short = strip_prefixes(tensors)
    neutral = neutral_names({short[name]: tensor.shape for name, tensor in tensors.items()})
    return {neutral[s]: name for name, s in short.items() if s in neutral}


def _by_dialect(
    tensors: Mapping[str, HasShape], files: dict[str, str], table: LayerTable
) -> dict[str, str] | None:
    """The names of another framework, by way of the neutral ones."""
    from frostline.checkpoints.dialects import neutral_names

    root = "" if "resnet" in table.architecture else "features."
    shapes: dict[str, tuple[int, ...]] = {f"{root}{m}.weight": (1,) for m in _modules(table)}
    shapes |= {f"{root}{layer.name}.weight": layer.shape for layer in table.layers}
    ours = neutral_names(shapes)
    if len(ours) != len(shapes) or not all(name in files for name in ours.values()):
        return None
    convolutions = [
        name
        for neutral_name, name in files.items()
        if neutral_name.startswith("body.") and _is_convolution(name, tensors[name])
    ]
    if len(convolutions) != len(table):
        return None
    return {
        name.removeprefix(root).removesuffix(".weight"): files[n].removesuffix(".weight")
        for name, n in ours.items()
    }
