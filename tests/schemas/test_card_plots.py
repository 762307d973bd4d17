import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from petapter_schemas.card import render_card
from petapter_schemas.card_plots import MAX_PLOT_BYTES, Plot, draw_plots
from petapter_schemas.digests import sha256_bytes
from petapter_schemas.manifest import EvaluationSet, EvaluationSpec, Interval, Manifest, ReliabilityBin
from petapter_schemas.plot_data import PlotData, parse_plot_data
from tests.schemas.test_plot_data import DATA
from tests.schemas.tiny_module import tiny_manifest

NASTY = "<a href='x'>&\"]](b)`"


def _plot_data(**changes: Any) -> PlotData:
    return parse_plot_data(json.dumps({**DATA, **changes}).encode())


def _with_reliability(manifest: Manifest) -> Manifest:
    accuracy = manifest.evaluation[0]
    bins = (ReliabilityBin(confidence=0.6, accuracy=0.5), ReliabilityBin(confidence=0.9, accuracy=1.0))
    ece = accuracy.model_copy(update={"metric": "ece", "value": 0.1, "reliability": bins})
    return manifest.model_copy(update={"evaluation": (accuracy, ece)})


def _texts(plot: Plot) -> list[str]:
    return [element.text or "" for element in ET.fromstring(plot.svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 (ours)


def test_plots_without_their_numbers_are_left_out() -> None:
    assert draw_plots(tiny_manifest(), None) == ()
    assert [plot.path for plot in draw_plots(_with_reliability(tiny_manifest()), None)] == ["plot-reliability.svg"]
    assert [plot.path for plot in draw_plots(tiny_manifest(), _plot_data(confusions=[]))] == ["plot-loss.svg"]
    assert draw_plots(tiny_manifest(), _plot_data(confusions=[], losses=[{"step": 1, "loss": 1.0}])) == ()


def test_every_plot_says_in_words_what_it_shows() -> None:
    sure = "the surest says 0.90 and is right in 1.00, the least sure says 0.60 and is right in 0.50"
    plots = draw_plots(_with_reliability(tiny_manifest()), _plot_data())
    assert [plot.alt for plot in plots] == [
        "Confusion matrix on held-out (test, 20 rows): 15 rows are right; the most frequent error is a for b, 3 times.",
        "F1 of each label on held-out (test, 20 rows): from 0.74 (b) to 0.76 (a).",
        f"Reliability diagram on held-out (test, 20 rows): 2 bins, {sure}; calibration error 0.100.",
        "Training loss over 10 steps: 0.7 at the beginning, 0.2 at the end.",
    ]
    for plot in plots:
        assert plot.alt in (ET.fromstring(plot.svg).findtext("{http://www.w3.org/2000/svg}desc") or "")  # noqa: S314 (ours)


def test_confusion_matrix_shows_every_count() -> None:
    confusion = draw_plots(tiny_manifest(), _plot_data())[0]
    assert _texts(confusion)[1:] == ["a", "a", "8", "2", "b", "b", "3", "7"]


def test_f1_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    gold, given = ["a"] * 10 + ["b"] * 10, ["a"] * 8 + ["b"] * 2 + ["a"] * 3 + ["b"] * 7
    expected = sorted(f"{value:.2f}" for value in f1_score(gold, given, average=None))
    assert sorted(text for text in _texts(draw_plots(tiny_manifest(), _plot_data())[1]) if "." in text) == expected


@pytest.mark.parametrize("labels", [2, 17, 77, 200])
def test_plots_of_many_labels_stay_small(labels: int) -> None:
    names = tuple(f"label number {i} of a long name {NASTY}" for i in range(labels))
    rows = EvaluationSet(name=NASTY, sha256=sha256_bytes(b"set"), split="test", n=3 * labels * labels)
    counts = tuple(tuple(3 for _ in names) for _ in names)
    manifest = tiny_manifest(labels=names)
    accuracy = EvaluationSpec(
        metric="accuracy", value=1 / labels, interval=Interval(low=0, high=1), evaluation_set=rows, seeds=(0,)
    )
    manifest = _with_reliability(manifest.model_copy(update={"evaluation": (accuracy,)}))
    data = PlotData.model_validate(
        {
            "losses": tuple({"step": step, "loss": 1 / step} for step in range(1, 257)),
            "confusions": ({"evaluation_set": rows, "counts": counts},),
        }
    )
    plots = draw_plots(manifest, data)
    assert len(plots) == 4
    for plot in plots:
        assert len(plot.svg.encode()) < MAX_PLOT_BYTES
        ET.fromstring(plot.svg)  # noqa: S314 (ours)
    assert len(_texts(plots[0])) <= 1 + 14 * 16


def test_card_shows_the_plots_and_names_cannot_become_markup() -> None:
    manifest = tiny_manifest(labels=(NASTY, "b"))
    card = render_card(manifest, plots=draw_plots(manifest, _plot_data()))
    line = next(line for line in card.splitlines() if "plot-confusion.svg" in line)
    assert line.startswith("![Confusion matrix on held-out (test, 20 rows)")
    assert line.endswith("](plot-confusion.svg)")
    assert "<a" not in line
    assert line.count("]") == 1


def test_card_without_plots_says_nothing_of_them() -> None:
    assert "![" not in render_card(tiny_manifest())
