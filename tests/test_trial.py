import contextlib
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.numpy import load_file, save_file
from torch.utils._pytree import tree_leaves

from frostline.config import IMAGENET, Normalisation
from frostline.difference import difference
from frostline.errors import AuditError, InitError, RecordError
from frostline.figures import difference_table
from frostline.freezing import Frozen
from frostline.records import TrialRecord, read_lines
from frostline.study import Study
from frostline.tasks import task_named
from frostline.trial import FILES, TrialSpec, load_data, prepare
from tests.helpers import SIZE, TINY_MODEL, run_trial, write_study, write_yaml


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialSpec, Path, TrialRecord]:
    folder = tmp_path_factory.mktemp("trial")
    study = Study.from_yaml(write_study(folder))
    spec = study.spec(study.cells()[1])
    return spec, folder / "out", run_trial(spec, folder / "out")


def test_files_and_round_trip(finished: tuple[TrialSpec, Path, TrialRecord]) -> None:
    _, folder, record = finished
    assert TrialRecord.read(folder / FILES.record) == record
    names = {path.name for path in folder.iterdir()}
    gone = {FILES.checkpoint, FILES.failure, FILES.history}
    assert names == set(dataclasses.asdict(FILES).values()) - gone
    assert read_lines(folder / FILES.log)[-1]["step"] == record.history[-1].step


def test_the_record_names_no_place_and_no_person(
    finished: tuple[TrialSpec, Path, TrialRecord],
) -> None:
    spec, folder, _ = finished
    text = (folder / FILES.record).read_text()
    assert str(spec.base) not in text
    assert str(Path.home()) not in text


def test_differences_are_of_the_stored_weights(
    finished: tuple[TrialSpec, Path, TrialRecord],
) -> None:
    spec, folder, record = finished
    before = load_file(spec.base / "a.safetensors")
    after = load_file(folder / FILES.weights)
    for row in record.differences:
        u = before[f"features.{row['name']}.weight"]
        v = after[f"backbone.body.{row['name']}.weight"]
        assert row["cosine"] == difference(u, v).cosine
        frozen = row["index"] <= (record.plan.depth or 0)
        assert (row["cosine"] == 0.0) == frozen
        assert np.array_equal(u, v) == frozen


def test_metrics_are_of_the_stored_detections(
    finished: tuple[TrialSpec, Path, TrialRecord],
) -> None:
    spec, folder, record = finished
    index = load_data(spec.data, spec.base)["val"]
    stored = json.loads((folder / FILES.detections).read_text())["val"]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = index.to_coco()
        truth.createIndex()
        oracle = COCOeval(truth, truth.loadRes(stored), "bbox")
        oracle.evaluate()
        oracle.accumulate()
        oracle.summarize()
    ours = record.scores["val"]
    assert [ours[name] for name in ("ap", "ap50", "ap75")] == pytest.approx(
        list(oracle.stats[:3]), abs=1e-9
    )


def test_record_says_what_ran(finished: tuple[TrialSpec, Path, TrialRecord]) -> None:
    _, _, record = finished
    assert record.ranked
    assert record.audit.passed
    assert record.init.matched == 52 * 5
    assert record.plan.label == "k=9"
    assert record.data["train"].images == record.data["val"].images == 3
    assert record.data["train"].groups == {"field_0": 3}
    assert record.spec["schedule"]["epochs"] == 2
    assert list(record.seconds) == ["load", "train", "evaluate", "difference"]
    assert record.seconds["train"] == pytest.approx(sum(e.seconds for e in record.history))


def test_images_whose_names_are_not_utf8(tmp_path: Path) -> None:
    names = [f"\udcff{n}.png" for n in range(6)]
    path = write_study(tmp_path)
    for n, name in enumerate(names):
        (tmp_path / "images" / f"im{n}.png").rename(tmp_path / "images" / name)
    (tmp_path / "boxes.json").write_text(json.dumps(_coco(names)))
    data = {"images": "images", "annotations": "boxes.json", "split": {"fraction": 0.5}}
    schedule = {"epochs": 1, "batch_size": 3, "eval_every": 1}
    study = Study.from_yaml(write_yaml(path, data=data, schedule=schedule))
    record = run_trial(study.spec(study.cells()[2]), tmp_path / "out")
    assert record.seconds["evaluate_epochs"] > 0
    stored = json.loads((tmp_path / "out" / FILES.detections).read_bytes())
    assert set(stored["images"]["val"]) <= set(names)


def _coco(names: list[str]) -> dict[str, object]:
    box = {"category_id": 1, "bbox": [10, 10, 20, 20]}
    size = {"width": SIZE, "height": SIZE}
    return {
        "images": [{"id": n, "file_name": name, **size} for n, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": n, **box} for n in range(len(names))],
        "categories": [{"id": 1, "name": "ear"}],
    }


def test_a_folder_of_another_trial_is_refused(
    finished: tuple[TrialSpec, Path, TrialRecord],
) -> None:
    spec, folder, _ = finished
    other = dataclasses.replace(spec, key=spec.key.model_copy(update={"seed": 7}))
    with pytest.raises(RecordError, match="another trial: seed was 0, is 7;"):
        run_trial(other, folder)
    before = json.loads((folder / FILES.spec).read_bytes())
    before["normalisation"] = {}  # what an identity names only where it is not the usual
    (folder / FILES.spec).write_text(json.dumps(before))
    with pytest.raises(RecordError, match=r"another trial: normalisation was \{\}, is None;"):
        run_trial(spec, folder)


def test_a_failed_audit_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thaw what the plan freezes behind the trial's back."""
    study = Study.from_yaml(write_study(tmp_path))
    spec = study.spec(study.cells()[2])

    def thaw(frozen: Frozen) -> Frozen:
        for parameter in frozen.model.parameters():
            parameter.requires_grad_(True)
        return frozen

    monkeypatch.setattr(Frozen, "require_trainable", thaw)
    with pytest.raises(AuditError, match="the trial does not count"):
        run_trial(spec, tmp_path / "out")
    assert not (tmp_path / "out" / FILES.record).exists()


@pytest.mark.parametrize("policy", ["follow", "live"])
def test_other_policies_pass_the_audit(tmp_path: Path, policy: str) -> None:
    study = Study.from_yaml(write_study(tmp_path, model={**TINY_MODEL, "batch_norm": policy}))
    record = run_trial(study.spec(study.cells()[1]), tmp_path / "out")
    assert record.audit.passed
    assert record.plan.batch_norm == policy
    assert not any("running" in name for name in record.audit.unmoved)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", "bfloat16"), ("fp32", "float32")])
def test_bfloat16_is_for_features_and_not_for_boxes(
    tmp_path: Path, precision: str, dtype: str
) -> None:
    """Features of a training step have the precision; what boxes are decoded from is float32."""
    schedule = {"epochs": 1, "batch_size": 3, "precision": precision}
    study = Study.from_yaml(write_study(tmp_path, schedule=schedule))
    seen: dict[str, set[torch.dtype]] = {"features": set(), "deltas": set(), "proposals": set()}

    def note(kind: str, value: Any) -> None:
        seen[kind] |= {x.dtype for x in tree_leaves(value) if isinstance(x, torch.Tensor)}

    def loss(model: Any, samples: Any, device: Any) -> Any:
        handles = [
            model.backbone.body.register_forward_hook(lambda *a: note("features", a[2])),
            model.rpn.head.register_forward_hook(lambda *a: note("deltas", a[2][1])),
            model.roi_heads.box_predictor.register_forward_hook(lambda *a: note("deltas", a[2][1])),
            model.roi_heads.register_forward_pre_hook(lambda *a: note("proposals", a[1][1])),
        ]
        losses = task_named("detection").loss(model, samples, device)
        for handle in handles:
            handle.remove()
        return losses

    task = dataclasses.replace(task_named("detection"), loss=loss)
    record = run_trial(study.spec(study.cells()[0]), tmp_path / "out", task=task)
    assert record.spec["schedule"]["precision"] == precision
    assert seen["features"] == {getattr(torch, dtype)}
    assert seen["deltas"] == seen["proposals"] == {torch.float32}


@pytest.mark.parametrize("stem", [None, (16, 1, 3, 3)], ids=["absent", "of one channel"])
def test_random_tensors_are_not_frozen(tmp_path: Path, stem: tuple[int, ...] | None) -> None:
    path = write_study(tmp_path)
    names = load_file(tmp_path / "a.safetensors")
    tensors = {f"backbone.body.{n.removeprefix('features.')}": t for n, t in names.items()}
    del tensors["backbone.body.0.0.weight"]
    if stem is not None:
        tensors["backbone.body.0.0.weight"] = np.ones(stem, np.float32)
    save_file(tensors, tmp_path / "a.safetensors")
    init = {"source": "a.safetensors", "allow_missing": ["backbone.body.0.0.weight"]}
    study = Study.from_yaml(write_yaml(path, inits={"a": init}, depths=[52, 0]))
    deep, free = study.cells()[0], study.cells()[-1]
    assert (deep.plan, free.plan) == ("k52", "k00")
    prepare(study.spec(free), load_data(study.config.data, study.base))
    with pytest.raises(InitError, match=r"leaves backbone\.body\.0\.0\.weight random"):
        prepare(study.spec(deep), load_data(study.config.data, study.base))
    with pytest.raises(InitError, match="random"):
        study.check()  # whatever the order of depths


def test_a_trial_on_a_backbone_of_timm(tmp_path: Path) -> None:
    """From a file with timm's own names to differences under them; BatchNorm stays as it was."""
    backbone = {"backbone": "timm:test_resnet", "preset": "slim", "image_size": 64}
    path = write_study(tmp_path, model=backbone, depths=[5], schedule={"epochs": 1})
    start = timm.create_model("test_resnet", pretrained=False).state_dict()
    safetensors.torch.save_file(start, tmp_path / "a.safetensors")
    study = Study.from_yaml(write_yaml(path, inits={"a": {"source": "a.safetensors"}}))
    record = run_trial(study.spec(study.cells()[0]), tmp_path / "out")
    assert record.audit.passed
    assert record.audit.unmoved == ()
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert record.init.normalisation == Normalisation.model_validate(half)
    assert record.spec["normalisation"] == half
    after = load_file(tmp_path / "out" / FILES.weights)
    for row in record.differences:
        same = np.array_equal(after[f"backbone.body.{row['name']}.weight"],
                              start[f"{row['name']}.weight"].numpy())  # fmt: skip
        assert same == (row["cosine"] == 0.0) == (row["index"] <= 5)
        assert row["norm"]["running_var"] == row["norm"]["weight"] == 0.0


def test_the_normalisation_of_an_init(tmp_path: Path) -> None:
    """It reaches the model and the identity, which leaves ImageNet's unsaid as it always was."""
    path = write_study(tmp_path)
    own = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 0.5]}
    inits = {
        "usual": {"source": "a.safetensors"},
        "own": {"source": "a.safetensors", "normalisation": own},
    }
    study = Study.from_yaml(write_yaml(path, inits=inits))
    usual, other = (study.spec(key) for key in study.cells()[:: len(study.config.depths)])
    start = prepare(usual, load_data(study.config.data, study.base))
    assert start.init.normalisation == IMAGENET
    assert "normalisation" not in start.identity.training
    start = prepare(other, load_data(study.config.data, study.base))
    assert start.model.transform.image_std == own["std"]  # type: ignore[union-attr]
    assert start.identity.training["normalisation"] == own


def test_differences_of_every_section(tmp_path: Path) -> None:
    """They change nothing else; those of the head, by hand from the stored weights."""
    study = Study.from_yaml(write_study(tmp_path, depths=[0]))
    spec = study.spec(study.cells()[0])
    usual = run_trial(spec, tmp_path / "usual")
    every = run_trial(dataclasses.replace(spec, differences="all"), tmp_path / "every")
    assert every.spec == usual.spec
    assert every.differences == usual.differences
    assert usual.other_differences == ()
    sections = [row["section"] for row in every.other_differences]
    assert list(dict.fromkeys(sections)) == ["neck", "rpn", "head"]
    rows = {f"{row['section']} {row['name']}": row for row in every.other_differences}
    name = "box_predictor.cls_score"
    after = load_file(tmp_path / "every" / FILES.weights)[f"roi_heads.{name}.weight"]
    start = prepare(spec, load_data(spec.data, spec.base)).model.state_dict()
    u = start[f"roi_heads.{name}.weight"].numpy().astype(np.longdouble).ravel()
    v = np.asarray(after, np.longdouble).ravel()
    cosine = 1 - abs(u @ v) / np.sqrt((u @ u) * (v @ v))
    assert rows[f"head {name}"]["cosine"] == pytest.approx(float(cosine), rel=1e-9)
    assert TrialRecord.read(tmp_path / "every" / FILES.record) == every
    table = difference_table([every.model_copy(update={"flags": ()})])
    assert len(table.layers) == 52 + len(rows)
    assert [stage.name for stage in table.stages][-3:] == ["neck", "rpn", "head"]
