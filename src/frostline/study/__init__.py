"""The grid: inits x depths x seeds, what of it is done, and what is left."""

from frostline.study.cells import HASHES, StudyCells
from frostline.study.study import COPIES, Study, open_study, read_records, threads_of_trial
from frostline.trial_folder import TrialState

__all__ = [
    "COPIES",
    "HASHES",
    "Study",
    "StudyCells",
    "TrialState",
    "open_study",
    "read_records",
    "threads_of_trial",
]
