"""Architectures: what a model is made of, one file each; ``members.ARCHITECTURES`` lists them."""

from frostline.architectures.architecture import Architecture
from frostline.config import ModelConfig, StudyConfig
from frostline.errors import ConfigError
from frostline.members import ARCHITECTURES, member, nearest

__all__ = ["Architecture", "architecture_of", "require_fitting"]


def architecture_of(model: ModelConfig) -> Architecture:
    """The architecture that a model's configuration names. Loads no torch."""
    found: Architecture = member(ARCHITECTURES, model.architecture, "architecture")
    return found


def require_fitting(study: StudyConfig) -> None:
    """Refuse what the study's architecture does not have.

    Raises:
        ConfigError: a preset, or a part that an init fills; names what there is.
    """
    model = study.model
    architecture = architecture_of(model)
    if model.preset not in architecture.presets:
        raise ConfigError(
            f"model.preset: {architecture.name} has {', '.join(architecture.presets)}, got "
            f"'{model.preset}'{nearest(model.preset, architecture.presets)}"
        )
    for name, init in study.inits.items():
        try:
            architecture.asked(init.parts)
        except ConfigError as error:
            raise ConfigError(f"inits.{name}: {error}") from None
