"""What an architecture tells about itself."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from frostline.backbones import KnownBackbone
from frostline.config import ModelConfig, Normalisation
from frostline.errors import ConfigError
from frostline.members import nearest

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

__all__ = ["Architecture"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """One kind of model, as functions and facts. The module that holds one imports no torch.

    Attributes:
        name: as in ``study.yaml``.
        task: name of the task whose images and targets the model takes.
        presets: values of ``model.preset`` that it has.
        parts: sections of the model by name, each with what its tensors' names begin with. Together
            they hold every tensor.
        counted: the part whose convolutions depth counts, and that a start must fill. Its layer
            table has names without the part's prefix. What is said of depth calls it so.
        rest: the other parts in a sentence ("the decoder and the head").
        draws: by part, what gives a new weight its random values. Normalisation, linear layers and
            biases start as torch's own do.
        replaced: beginnings of names of tensors that depend on the number of classes: those of
            another number are left out of a start, and may stay random.
        backbone: configuration -> what is known of the counted part.
        build: configuration, what ``backbone`` says of it, number of classes, seed -> model, on the
            CPU. Its random values are drawn again afterwards, tensor by tensor. BatchNorm of the
            counted part may be torchvision's ``FrozenBatchNorm2d`` where the policy is ``frozen``;
            of other parts it is ``BatchNorm2d``, which a freeze plan fixes where it must be.
        set_pixels: lets a model normalise its images with other values.
    """

    name: str
    task: str
    presets: tuple[str, ...]
    parts: Mapping[str, str]
    counted: str
    rest: str
    draws: "Mapping[str, Callable[[Tensor, Generator], object]]"
    replaced: tuple[str, ...]
    backbone: Callable[[ModelConfig], KnownBackbone]
    build: "Callable[[ModelConfig, KnownBackbone, int, int], nn.Module]"
    set_pixels: "Callable[[nn.Module, Normalisation], None]"

    def __post_init__(self) -> None:
        assert self.counted in self.parts, "depth counts one of the parts"
        assert set(self.draws) == set(self.parts), "every part says how it starts"

    @property
    def prefix(self) -> str:
        """What stands before the layer table's names in the model's state dict."""
        return self.parts[self.counted]

    def part_of(self, name: str) -> str:
        """The part that a tensor of the model belongs to."""
        return next(part for part, prefix in self.parts.items() if name.startswith(prefix))

    def asked(self, parts: Sequence[str] | None) -> tuple[str, ...]:
        """The parts that a start is asked to fill; None is the counted one.

        Raises:
            ConfigError: one is not of this architecture, or the counted one is not among them.
        """
        asked = (self.counted,) if parts is None else tuple(parts)
        for part in asked:
            if part not in (*self.parts, "all"):
                raise ConfigError(
                    f"expected parts of {self.name} ({', '.join(self.parts)}, all), got "
                    f"'{part}'{nearest(part, self.parts)}"
                )
        if not {self.counted, "all"} & set(asked):
            raise ConfigError(
                f"'parts' must name '{self.counted}' or 'all': a start fills the {self.counted}; "
                f"got {', '.join(asked) or 'none'}"
            )
        return asked

    def prefixes(self, parts: Iterable[str]) -> tuple[str, ...]:
        """What the names of some parts' tensors begin with; ``all`` is every name."""
        return tuple("" if part == "all" else self.parts[part] for part in parts)
