"""Names of classes that are meant to be one: other case, a plural, other gaps, a slip."""

from collections.abc import Sequence
from difflib import get_close_matches

__all__ = ["folded_class", "near_class"]

_SHORT = 3  # letters up to which a name is no plural


def folded_class(name: str) -> str:
    """A name without case, spaces, hyphens and underscores.

    Example:
        >>> folded_class("Fishing_Boat")
        'fishingboat'
    """
    return "".join(c for c in name.casefold() if c.isalnum())


def near_class(name: str, classes: Sequence[str]) -> str | None:
    """The class that is probably meant by a name that is none; None where there is none.

    Example:
        >>> near_class("Ships", ["ship", "buoy"]), near_class("crane", ["ship", "buoy"])
        ('ship', None)
    """
    for form in (folded_class, _singular):
        found = [one for one in classes if form(one) == form(name)]
        if found:
            return found[0]
    folded = {folded_class(one): one for one in reversed(classes)}
    near = get_close_matches(folded_class(name), folded, n=1)
    return folded[near[0]] if near else None


def _singular(name: str) -> str:
    plain = folded_class(name)
    if len(plain) <= _SHORT or not plain.endswith("s") or plain.endswith("ss"):
        return plain
    if plain.endswith("ies"):
        return f"{plain[:-3]}y"
    return plain[:-2] if plain.endswith(("xes", "ches", "shes", "sses")) else plain[:-1]
