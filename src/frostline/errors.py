"""Every error that frostline raises on purpose.

A message is one line: what was expected, what came instead, and what to do next.
``exit_code`` is what the command line returns: 2 for misuse or unreadable input,
1 when the work was possible but the answer is no (a failed trial, a failed check).

The page docs/errors.md is made from the docstrings here and from a message that a test provoked
(``scripts/make_docs.py``).
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
    "one_line",
    "printable",
]


class FrostlineError(Exception):
    """Base of all errors a user can cause or must know of."""

    exit_code = 2


class ConfigError(FrostlineError):
    """A ``study.yaml`` (or a value given in its place) cannot be used.

    What to do:
        The message names the line or the key, what it expects and, for a misspelt key, the nearest
        known one. ``frostline init DATA`` writes a file that runs; ``frostline schema`` lists every
        key with its range.
    """


class StudyChangedError(ConfigError):
    """A study's file no longer describes the trials already in its folder.

    What to do:
        Results of two different studies would stand in one table. Change the file back, or give
        the new study a folder of its own with ``--out``. If the change concerns that trial alone,
        delete its folder: it runs anew.
    """


class DatasetError(FrostlineError):
    """Images or annotations cannot be used; names the file and the line or entry.

    What to do:
        ``frostline data check`` lists all of it at once, and ``--fix-to DIR`` writes a cleaned
        copy. Or correct the entry, or set ``on_problem: drop`` in the study: what is left out is
        then counted in every record.
    """


class CheckpointError(FrostlineError):
    """A weight file is missing, corrupt, truncated, or of an unknown format.

    What to do:
        Check the path and download the file again. Of a whole pickled model, save the state dict:
        ``torch.save(model.state_dict(), path)``.
    """


class UnsafeCheckpointError(CheckpointError):
    """A weight file asks for something that only running code could give; it was not run.

    What to do:
        A file of plain weights needs none of that. If you trust its origin, load it where it was
        made and save the state dict alone, best as ``.safetensors``.
    """


class AlignmentError(FrostlineError):
    """Tensor names of two checkpoints cannot be matched without guessing.

    What to do:
        ``frostline diff --show-map`` prints what was matched; ``--map OLD=NEW`` renames,
        ``--section`` chooses a part of a file, ``--model`` the backbone.
    """


class InitError(FrostlineError):
    """An initialisation does not fill the parts of the model it was asked to fill.

    What to do:
        The weights are of another architecture or width, or the source is not of a known kind:
        compare ``model.backbone`` with the file. What may stay at its random value is named
        under ``allow_missing``.
    """


class DownloadError(InitError):
    """Weights could not be fetched, or what came does not have the published hash.

    What to do:
        Check the network and the proxy (``HTTPS_PROXY``). Or fetch the file on another machine and
        put it into the folder that the message names: it is then found without a network.
    """


class PlanError(FrostlineError):
    """A freeze plan names layers or a depth that the model does not have.

    What to do:
        ``frostline layers BACKBONE`` prints the convolutions and both numberings.
    """


class RecordError(FrostlineError):
    """A record cannot be written or read back.

    What to do:
        If it cannot be written: free space, or choose another folder with ``--out``; nothing
        half-written is left and the same command goes on. If it cannot be read: the folder is not
        a study's, or a file in it was edited; delete that trial and run it again.
    """


class BusyError(FrostlineError):
    """Another process is running this trial.

    What to do:
        Wait for the other ``frostline run``, or end it: its checkpoint is taken over.
    """

    exit_code = 1


class DependencyError(FrostlineError):
    """A package is missing, cannot be imported, or does not fit another one.

    What to do:
        The message has the ``pip install`` to type. ``frostline doctor`` lists versions, optional
        extras and what is wrong with them.
    """


class TrainingError(FrostlineError):
    """Training stopped: a loss that is not finite, or weights that are not the model's.

    What to do:
        Lower the learning rate (for one start alone: ``schedule`` under its init), keep
        ``clip_norm``, and look at the images named. The other trials go on; this one starts over
        in the next run, as its checkpoint would only lead here again.
    """

    exit_code = 1


class AuditError(FrostlineError):
    """Frozen tensors changed during training.

    What to do:
        The trial has no record, as its depth would not be what it says. This is a fault in
        frostline or in a changed training loop: please report it with the tensors named.
    """

    exit_code = 1


def one_line(error: BaseException) -> str:
    """An error's text in one line, see ``printable``."""
    return printable(" ".join(str(error).split()))


def printable(text: str) -> str:
    """Text whose characters that do not print are written as escapes.

    Names come from archives, annotations and weight files: they must not draw on the terminal.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
