"""Engines run trials: here on this machine, in other rooms elsewhere. All tell what they do by events."""

from frostline.engines.events import Event, Outcome
from frostline.engines.local import run_local

__all__ = ["Event", "Outcome", "run_local"]
