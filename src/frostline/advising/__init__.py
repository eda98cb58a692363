"""The advice on a study: which cell to take, found live for the price of a few trainings.

``choice`` makes a study a choice with prices, ``running`` lets the policy train, ``resolving`` says
what the validation images can tell, ``writing`` puts it into words that last.
"""

from frostline.advising.running import Outlook, advise_study, outlook

__all__ = ["Outlook", "advise_study", "outlook"]
