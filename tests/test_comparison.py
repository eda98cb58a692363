"""Whole files compared: against plain numpy, and the invariances that a comparison promises."""

import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import frostline
from frostline.checkpoints import open_checkpoint
from frostline.comparison import Comparison, diff, noise_floor, trajectory
from frostline.comparison.drawing import lines_table, write_figure
from frostline.comparison.formats import number_format
from frostline.comparison.page import page
from frostline.comparison.words import notes
from frostline.depth import layer_table
from frostline.difference import difference
from frostline.errors import AlignmentError, CheckpointError, ConfigError
from tests.checkpoints.test_alignment import timm_lite0_name


def moved(tensors: Any, step: Any, seed: Any) -> Any:
    """Every weight a little elsewhere; variances stay positive."""
    g = torch.Generator().manual_seed(seed)
    return {
        name: t * (1 + step * torch.randn(t.shape, generator=g)) if t.is_floating_point() else t
        for name, t in tensors.items()
    }


@pytest.fixture(scope="module")
def base() -> Any:
    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=10)
    return moved(model.state_dict(), 0.1, 9)


@pytest.fixture(scope="module")
def files(base: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(base, folder / "before.pth")
    torch.save({"model": moved(base, 1e-3, 1), "epoch": 3}, folder / "after.pth")
    safetensors.torch.save_file(moved(base, 1e-3, 1), folder / "after.safetensors")
    return folder


def test_every_row_equals_numpy(base: Any, files: Any) -> None:
    after = moved(base, 1e-3, 1)
    result = diff(files / "before.pth", files / "after.pth", kind="all")
    assert len(result.rows) == len(base)
    for row in result.rows:
        want = difference(base[row.name].numpy(), after[row.name].numpy())
        assert row.difference.note == want.note
        if not want.note:
            assert row.cosine == pytest.approx(want.cosine, rel=1e-12)
            assert row.difference.relative_l2 == pytest.approx(want.relative_l2, rel=1e-12)


def test_folded_and_drift_equal_numpy(base: Any, files: Any) -> Any:
    after = moved(base, 1e-3, 1)
    result = diff(files / "before.pth", files / "after.pth", eps=1e-3)

    def folded(tensors: Any, conv: Any, norm: Any) -> Any:
        scale = (
            tensors[f"{norm}.weight"].double()
            / (tensors[f"{norm}.running_var"].double() + 1e-3).sqrt()
        )
        return (tensors[f"{conv}.weight"].double() * scale[:, None, None, None]).numpy()

    for row, layer in zip(result.rows, layer_table("mobilenet_v2").layers, strict=True):
        conv, norm = f"features.{layer.name}", f"features.{layer.norm}"
        assert row.name == f"{conv}.weight"
        want = difference(folded(base, conv, norm), folded(after, conv, norm))
        assert row.folded.cosine == pytest.approx(want.cosine, rel=1e-9)  # type: ignore[union-attr]
        gamma = base[f"{norm}.weight"].double()
        drift = (after[f"{norm}.weight"].double() - gamma).norm() / gamma.norm()
        assert row.norm.weight == pytest.approx(float(drift), rel=1e-12)  # type: ignore[union-attr]


def test_forward_order_of_a_recognised_backbone(files: Any) -> None:
    result = diff(files / "before.pth", files / "after.pth")
    assert (result.architecture, result.order, result.kind) == ("mobilenet_v2", "forward", "conv")
    assert [row.index for row in result.rows] == list(range(1, 53))
    assert result.eps == 1e-5
    assert result.matched == {"same": 314}
    assert result.largest < 1e-5
    assert not result.incomparable


def test_file_order_otherwise(tmp_path: Path) -> None:
    tensors = {"z.weight": torch.randn(3, 3, 3, 3), "a.weight": torch.randn(3, 3, 3, 3)}
    torch.save(tensors, tmp_path / "a.pth")
    result = diff(tmp_path / "a.pth", tmp_path / "a.pth")
    assert result.order == "file"
    assert [row.name for row in result.rows] == ["z.weight", "a.weight"]
    assert result.eps is None
    assert result.rows[0].folded is None


def test_an_unchanged_file_is_exactly_zero(files: Any) -> None:
    result = diff(files / "before.pth", files / "before.pth", kind="all")
    assert {row.cosine for row in result.rows} == {0.0}
    assert {row.difference.relative_l2 for row in result.rows} == {0.0}
    assert {row.folded.cosine for row in result.rows if row.folded} == {0.0}


def cosines(result: Any) -> Any:
    return {row.name: row.cosine for row in result.rows}


def test_format_nesting_and_order_do_not_matter(base: Any, files: Any, tmp_path: Path) -> None:
    reference = cosines(diff(files / "before.pth", files / "after.pth", kind="all"))
    assert cosines(diff(files / "before.pth", files / "after.safetensors", kind="all")) == reference
    shuffled = dict(reversed(moved(base, 1e-3, 1).items()))
    torch.save(shuffled, tmp_path / "shuffled.pth")
    assert cosines(diff(files / "before.pth", tmp_path / "shuffled.pth", kind="all")) == reference


def test_sharding_does_not_matter(base: Any, files: Any, tmp_path: Path) -> None:
    after = list(moved(base, 1e-3, 1).items())
    weight_map: dict[str, str] = {}
    for n in range(3):
        part = dict(after[n::3])
        safetensors.torch.save_file(part, tmp_path / f"model-{n}.safetensors")
        weight_map |= dict.fromkeys(part, f"model-{n}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    reference = cosines(diff(files / "before.pth", files / "after.pth", kind="all"))
    assert cosines(diff(files / "before.pth", tmp_path, kind="all")) == reference


@given(seed=st.integers(0, 1000), step=st.floats(1e-4, 1))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_storage_type_does_not_matter_where_it_is_exact(
    tmp_path: Path, seed: Any, step: Any
) -> None:
    g = torch.Generator().manual_seed(seed)
    u = torch.randn(8, 4, 3, 3, generator=g).bfloat16()
    v = (u.float() * (1 + step * torch.randn(u.shape, generator=g))).bfloat16()
    values = []
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        torch.save({"w": u.to(dtype)}, tmp_path / "u.pth")
        torch.save({"w": v.to(dtype)}, tmp_path / "v.pth")
        values.append(diff(tmp_path / "u.pth", tmp_path / "v.pth", exact=True).rows[0])
    assert values[0].difference == values[1].difference == values[2].difference
    torch.save({"w": v.bfloat16()}, tmp_path / "v.pth")
    torch.save({"w": u.bfloat16()}, tmp_path / "u.pth")
    quick = diff(tmp_path / "u.pth", tmp_path / "v.pth").rows[0]
    assert quick.precision == "float32"
    assert quick.cosine == pytest.approx(values[0].cosine, rel=1e-5, abs=1e-12)


def test_mixed_storage_types_are_named(tmp_path: Path) -> None:
    w = torch.randn(4, 4)
    torch.save({"w": w}, tmp_path / "a.pth")
    torch.save({"w": w.half()}, tmp_path / "b.pth")
    row = diff(tmp_path / "a.pth", tmp_path / "b.pth").rows[0]
    assert (row.dtype, row.precision) == ("float32 -> float16", "float64")


def test_threads_give_the_same(files: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = diff(files / "before.pth", files / "after.pth", kind="all")
    monkeypatch.setattr("frostline.comparison.pairs._THREADS_FROM", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    threaded = diff(files / "before.pth", files / "after.pth", kind="all")
    for a, b in zip(reference.rows, threaded.rows, strict=True):
        assert a.name == b.name
        assert a.cosine == pytest.approx(b.cosine, rel=1e-12, nan_ok=True)


def test_an_error_in_a_thread_arrives(
    files: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("frostline.comparison.pairs._THREADS_FROM", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    path = tmp_path / "w.pth"
    path.write_bytes((files / "before.pth").read_bytes())
    opened = open_checkpoint(path)
    with path.open("r+b") as file:
        file.truncate(100_000)
    with pytest.raises(CheckpointError, match="ends at"):
        diff(opened, files / "after.pth")


def test_kinds_and_patterns(files: Any) -> Any:
    def count(**options: Any) -> Any:
        return len(diff(files / "before.pth", files / "after.pth", **options).rows)

    assert count(kind="conv") == 52
    assert count(kind="linear") == 1
    assert count(kind="norm") == 52 * 4
    assert count(kind="all") == 314
    assert count(include=["features.0.*"]) == 1
    assert (
        count(kind="all", include=["features.0.*", "features.1.*"], exclude=["*.bias"]) == 6 * 3 - 3
    )
    with pytest.raises(AlignmentError, match="--kind all"):
        count(include=["nothing*"])
    with pytest.raises(ConfigError, match="conv, linear, norm, all"):
        count(kind="convs")


def test_one_pattern_need_not_be_a_list(files: Any) -> None:
    pair = files / "before.pth", files / "after.pth"
    one = diff(*pair, include="features.9.*")
    assert one.rows == diff(*pair, include=["features.9.*"]).rows
    assert len(diff(*pair, exclude="features.9.*").rows) == 52 - len(one.rows)


def test_norms_stand_where_their_convolution_does(files: Any) -> None:
    rows = diff(files / "before.pth", files / "after.pth", kind="norm").rows
    assert [row.index for row in rows] == sorted(row.index for row in rows)  # type: ignore[type-var]
    assert rows[0].name == "features.0.1.weight"


def test_everything_else_when_there_are_no_convolutions(tmp_path: Path) -> None:
    torch.save({"w": torch.randn(3, 3), "b": torch.randn(3)}, tmp_path / "a.pth")
    assert diff(tmp_path / "a.pth", tmp_path / "a.pth").kind == "all"


def test_everything_where_convolutions_are_few(tmp_path: Path) -> None:
    """Tokens and tables of positions, with a first dimension of 1, are no convolutions."""
    tensors: dict[str, Any] = {f"block.{i}.weight": torch.randn(4, 4) for i in range(3)}
    tensors |= {"cls_token": torch.randn(1, 1, 4), "pos_embed": torch.randn(1, 5, 4)}
    torch.save(tensors | {"patch.weight": torch.randn(4, 3, 2, 2)}, tmp_path / "vit.pth")
    vit = tmp_path / "vit.pth"
    assert {row.name for row in diff(vit, vit).rows} == {*tensors, "patch.weight"}
    assert [row.name for row in diff(vit, vit, kind="conv").rows] == ["patch.weight"]


def test_what_has_no_counterpart_is_listed_and_other_shapes_are_not_comparable(
    tmp_path: Path,
) -> None:
    torch.save({"head.weight": torch.zeros(91, 4), "old": torch.zeros(1)}, tmp_path / "a.pth")
    torch.save({"head.weight": torch.zeros(2, 4), "new": torch.zeros(2)}, tmp_path / "b.pth")
    result = diff(tmp_path / "a.pth", tmp_path / "b.pth")
    assert (result.only_before, result.only_after) == (("old",), ("new",))
    assert math.isnan(result.rows[0].cosine)
    assert result.rows[0].difference.note == "not comparable: shape [91, 4] against [2, 4]"
    assert result.incomparable == result.rows
    assert math.isnan(result.largest)


def test_nothing_in_common(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "a.pth")
    torch.save({"b": torch.zeros(4)}, tmp_path / "b.pth")
    with pytest.raises(AlignmentError, match=r"a\.pth has 'a', b\.pth has 'b'"):
        diff(tmp_path / "a.pth", tmp_path / "b.pth")


def test_empty_and_complex_tensors(tmp_path: Path) -> None:
    tensors = {
        "e": torch.zeros(0, 3),
        "c": torch.zeros(2, dtype=torch.complex64),
        "w": torch.ones(2),
    }
    torch.save(tensors, tmp_path / "a.pth")
    notes = {r.name: r.difference.note for r in diff(tmp_path / "a.pth", tmp_path / "a.pth").rows}
    assert "no elements" in notes["e"]
    assert "complex64" in notes["c"]
    assert notes["w"] == ""


def test_a_classifier_against_a_detector(base: Any, files: Any, tmp_path: Path) -> None:
    """Names of different frameworks, the backbone's order, and a head that only one side has."""
    body = {
        f"backbone.body.{k.removeprefix('features.')}": v
        for k, v in base.items()
        if "features" in k
    }
    torch.save(body, tmp_path / "detector.pth")
    result = diff(files / "before.pth", tmp_path / "detector.pth")
    assert len(result.rows) == 52
    assert {row.cosine for row in result.rows} == {0.0}
    assert result.only_before == ("classifier.1.weight", "classifier.1.bias")
    assert result.rows[0].other == "backbone.body.0.0.weight"
    assert {row.folded.cosine for row in result.rows} == {0.0}  # type: ignore[union-attr]


def test_real_pair_equals_numpy(real_weights: Path) -> None:
    """Two trainings of one network, in files of two ages and two naming schemes."""
    before = open_checkpoint(real_weights / "mobilenet_v2_imagenet_original.pt")
    name = "mobilenet_v2_coco_then_vocperson_ssdlite.safetensors"
    after = open_checkpoint(real_weights / name)
    result = diff(before, after)
    assert len(result.rows) == 52
    for row in result.rows:
        u = before[row.name].read().astype(np.float64).ravel()
        v = after[row.other].read().astype(np.float64).ravel()
        plain = 1 - abs(u @ v) / math.sqrt((u @ u) * (v @ v))
        assert row.cosine == pytest.approx(plain, rel=1e-10)
    same = diff(before, real_weights / "mobilenet_v2_imagenet.safetensors", kind="all")
    assert {row.cosine for row in same.rows} == {0.0}
    assert not same.only_before
    assert not same.only_after


def test_real_efficientnet_against_timm_names_equals_numpy(
    real_weights: Path, tmp_path: Path
) -> None:
    """The original's names before, timm's after, and weights that moved a little."""
    before = open_checkpoint(real_weights / "efficientnet-lite0-57934424.pth")
    tensors = {name: torch.from_numpy(t.read()) for name, t in before.items()}
    after = {timm_lite0_name(name): t for name, t in moved(tensors, 0.01, 3).items()}
    safetensors.torch.save_file(after, tmp_path / "timm.safetensors")
    result = diff(before, tmp_path / "timm.safetensors", kind="all")
    assert not result.only_before
    assert not result.only_after
    assert len(result.rows) == len(before)
    for row in result.rows:
        if row.difference.note == "both are zero":  # counters
            continue
        # In float64 this formula errs by 6e-14, more or less by the number of BLAS threads.
        u = tensors[row.name].numpy().astype(np.longdouble).ravel()
        v = after[row.other].numpy().astype(np.longdouble).ravel()
        plain = float(1 - abs(u @ v) / np.sqrt((u @ u) * (v @ v)))
        assert row.cosine == pytest.approx(plain, rel=1e-9, abs=1e-15)


# What a result can do


def test_results_are_json_safe(files: Any) -> None:
    result = diff(files / "before.pth", files / "after.pth", kind="all")
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert json.loads(text)["rows"][0]["cosine"] == result.rows[0].cosine
    assert "/" not in result.to_dict()["before"]  # no paths


def test_plot_and_html(files: Any) -> None:
    result = diff(files / "before.pth", files / "after.pth")
    ax = Figure(figsize=(8, 3)).subplots()
    result.plot(ax)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [row.cosine for row in result.rows])  # type: ignore[arg-type]
    html = result._repr_html_()
    assert html.count("<tr>") == 53
    ET.fromstring(html)


def test_the_page_says_what_its_columns_are_and_what_was_assumed(files: Any) -> None:
    result = diff(files / "before.pth", files / "after.pth", eps=1e-3)
    text = page(result)
    assert text.count("<svg") == 2, "one for a screen, one for a phone"
    assert "#010e" not in text, "every colour of a drawing is a variable of the page"
    assert "<dt>folded</dt>" in text
    assert "forward order of mobilenet_v2, recognised by its names" in text
    assert "folded with BatchNorm eps 0.001" in text
    assert ">note<" not in text, "a column without values is no column"
    assert not re.search(r"(?:href|src)=\"(?!#)", text), "it asks for nothing from outside"


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ([90.2, 0.5], 90.2, "90.2"),
        ([100.0, 0.5], 100.0, "100"),
        ([5e-5, 0.5], 0.5, "5.00e-01"),
        ([0.5, 0.0, math.nan], 0.0, "0"),
        ([0.5], math.nan, ""),
        ([12345.0], 12345.0, "1.23e+04"),
        ([None, "text", 0.25], 0.25, "0.250"),
    ],
)
def test_a_column_has_powers_of_ten_where_it_needs_them(
    column: list[object], value: float, said: str
) -> None:
    assert number_format(column)(value) == said


def test_names_from_files_are_escaped(tmp_path: Path) -> None:
    torch.save({"<script>alert(1)</script>.weight": torch.randn(2, 2)}, tmp_path / "a.pth")
    result = diff(tmp_path / "a.pth", tmp_path / "a.pth")
    assert "<script>" not in result._repr_html_()
    assert "<script>" not in page(result)


def test_lines_have_gaps_where_a_file_lacks_a_tensor(files: Any) -> None:
    whole = diff(files / "before.pth", files / "after.pth")
    part = diff(files / "before.pth", files / "after.pth", exclude=["features.3.*"])
    table = lines_table([("same name", whole.rows), ("same name", part.rows)])
    assert [line.init for line in table.lines] == ["same name", "same name (2)"]
    assert sum(math.isnan(value) for value in table.lines[1].mean) == 3


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_figure_files(files: Any, tmp_path: Path, suffix: Any) -> None:
    result = diff(files / "before.pth", files / "after.pth", kind="all")
    path = tmp_path / f"figure.{suffix}"
    write_figure(result.drawing(), path)
    assert path.stat().st_size > 1000
    with pytest.raises(ConfigError, match=r"svg or \.png"):
        write_figure(result.drawing(), tmp_path / "figure.jpg")


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_figures_of_files_that_are_all_the_same(files: Any, tmp_path: Path, suffix: Any) -> None:
    """As a backbone that was frozen in every run."""
    base = files / "before.pth"
    for result in (diff(base, base), trajectory(base, [base] * 2), noise_floor(base, [base] * 2)):
        write_figure(result.drawing(), tmp_path / f"x.{suffix}")
        assert "<svg" in page(result)


def test_the_axis_says_what_is_counted(files: Any, seeds: Any) -> None:
    def label(result: Any) -> str:
        ax = Figure(figsize=(8, 3)).subplots()
        result.plot(ax)
        return ax.get_xlabel()

    def compare(**options: Any) -> Any:
        return diff(files / "before.pth", files / "after.pth", **options)

    convolutions = "convolution, counted from the input"
    assert label(compare()) == convolutions
    assert label(compare(kind="norm")) == "tensor, in forward order"
    assert label(compare(kind="all")).startswith("tensor, in forward order")
    assert label(compare(include=["features.9.*"])) == "tensor, in forward order"
    assert label(noise_floor(files / "before.pth", seeds)) == convolutions
    assert label(noise_floor(files / "before.pth", seeds, kind="norm")).startswith("tensor")


def test_public_name(files: Any) -> None:
    assert isinstance(frostline.diff(files / "before.pth", files / "after.pth"), Comparison)


# Several files


def test_trajectory(base: Any, files: Any, tmp_path: Path) -> None:
    for n in (1, 2, 3):
        torch.save(moved(base, n * 1e-3, 5), tmp_path / f"step{n}.pth")
    steps = [tmp_path / f"step{n}.pth" for n in (1, 2, 3)]
    result = trajectory(files / "before.pth", steps)
    assert [step.after for step in result.steps] == ["step1.pth", "step2.pth", "step3.pth"]
    first = result.to_dict()["rows"][0]
    assert first["cosine"] == sorted(first["cosine"])
    assert first["cosine"][2] == pytest.approx(9 * first["cosine"][0], rel=0.05)
    json.dumps(result.to_dict(), allow_nan=False)
    ax = Figure(figsize=(8, 3)).subplots()
    result.plot(ax)
    assert len(ax.lines) >= 3
    ET.fromstring(result._repr_html_())
    assert "3 steps away" in page(result)
    with pytest.raises(ConfigError, match="at least one file"):
        trajectory(files / "before.pth", [])


def test_a_trajectory_says_what_a_step_lacks(base: Any, files: Any, tmp_path: Path) -> None:
    less = {k: v for k, v in moved(base, 1e-3, 5).items() if not k.startswith("features.9.")}
    less["features.8.conv.2.weight"] = torch.zeros(1, 1, 1, 1)
    less["features.1.conv.1.weight"] = less["features.1.conv.1.weight"] * math.nan
    torch.save(less, tmp_path / "less.pth")
    result = trajectory(files / "before.pth", [files / "after.pth", tmp_path / "less.pth"])
    content = result.to_dict()
    assert content["kind"] == "conv"
    assert content["only_before"][0] == []
    assert "features.9.conv.2.weight" in content["only_before"][1]
    rows = {row["name"]: row for row in content["rows"]}
    assert rows["features.9.conv.2.weight"]["note"] == ["", "no counterpart"]
    assert rows["features.9.conv.2.weight"]["precision"] == ["float64", None]
    assert "shape" in rows["features.8.conv.2.weight"]["note"][1]
    assert "not finite" in rows["features.1.conv.1.weight"]["note"][1]
    lines = list(notes(result))
    assert any(line.startswith("less.pth without counterpart: 18 tensors") for line in lines)
    assert "less.pth without a number: 2 tensors (--format json)" in lines


def unit_angle(u: Any, v: Any) -> Any:
    u, v = u.astype(np.longdouble).ravel(), v.astype(np.longdouble).ravel()
    u, v = u / np.sqrt(u @ u), v / np.sqrt(v @ v)
    return float(np.degrees(2 * np.arcsin(np.sqrt(((u - v) ** 2).sum()) / 2)))


@pytest.fixture(scope="module")
def seeds(base: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three seeds: every layer moves alike except features.5.*, which only scatters, and
    features.0.*, which stays."""
    folder = tmp_path_factory.mktemp("seeds")
    common = moved(base, 1e-3, 1)
    for s in range(3):
        own = moved(base, 1e-3, 100 + s)
        together = moved(common, 3e-4, 200 + s)
        tensors = {
            name: base[name] if name.startswith("features.0.") else own[name]
            if name.startswith("features.5.") else together[name]
            for name in base
        }  # fmt: skip
        torch.save(tensors, folder / f"seed{s}.pth")
    torch.save(moved(base, 5e-4, 300), folder / "control.pth")
    return [folder / f"seed{s}.pth" for s in range(3)]


def test_noise_floor_equals_numpy(base: Any, files: Any, seeds: Any) -> None:
    result = noise_floor(files / "before.pth", seeds)
    ends = [open_checkpoint(seed) for seed in seeds]
    for row in result.rows:
        w = base[row.name].numpy()
        x = [end[row.name].read() for end in ends]
        mean = np.mean([a.astype(np.longdouble) for a in x], axis=0)
        pairs = [unit_angle(x[i], x[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        floor = math.sqrt(np.mean(np.square(pairs))) / math.sqrt(6)
        assert row.signal == pytest.approx(unit_angle(w, mean), rel=1e-8, abs=1e-12)
        assert row.floor == pytest.approx(floor, rel=1e-8, abs=1e-12)
        assert row.threshold == pytest.approx(
            1 - math.cos(math.radians(2 * floor)), rel=1e-4, abs=1e-15
        )
        each = np.mean([difference(w, a).cosine for a in x])
        assert row.cosine == pytest.approx(each, rel=1e-8, abs=1e-18)
        d = [(a.astype(np.float64) - w).ravel() for a in x]
        if row.signal > 0:
            cosine = [
                d[i] @ d[j] / math.sqrt((d[i] @ d[i]) * (d[j] @ d[j]))
                for i, j in ((0, 1), (0, 2), (1, 2))
            ]
            assert row.agreement == pytest.approx(np.mean(cosine), rel=1e-9)


def test_which_layers_moved(files: Any, seeds: Any) -> None:
    result = noise_floor(files / "before.pth", seeds)
    moved_names = {row.name for row in result.moved}
    for row in result.rows:
        expected = not row.name.startswith(("features.0.", "features.5."))
        assert (row.name in moved_names) == expected, row
    still = result.rows[0]
    assert (still.signal, still.floor, still.moved) == (0.0, 0.0, False)
    assert math.isnan(still.agreement)
    scattered = next(row for row in result.rows if row.name.startswith("features.5."))
    assert scattered.signal == pytest.approx(scattered.floor, rel=0.3)


def test_a_control_run_stands_beside(files: Any, seeds: Any) -> None:
    result = noise_floor(files / "before.pth", seeds, control=seeds[0].parent / "control.pth")
    assert result.control == "control.pth"
    assert all(row.control > 0 for row in result.rows)  # type: ignore[operator]
    json.dumps(result.to_dict(), allow_nan=False)
    ax = Figure(figsize=(8, 3)).subplots()
    result.plot(ax)
    ET.fromstring(result._repr_html_())
    assert "layers moved" in page(result)


def test_noise_floor_refuses_what_it_cannot_answer(
    files: Any, seeds: Any, base: Any, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="two or more seeds"):
        noise_floor(files / "before.pth", seeds[:1])
    with pytest.raises(ConfigError, match="above 0"):
        noise_floor(files / "before.pth", seeds, factor=0)
    less = {k: v for k, v in base.items() if not k.startswith("features.9.")}
    torch.save(less, tmp_path / "less.pth")
    for pair in ([seeds[0], tmp_path / "less.pth"], [tmp_path / "less.pth", seeds[0]]):
        with pytest.raises(AlignmentError, match=r"in less\.pth"):
            noise_floor(files / "before.pth", pair)


def test_noise_floor_of_another_shape(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2, 2)}, tmp_path / "a.pth")
    torch.save({"w": torch.ones(3, 2)}, tmp_path / "b.pth")
    row = noise_floor(tmp_path / "a.pth", [tmp_path / "b.pth"] * 2).rows[0]
    assert "not comparable" in row.note
    assert not row.moved
    assert row.to_dict()["signal"] is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("value", "note"),
    [(math.nan, "not finite"), (math.inf, "not finite"), (0.0, "is zero"), (1j, "type complex64")],
)
def test_noise_floor_of_values_without_an_angle(tmp_path: Path, value: Any, note: Any) -> None:
    torch.save({"w": torch.ones(2, 2)}, tmp_path / "a.pth")
    torch.save({"w": torch.full((2, 2), value)}, tmp_path / "b.pth")
    row = noise_floor(tmp_path / "a.pth", [tmp_path / "a.pth", tmp_path / "b.pth"]).rows[0]
    assert note in row.note
    assert not row.moved


def test_a_flipped_sign_does_not_count_as_a_turn(tmp_path: Path) -> None:
    """As for two files: ``cosine`` is 1 - |cos|, which folds the sign away."""
    tensors = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    torch.save({"w": tensors}, tmp_path / "a.pth")
    turned = -tensors
    turned[0, 0] += 0.1
    torch.save({"w": turned}, tmp_path / "b.pth")
    row = noise_floor(tmp_path / "a.pth", [tmp_path / "b.pth"] * 2).rows[0]
    want = diff(tmp_path / "a.pth", tmp_path / "b.pth").rows[0]
    assert row.cosine == pytest.approx(want.cosine, rel=1e-6)
    assert row.signal == pytest.approx(want.difference.angle)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    """As trials keep them."""
    files = []
    for n in range(3):
        folder = tmp_path / f"seed{n}" / "last$1$"
        folder.mkdir(parents=True)
        torch.save({"w.weight": torch.randn(2, 2)}, folder / "weights.pth")
        files.append(folder / "weights.pth")
    result = trajectory(files[0], [*files, files[2]])
    names = [f"seed{n}/last$1$/weights.pth" for n in range(3)]
    assert [step.after for step in result.steps] == [*names, f"{names[2]} (2)"]
    assert noise_floor(files[0], files[1:]).seeds == tuple(names[1:])
    write_figure(result.drawing(), tmp_path / "figure.svg")
    assert "$1$" in (tmp_path / "figure.svg").read_text()
