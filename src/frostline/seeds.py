"""Seeds for each random purpose: what one draws depends on no draw before it."""

import hashlib

__all__ = ["derived_seed"]


def derived_seed(seed: int, *purpose: str | int) -> int:
    """A seed of its own for one purpose, equal on every platform and in every version.

    Args:
        seed: of the trial, >= 0.
        purpose: what is drawn, such as ``("step", 12)`` or the name of a tensor.

    Returns:
        63 bits of SHA-256 over all of it; >= 0.

    Example:
        >>> derived_seed(0, "step", 1) == derived_seed(0, "step:1")
        True
    """
    digest = hashlib.sha256(":".join(map(str, (seed, *purpose))).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
