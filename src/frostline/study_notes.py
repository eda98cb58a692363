"""What is to be known of a study's folder besides its trials, in one line each."""

import json
from collections.abc import Iterator, Sequence

from frostline.datasets import FileHashes
from frostline.depth import BACKBONES
from frostline.plans import PLAN_VERSION, same_plans
from frostline.records import FILES
from frostline.rules import reference_keys, rule_of_file
from frostline.study import COPIES, HASHES, Study
from frostline.trial_folder import later_version, several_images

__all__ = ["notes_of"]


def notes_of(study: Study) -> tuple[str, ...]:
    """What is to be known of the folder besides its trials, in one line each."""
    return tuple(_notes(study))


def _notes(study: Study) -> Iterator[str]:
    older = study.plan_version < PLAN_VERSION
    if older and study.config.model.backbone not in BACKBONES:  # theirs are equal in both
        yield (
            f"Its freeze plans are of version {study.plan_version}, with which this folder "
            "began, also for new cells: convolutions and their BatchNorm alone; another folder "
            "(--out) freezes everything up to the cut."
        )
    for state in study.status():
        file = study.trial_folder(state.key) / FILES.record
        if state.state == "damaged" and not later_version(file):
            yield f"Trial {state.key.slug} has a damaged record; `frostline run` does it again."
    replaced = FileHashes.read(study.folder / HASHES).look_again(
        study.base / study.config.data.images
    )
    if replaced:
        yield (
            f"Since its trials were trained, {several_images(replaced)} changed: the scores are of "
            "the files as they were, and `frostline run` adds no trial until they are back."
        )
    yield from _copy_notes(study)
    yield from _rule_notes(study)
    same: dict[tuple[str, str], list[str]] = {}
    for record in study.records():
        same.setdefault((record.key.init, record.plan.digest), []).append(record.key.plan)
    yield from same_plans(same)
    unknown = sum("pixels" not in record.spec for record in study.records())
    if unknown:
        yield (
            f"{unknown} of its trials ran before the pixels of images were recorded; they are "
            "taken to be those of the others."
        )


def _copy_notes(study: Study) -> Iterator[str]:
    """Images that are scored and of which training sees a copy."""
    try:
        found = json.loads((study.folder / COPIES).read_bytes())
        copies = {split: [(str(a), str(b)) for a, b in pairs] for split, pairs in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return  # folders from before this was looked for; `run` makes it anew
    for split, pairs in copies.items():
        if pairs:
            name = {"val": "validation"}.get(split, split)
            several = "images are" if len(pairs) > 1 else "image is"
            yield (
                f"{len(pairs)} {name} {several} of a photo that training sees, too "
                f"({pairs[0][0]} and {pairs[0][1]}): scores on {name} images are too good; "
                "`frostline data check` names all, `split: {by: photo}` keeps copies together."
            )


def _rule_notes(study: Study) -> Iterator[str]:
    """What rules froze at their ends, and seeds that came after they were made."""
    cells = {key.cell: key for key in study.cells() if study.plan_file(key) is not None}
    ends: dict[tuple[str, int], list[str]] = {}
    for cell, key in cells.items():
        file = study.plan_file(key)
        if file is None or not file.exists():
            continue
        rule = rule_of_file(file)
        if rule["frozen_layers"] in (0, rule["of_layers"]):
            made = f"{rule['rule']}, t = {rule['t']}"
            ends.setdefault((made, rule["frozen_layers"]), []).append(cell)
        lost = sum(layer["above"] is None for layer in rule["layers"])
        if lost:
            yield (
                f"Plan {cell} leaves {lost} of {rule['of_layers']} layers out, which could not "
                "be compared: they are updated."
            )
        late = [k.slug for k in reference_keys(study.config, key.init)
                if k.slug not in rule["references"]]  # fmt: skip
        if late:
            yield f"Plan {cell} was made before {', '.join(late)}, which it does not count."
    for (made, layers), found in ends.items():
        yield _end_note(found, made, layers)


def _end_note(cells: Sequence[str], made: str, layers: int) -> str:
    """That the plans of some cells freeze nothing, or everything that their rule looked at."""
    plans, freeze, their = ("Plans", "freeze", "their")
    if len(cells) == 1:
        plans, freeze, their = ("Plan", "freezes", "its")
    what = f"all {layers} layers" if layers else f"nothing: {their} trials are those with k=0 again"
    return f"{plans} {', '.join(cells)} ({made}) {freeze} {what}."
