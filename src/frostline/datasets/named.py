"""The one way in which a file that something names is found.

Exported data sets name files as they lay on another machine: with backslashes, percent signs,
another case or another Unicode form, behind the folders of a labelling server, or without the
folder they are in now. Here is what may differ, and what may not.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from frostline.datasets.files import is_image, relative_name

__all__ = ["NamedFiles", "Naming", "Spelling", "folded", "split_word", "split_words"]

_SPLIT_WORDS = {
    "train": ("train",),
    "training": ("train",),
    "trainval": ("train", "val"),
    "val": ("val",),
    "valid": ("val",),
    "validation": ("val",),
    "dev": ("val",),
    "test": ("test",),
    "testing": ("test",),
}
_SERVER = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://[^/]*/")
_DRIVE = re.compile(r"^[A-Za-z]:")


def split_words(name: str) -> tuple[str, ...]:
    """Splits that the last telling word of a path stands for; ``trainval`` stands for two.

    Example:
        >>> split_words("annotations/instances_val2017.json"), split_words("trainval/a")
        (('val',), ('train', 'val'))
    """
    words = re.findall(r"[a-z]+", name.lower())
    return next((_SPLIT_WORDS[word] for word in reversed(words) if word in _SPLIT_WORDS), ())


def split_word(name: str) -> str | None:
    """The first of `split_words`, or None."""
    return next(iter(split_words(name)), None)


def folded(name: str) -> str:
    r"""A path in the one spelling that all its spellings share: two that agree may be one file.

    Case, Unicode form, backslashes and percent signs count for nothing.

    Example:
        >>> folded("Images\\My%20Pic.JPG")
        'images/my pic.jpg'
    """
    plain = relative_name(_decoded(name)) if "%" in name or "\\" in name else name
    if plain.isascii():
        return plain.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", plain).casefold())


def _decoded(name: str) -> str:
    """Percent signs decoded, at most twice: what two programs have encoded."""
    for _ in range(2):
        decoded = unquote(name, errors="strict") if _decodable(name) else name
        if decoded == name:
            break
        name = decoded
    return name


def _decodable(name: str) -> bool:
    try:
        unquote(name, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True)
class Naming:
    """From where files are named.

    Attributes:
        beside: Folder of the annotations under the root, ``""`` or ending with ``/``; None where
            they lie outside of it.
        splits: The split that the annotations are of, by their name or folder; empty: unknown.
        root: Name of the root's own folder, which may stand in front of names.
    """

    beside: str | None = None
    splits: tuple[str, ...] = ()
    root: str = ""


@dataclass(frozen=True)
class Spelling:
    """What fits a name.

    Attributes:
        fits: Files, or folders, that may be meant: none, the one, or several.
        only_prefix: Whether each has the name as it stands, behind a folder.
        rivals: Whether files in several folders had fitted before their places decided.
        bare: Whether nothing but the last part of the name fits.
    """

    fits: tuple[str, ...]
    only_prefix: bool = False
    rivals: bool = False
    bare: bool = False


class NamedFiles:
    """Finds names among the files, or folders, under a root.

    A name is taken as it stands if that is there (``exact``). Otherwise its spelling counts for
    nothing (see `folded`), and the longest ending of its path that something has decides:
    ``/srv/set/images/a.jpg`` is ``images/a.jpg``, or ``b/images/a.jpg``, before ``a.jpg``. What
    lies in the folder of another split is not meant. If several fit: what is there once the
    root's own folder is taken off, then what lies beside the annotations, then what lies in their
    split's folder, then the same spelling.

    Args:
        names: Gives all files that may be meant, as paths under the root; asked at most once.
        exact: Whether a name is there as it stands.
        naming: From where they are named.
    """

    def __init__(
        self,
        names: Callable[[], Iterable[str]],
        exact: Callable[[str], bool],
        naming: Naming | None = None,
    ) -> None:
        self._names, self._exact, self._naming = names, exact, naming or Naming()
        self._by_last: dict[str, list[tuple[str, str]]] | None = None
        self._splits_there: set[str] = set()
        # "train2017" says what the root holds, "test_fields" does not
        whole = re.fullmatch(r"([A-Za-z]+)\d*", self._naming.root)
        self._root_splits = _SPLIT_WORDS.get(whole[1].lower(), ()) if whole else ()

    def find(self, name: str) -> Spelling:
        """What fits a name, see the class."""
        if self._exact(name):
            return Spelling((name,))
        parts = _parts(name)
        own = split_words("/".join(parts[:-1]))
        for cut in range(len(parts)):
            fits = self._with_ending(parts[cut:], own)
            if fits:
                chosen = self._preferred(name, fits, cut, own)
                ending = f"/{relative_name(name)}"
                prefixed = all(file.endswith(ending) for file in chosen)
                foreign = any(map(self._of_foreign_split, chosen))
                rivals = len(set(map(_folder, fits))) > 1
                return Spelling(chosen, prefixed and not foreign, rivals, cut == len(parts) - 1)
        return Spelling(())

    def find_all(self, names: Iterable[str]) -> list[Spelling]:
        """What fits the names of one annotation file.

        Where files in several folders share a name, and the place of the annotations decides for
        one folder, the same name elsewhere is no reason to take a file from there.
        """
        found = [self.find(name) for name in names]
        rivals = [one for one in found if one.rivals]
        homes = {_folder(one.fits[0]) for one in rivals if len(one.fits) == 1}
        if not rivals:
            return found
        return [
            Spelling(())
            if one.bare and not one.rivals and _folder(one.fits[0]) not in homes
            else one
            for one in found
        ]

    def _of_foreign_split(self, file: str) -> bool:
        """Whether a file lies in the folder of a split that the annotations are not of."""
        its, mine = split_words(_folder(file)), self._naming.splits
        return bool(its and mine) and set(its).isdisjoint(mine)

    def _with_ending(self, ending: Sequence[str], own: tuple[str, ...]) -> list[str]:
        if self._by_last is None:
            self._by_last = self._listed()
        key = "/".join(ending)
        return [
            file
            for fold, file in self._by_last.get(ending[-1], ())
            if (fold == key or fold.endswith(f"/{key}")) and not self._of_another_split(file, own)
        ]

    def _listed(self) -> dict[str, list[tuple[str, str]]]:
        found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        folders = set()
        for file in self._names():
            fold = folded(file)
            folders.add(fold.rpartition("/")[0])
            found[fold.rpartition("/")[2]].append((fold, file))
        self._splits_there = {word for folder in folders for word in split_words(folder)}
        return dict(found)

    def _of_another_split(self, file: str, own: tuple[str, ...]) -> bool:
        """Whether a file lies in the folder of a split that cannot be meant."""
        its = split_words(file.rpartition("/")[0]) or self._root_splits
        if its and own:  # both paths say it
            return set(its).isdisjoint(own)
        mine = set(self._naming.splits)
        return bool(its and mine & self._splits_there) and mine.isdisjoint(its)

    def _preferred(
        self, name: str, fits: list[str], cut: int, own: tuple[str, ...]
    ) -> tuple[str, ...]:
        parts, beside = _parts(name), self._naming.beside
        key = "/".join(parts[cut:])
        splits = set(own or self._naming.splits)
        in_front = parts[cut - 1] if cut else ""
        at_root = not cut or in_front == folded(self._naming.root)
        written = "/".join(relative_name(name).split("/")[cut - len(parts) :])
        rules: tuple[Callable[[str], bool], ...] = (
            lambda file: at_root and folded(file) == key,
            lambda file: not cut and beside is not None and folded(file) == folded(beside) + key,
            lambda file: beside not in (None, "") and file.startswith(str(beside)),
            lambda file: not splits.isdisjoint(split_words(file.rpartition("/")[0])),
            lambda file: f"/{file}".endswith(f"/{written}"),
        )
        for rule in rules:
            if len(fits) > 1:
                fits = list(filter(rule, fits)) or fits
        return tuple(fits)


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _parts(name: str) -> list[str]:
    """Folders and file of a name, folded, without server, drive, ``.`` and ``..``."""
    plain, _, query = _SERVER.sub("", name.strip()).partition("?")
    if query and not is_image(plain):  # as Label Studio has it: /data/local-files/?d=images/a.jpg
        plain = query.rpartition("=")[2]
    plain = folded(_DRIVE.sub("", plain))
    return [part for part in plain.split("/") if part not in ("", ".", "..")]
