"""An advice as a file, in words and in a figure."""

import dataclasses
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from frostline.advice.result import ADVICE_FILE, Advice, Cost, Labels, Other, Pick
from frostline.advice.words import lasting, next_commands, price_cells, sentences, verdict
from frostline.errors import RecordError

BASE = Other("coco", "k00", None, 0, True, 0.0, 0.0, 0.0, 1.0, 900.0)
TIE = Other("imagenet", "k00", None, 0, True, -0.012, -0.035, 0.011, 1.0, 900.0)
WORSE = Other("mine", "k00", "lr1e-3", 0, True, -0.08, -0.12, -0.04, 1.0, 900.0)
SHALLOW = Other("coco", "k09", None, 9, False, -0.003, -0.01, 0.004, 0.8, 700.0)
DEEP = Other("coco", "k52", None, 52, True, -0.06, -0.09, -0.03, 0.5, None)
ADVICE = Advice(
    task="detection",
    label="AP",
    prefer="accuracy",
    pick=Pick("coco", "k00", None, 0, 3e-4, 0, "coco-k00-s0", 0.41, 0.37, 0.45, 0.43, 0.405),
    base=BASE,
    chance=0.8,
    regret=0.004,
    others=(TIE, WORSE),
    prices=(SHALLOW, DEEP),
    images=90,
    resolution=0.021,
    cost=Cost(2.0, 1.96, 1200.0, 9.7, ("coco, imagenet, mine to epoch 4",)),
    learned=True,
    remarks=("One seed ran.",),
)


def test_the_file_and_the_value_are_the_same(tmp_path: Path) -> None:
    assert Advice.read(tmp_path) is None
    ADVICE.write(tmp_path)
    assert Advice.read(tmp_path) == ADVICE
    assert json.loads((tmp_path / ADVICE_FILE).read_bytes()) == json.loads(
        json.dumps(ADVICE.to_dict())
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [({"version": 2}, "version 2, expected 1"), ({"pick": None}, "argument"), ({"a": 1}, "'a'")],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, change: dict[str, object], said: str) -> None:
    (tmp_path / ADVICE_FILE).write_text(json.dumps(ADVICE.to_dict() | change))
    with pytest.raises(RecordError, match=rf"cannot read .*advice\.json: .*{said}"):
        Advice.read(tmp_path)


def test_ties_and_the_cheapest_of_them() -> None:
    """Intervals that hold zero: another start, and nine frozen, which costs .8."""
    assert ADVICE.ties == (TIE, SHALLOW)
    assert ADVICE.cheapest == SHALLOW
    alone = dataclasses.replace(ADVICE, prices=(DEEP,))
    assert alone.cheapest is None  # the other start costs as much


def test_the_answer_in_words() -> None:
    assert verdict(ADVICE) == (
        "Start from coco, at learning rate 0.0003, and freeze nothing. This budget cannot tell it "
        "from imagenet."
    )
    text = " ".join(sentences(ADVICE))
    for part in (
        "Expect AP 0.410 (95%: 0.370 to 0.450) from a training with a new seed, on new images "
        "like the 90 validation images.",
        "AP 0.405 on the test images, which chose nothing.",
        "Cannot be told from coco: imagenet (-1.2 points, 95%: -3.5 to +1.1).",
        "more than chance explains: mine at lr1e-3 (-8.0 points, 95%: -12.0 to -4.0).",
        "the best with a chance of 80%; against the best of them it is expected to lose 0.4 points",
        "coco with k=9 frozen: -0.3 points, 95%: -1.0 to +0.4, and 20% less time.",
        "differ by about 2.1 points or more",
        "It cost 1.96 of 2 trainings, of 20 min each; every start at every depth would have cost "
        "9.7.",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("choosing", "said"),
    [
        (0.001, "+0.1 points over the others' mean: more labels would help more than"),
        (0.05, "choosing helps more than twice the labels would"),
        (0.02, "which of the two helps more cannot be told"),
        (None, ""),
    ],
)
def test_more_labels_or_more_choosing(choosing: float | None, said: str, tmp_path: Path) -> None:
    labels = Labels(50, 200, 0.36, 0.41, 0.025, 0.01, 0.04, choosing)
    advice = dataclasses.replace(ADVICE, labels=labels)
    text = " ".join(sentences(advice))
    assert (
        "With 50 of the 200 training images, and as many steps, AP on the validation images was "
        "0.360 instead of 0.410: a doubling of the labels gave +2.5 points (95%: +1.0 to +4.0)."
    ) in text
    assert said in text
    assert ("the choice" in text.lower()) == (choosing is not None)
    advice.write(tmp_path)
    assert Advice.read(tmp_path) == advice


def test_speed_and_nothing_learned_in_words() -> None:
    pick = dataclasses.replace(ADVICE.pick, plan="k09", depth=9)
    fast = dataclasses.replace(ADVICE, prefer="speed", pick=pick)
    assert "and freeze its first 9 convolutions." in verdict(fast)
    assert "freezing k=9 is expected to change AP by -0.3 points" in " ".join(sentences(fast))
    none = dataclasses.replace(ADVICE, learned=False)
    assert verdict(none).startswith("Nothing was learned that could be compared: coco")
    assert len(sentences(none)) == 1


def test_a_row_of_the_price_list() -> None:
    assert price_cells(ADVICE, SHALLOW) == {
        "frozen": "k=9",
        "AP change": "-0.3",
        "95%": "-1.0 to +0.4",
        "time saved": "20%",
        "memory saved": "200 MB",
        "known from": "other data",
    }
    assert price_cells(ADVICE, DEEP)["memory saved"] == ""


def test_what_to_type_next() -> None:
    use, more, _ = next_commands(ADVICE, "runs/study", "study.yaml")
    assert use == (
        "frostline predict runs/study/trials/coco-k00-s0/weights.safetensors IMAGES --out DIR"
    )
    assert more.startswith("frostline advise study.yaml --budget 3x ")
    own = dataclasses.replace(ADVICE, tool="mine")
    assert next_commands(own, "d")[0] == "use d/trials/coco-k00-s0 with mine, which trained it"


def test_the_figure_has_every_row() -> None:
    figure, ax = plt.subplots()
    ADVICE.plot(ax)
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == ["imagenet", "mine lr1e-3", "coco k=9", "coco k=52"]
    spans = [np.asarray(line.get_xdata()) for line in ax.lines]
    assert spans[0].tolist() == pytest.approx([-3.5, 1.1])
    plt.close(figure)


def test_a_notebook_shows_it_escaped() -> None:
    html = dataclasses.replace(ADVICE, remarks=(), base=dataclasses.replace(BASE, init="<b>"))
    assert "<b>" not in html._repr_html_().replace("<td>", "")
    assert "k=52" in html._repr_html_()


def test_durations() -> None:
    assert (lasting(90), lasting(60 * 59), lasting(3600 * 26)) == ("90 s", "59 min", "26.0 h")
