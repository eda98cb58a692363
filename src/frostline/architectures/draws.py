"""Random values of new weights, in place; each needs torch only when it is called."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = ["glorot_uniform", "he_normal", "he_uniform", "lecun_uniform", "small_normal"]


def he_normal(weight: "Tensor", generator: "Generator") -> None:
    """He et al. 2015 over the outputs, as torchvision's classification networks."""
    from torch.nn import init

    init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)


def lecun_uniform(weight: "Tensor", generator: "Generator") -> None:
    """Variance 1 / fan-in, uniform, as torchvision's feature pyramid and RetinaNet's."""
    from torch.nn import init

    init.kaiming_uniform_(weight, a=1, generator=generator)


def small_normal(weight: "Tensor", generator: "Generator") -> None:
    """Standard deviation 0.01, as torchvision's region proposals."""
    weight.normal_(std=0.01, generator=generator)


def he_uniform(weight: "Tensor", generator: "Generator") -> None:
    """He et al. 2015 over the inputs, uniform, as segmentation-models-pytorch's decoders."""
    from torch.nn import init

    init.kaiming_uniform_(weight, nonlinearity="relu", generator=generator)


def glorot_uniform(weight: "Tensor", generator: "Generator") -> None:
    """Glorot and Bengio 2010, uniform, as segmentation-models-pytorch's heads."""
    from torch.nn import init

    init.xavier_uniform_(weight, generator=generator)
