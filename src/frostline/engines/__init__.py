"""Engines run trials, here or elsewhere, and tell what happens by events."""

from frostline.engines.events import Event, Outcome
from frostline.engines.local import run_local

__all__ = ["Event", "Outcome", "run_local"]
