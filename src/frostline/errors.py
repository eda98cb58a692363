"""Every error that frostline raises on purpose.

A message is one line: what was expected, what came instead, and what to do next.
``exit_code`` is what the command line returns: 2 for misuse or unreadable input,
1 when the work was possible but the answer is no (a failed trial, a failed check).
"""

__all__ = [
    "AlignmentError",
    "AuditError",
    "BusyError",
    "CheckpointError",
    "ConfigError",
    "DatasetError",
    "DependencyError",
    "DownloadError",
    "FrostlineError",
    "InitError",
    "PlanError",
    "RecordError",
    "StudyChangedError",
    "TrainingError",
    "UnsafeCheckpointError",
]


class FrostlineError(Exception):
    """Base of all errors a user can cause or must know of."""

    exit_code = 2


class ConfigError(FrostlineError):
    """A ``study.yaml`` (or a value given in its place) cannot be used."""


class StudyChangedError(ConfigError):
    """A study's file no longer describes the trials already in its folder."""


class DatasetError(FrostlineError):
    """Images or annotations cannot be used; names the file and the line or entry."""


class CheckpointError(FrostlineError):
    """A weight file is missing, corrupt, truncated, or of an unknown format."""


class UnsafeCheckpointError(CheckpointError):
    """A weight file asks for something that only running code could give; it was not run."""


class AlignmentError(FrostlineError):
    """Tensor names of two checkpoints cannot be matched without guessing."""


class InitError(FrostlineError):
    """An initialisation does not fill the parts of the model it was asked to fill."""


class DownloadError(InitError):
    """Weights could not be fetched, or what came does not have the published hash."""


class PlanError(FrostlineError):
    """A freeze plan names layers or a depth that the model does not have."""


class RecordError(FrostlineError):
    """A record cannot be written or read back."""


class BusyError(FrostlineError):
    """Another process is writing this trial."""

    exit_code = 1


class DependencyError(FrostlineError):
    """An optional package is needed; the message names the extra that installs it."""


class TrainingError(FrostlineError):
    """Training stopped: the loss is not finite; names epoch, step and images."""

    exit_code = 1


class AuditError(FrostlineError):
    """Frozen tensors changed during training."""

    exit_code = 1
