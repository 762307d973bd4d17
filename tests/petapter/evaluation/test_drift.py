import math
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import fisher_exact

from petapter.evaluation.drift import DriftReport, Finding, compare_with
from petapter.evaluation.drift_plot import check_plot, draw_drift
from petapter.evaluation.profile import Given, TextFeatures, TopAnswers, make_profile
from petapter_schemas.errors import DataError, InputError
from petapter_schemas.profile import TOKEN_BUCKETS, Profile

NAMES = ("a", "b", "c")


def texts(count: int, seed: int, *, longer: int = 0, other: float = 0.0) -> TextFeatures:
    """Texts of a made-up language; a share of their tokens may be of another one."""
    rng = np.random.default_rng(seed)
    usual = rng.zipf(1.3, size=(count, 60)) % TOKEN_BUCKETS
    strange = TOKEN_BUCKETS - 1 - usual % 100
    lengths = rng.integers(5, 30, size=count) + longer
    tokens = np.zeros((count, TOKEN_BUCKETS))
    for row, length in enumerate(lengths):
        of = np.where(rng.random(length) < other, strange[row, :length], usual[row, :length])
        tokens[row] = np.bincount(of, minlength=TOKEN_BUCKETS) / length
    return TextFeatures(lengths, tokens)


def answers(count: int, seed: int, mix: tuple[float, float, float] = (0.5, 0.3, 0.2), sure: float = 6.0) -> TopAnswers:
    rng = np.random.default_rng(seed)
    return TopAnswers(rng.choice(3, size=count, p=mix), 0.4 + 0.6 * rng.beta(sure, 2, size=count))


def profile_of(count: int, seed: int) -> Profile:
    said = answers(count, seed)
    wrong = np.random.default_rng(seed + 1).random(count) > said.confidences
    profile = make_profile(texts(count, seed), said, np.where(wrong, 3, said.labels))
    assert profile is not None
    return profile


def verdicts(report: DriftReport) -> dict[str, bool]:
    return {finding.what: finding.drifted for finding in report.findings}


@pytest.mark.parametrize(("trained", "new"), [(30, 40), (60, 60), (60, 400)])
def test_unchanged_texts_raise_an_alarm_as_seldom_as_alpha_says(trained: int, new: int) -> None:
    trials = 40
    alarms = sum(
        compare_with(
            profile_of(trained, 1000 + trial), texts(new, trial), answers(new, trial), NAMES, alpha=0.1, seed=trial
        ).drifted
        for trial in range(trials)
    )
    assert alarms <= 0.1 * trials + 3 * math.sqrt(0.09 * trials)


@pytest.mark.parametrize(
    ("new", "said", "changed"),
    [
        (texts(300, 7, longer=15), answers(300, 7), {"lengths"}),
        (texts(300, 7, other=0.4), answers(300, 7), {"tokens"}),
        (texts(300, 7), answers(300, 7, mix=(0.1, 0.2, 0.7)), {"labels"}),
        (texts(300, 7), answers(300, 7, sure=1.5), {"confidences"}),
    ],
    ids=["longer", "other-tokens", "other-mix", "less-sure"],
)
def test_what_has_changed_is_named(new: TextFeatures, said: TopAnswers, changed: set[str]) -> None:
    found = verdicts(compare_with(profile_of(100, 1), new, said, NAMES))
    assert {what for what, drifted in found.items() if drifted} == changed


def test_distance_is_the_jensen_shannon_divergence() -> None:
    profile, new = profile_of(100, 1), texts(50, 9)
    (lengths, *_) = compare_with(profile, new, None, NAMES).findings
    expected = jensenshannon(lengths.before, lengths.now, base=2) ** 2
    assert lengths.distance == pytest.approx(expected, abs=1e-12)


def test_a_module_that_is_surer_than_before_raises_no_alarm() -> None:
    report = compare_with(profile_of(100, 1), texts(300, 7), answers(300, 7, sure=40.0), NAMES)
    (sure,) = [finding for finding in report.findings if finding.what == "confidences"]
    assert sure.distance > 10 * sure.by_chance
    assert (sure.p_value, sure.drifted) == (1.0, False)


def test_labels_that_training_never_gave_have_a_bin_of_their_own() -> None:
    said = TopAnswers(np.zeros(20, dtype=int), np.full(20, 0.7))
    profile = make_profile(texts(20, 1), said, np.zeros(20, dtype=int))
    assert profile is not None
    now = TopAnswers(np.array([0] * 10 + [2] * 10), np.full(20, 0.7))
    (labels,) = [each for each in compare_with(profile, texts(20, 2), now, NAMES).findings if each.what == "labels"]
    assert (labels.bins, labels.before, labels.now) == (("a", "any other"), (1.0, 0.0), (0.5, 0.5))
    assert labels.drifted


def test_accuracy_follows_the_confidences() -> None:
    profile = profile_of(200, 1)
    assert profile.answers is not None
    said = answers(500, 5, sure=1.5)
    found = compare_with(profile, texts(500, 5), said, NAMES).accuracy
    assert found is not None
    assert found.low < said.confidences.mean() < found.high
    assert found.value == pytest.approx(said.confidences.mean() + profile.answers.gap, abs=0.02)
    assert found.at_training == profile.answers.right / 200
    assert found.value < found.at_training


def test_ten_right_answers_do_not_promise_that_all_will_be() -> None:
    said = TopAnswers(np.zeros(10, dtype=int), np.full(10, 0.99))
    profile = make_profile(texts(10, 1), said, np.zeros(10, dtype=int))
    assert profile is not None
    found = compare_with(profile, texts(100, 2), TopAnswers(np.zeros(100, dtype=int), np.full(100, 0.99)), NAMES)
    assert found.accuracy is not None
    assert found.accuracy.low < 0.72  # that of Agresti and Coull for 10 of 10
    assert found.accuracy.high == 1.0


def test_profile_without_answers_compares_texts_alone() -> None:
    profile = make_profile(texts(40, 1))
    assert profile is not None
    report = compare_with(profile, texts(40, 2), answers(40, 2), NAMES)
    assert list(verdicts(report)) == ["lengths", "tokens"]
    assert report.accuracy is None


def test_texts_without_tokens_are_compared_too() -> None:
    empty = TextFeatures(np.zeros(12, dtype=int), np.zeros((12, TOKEN_BUCKETS)))
    report = compare_with(profile_of(60, 1), empty, None, NAMES)
    assert verdicts(report) == {"lengths": True, "tokens": True}


def test_same_seed_gives_the_same_report() -> None:
    one, other = (compare_with(profile_of(60, 1), texts(80, 2), answers(80, 2), NAMES, seed=3) for _ in range(2))
    assert one == other


def test_rare_alarms_can_still_be_raised() -> None:
    """With 1,000 random splits no p-value would be below 0.001, and four comparisons need a quarter of `alpha`."""
    said = answers(200, 2, mix=(0.0, 0.0, 1.0))
    report = compare_with(profile_of(60, 1), texts(200, 2, longer=25), said, NAMES, alpha=0.001)
    assert verdicts(report)["labels"]
    assert verdicts(report)["lengths"]


@pytest.mark.parametrize(
    ("count", "alpha", "problem"),
    [(9, 0.01, "9 texts are too few"), (20, 0.0, "alpha is 0.0"), (20, 0.00001, "from 0.0001 to 1")],
)
def test_what_cannot_be_compared_is_refused(count: int, alpha: float, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        compare_with(profile_of(60, 1), texts(count, 2), None, NAMES, alpha=alpha)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plot_is_a_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"drift{suffix}"
    draw_drift(compare_with(profile_of(60, 1), texts(80, 2), answers(80, 2), NAMES), path)
    assert path.read_bytes().startswith((b"\x89PNG", b"<?xml"))


@pytest.mark.parametrize("name", ["drift.pdf", "drift", "no/such/drift.png"])
def test_plot_that_cannot_be_written_is_refused_beforehand(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="drift"):
        check_plot(tmp_path / name)


def test_finding_shows_shares_that_add_up() -> None:
    report = compare_with(profile_of(60, 1), texts(80, 2), answers(80, 2), NAMES)
    for finding in report.findings:
        assert isinstance(finding, Finding)
        assert sum(finding.before) == pytest.approx(1, abs=1e-3)
        assert sum(finding.now) == pytest.approx(1, abs=1e-3)


def given(count: int, seed: int, rates: tuple[float, ...] = (0.5, 0.3, 0.2)) -> Given:
    """Labels that are given independently of one another."""
    return np.random.default_rng(seed).random((count, len(rates))) < rates


def rated(count: int, seed: int) -> Profile:
    profile = make_profile(texts(count, seed), given=given(count, seed))
    assert profile is not None
    return profile


def test_labels_of_a_multi_label_module_are_compared_one_by_one() -> None:
    profile = rated(100, 1)
    assert profile.rates is not None
    now = given(300, 7, (0.5, 0.3, 0.6))
    report = compare_with(profile, texts(300, 7), now, NAMES)
    assert verdicts(report) == {"lengths": False, "tokens": False, "labels": True}
    assert [(shift.label, shift.drifted) for shift in report.labels] == [("a", False), ("b", False), ("c", True)]
    for shift, rate in zip(report.labels, profile.rates.labels, strict=True):
        table = [[rate.given, 100 - rate.given], [int(now[:, rate.label].sum()), 300 - int(now[:, rate.label].sum())]]
        assert shift.p_value == pytest.approx(fisher_exact(table).pvalue)
        assert (shift.before, shift.now) == (rate.given / 100, now[:, rate.label].mean())
    finding = report.findings[-1]
    assert finding.p_value == pytest.approx(3 * min(shift.p_value for shift in report.labels))
    assert finding.bins == NAMES


def test_unchanged_label_rates_raise_an_alarm_as_seldom_as_alpha_says() -> None:
    trials = 60
    reports = [
        compare_with(rated(60, 1000 + trial), texts(80, trial), given(80, trial), NAMES, alpha=0.1)
        for trial in range(trials)
    ]
    alarms = sum(any(shift.drifted for shift in report.labels) for report in reports)
    assert alarms <= 0.1 * trials + 3 * math.sqrt(0.09 * trials)


def test_distance_of_rates_by_chance_is_what_resampling_gives() -> None:
    found = [
        compare_with(rated(100, 2000 + trial), texts(200, 3), given(200, trial), NAMES).findings[-1]
        for trial in range(60)
    ]
    assert np.mean([finding.distance for finding in found]) == pytest.approx(found[0].by_chance, rel=0.35)


def test_labels_that_few_texts_were_given_are_left_out() -> None:
    rows = np.zeros((40, 4), dtype=np.bool_)
    rows[:3, 0], rows[:20, 1], rows[:37, 2] = True, True, True
    profile = make_profile(texts(40, 1), given=rows)
    assert profile is not None
    assert profile.rates is not None
    assert [(rate.label, rate.given) for rate in profile.rates.labels] == [(1, 20), (3, 0)]


def test_picture_of_three_comparisons_leaves_a_panel_empty(tmp_path: Path) -> None:
    report = compare_with(rated(100, 1), texts(100, 7), given(100, 7), NAMES)
    draw_drift(report, tmp_path / "drift.png")
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")
