"""Which trials to run next, and which cell to take: policies, and their replay on recorded trials.

Everything here is a pure function of what was observed; nothing imports a framework.
"""

__all__: list[str] = []
