"""A study as its ``study.yaml`` describes it: typed, frozen, and checked before anything runs."""

from frostline.config.data import IMAGENET, DataConfig, MasksConfig, Normalisation, SplitConfig
from frostline.config.model import ModelConfig
from frostline.config.names import Depth, OptimizerName, Part
from frostline.config.reading import load_study, parse_plan, parse_study, save_study
from frostline.config.schedule import AugmentConfig, ScheduleConfig, StudySchedule, short_epochs
from frostline.config.study import InitConfig, PlanConfig, StudyConfig

__all__ = [
    "IMAGENET",
    "AugmentConfig",
    "DataConfig",
    "Depth",
    "InitConfig",
    "MasksConfig",
    "ModelConfig",
    "Normalisation",
    "OptimizerName",
    "Part",
    "PlanConfig",
    "ScheduleConfig",
    "SplitConfig",
    "StudyConfig",
    "StudySchedule",
    "load_study",
    "parse_plan",
    "parse_study",
    "save_study",
    "short_epochs",
]
