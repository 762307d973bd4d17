from pathlib import Path
from typing import Any

import pytest

from petapter.adapters import AdapterChoice
from petapter.benchmark.grid import MethodEntry, MethodPlan, locate, narrowed, read_grid
from petapter.benchmark.methods import Method, decided_by, resolve_method
from petapter_schemas.errors import InputError
from petapter_schemas.task import TaskSpec

GRID = """
datasets:
  reviews:
    train: train.csv
    test: ${DATA}/test.csv
    task: {labels: {NO: [no, bad], yes: [yes, good]}, patterns: ['{text} {mask}', '{mask}: {text}']}
methods: [majority]
n: [4, 8]
"""
TASK = TaskSpec.model_validate(
    {"labels": {"a": ["x", "y"], "b": "z"}, "patterns": ["{text} {mask}", "{mask}: {text}", "{mask} {text}"]}
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def plans(entry: dict[str, object]) -> list[MethodPlan]:
    return MethodEntry.model_validate(entry).expanded()


def test_label_no_stays_a_word(tmp_path: Path) -> None:
    grid = read_grid(written(tmp_path, GRID))
    task = grid.datasets["reviews"].task
    assert task is not None
    assert task.label_names == ("NO", "yes")
    assert (grid.n, grid.samples, grid.seeds, grid.baseline) == ((4, 8), 5, 3, "paper")


def test_the_paper_is_always_beside(tmp_path: Path) -> None:
    plans = read_grid(written(tmp_path, GRID)).plans
    assert [(plan.name, plan.method, plan.patterns, plan.words) for plan in plans] == [
        ("majority", "majority", None, None),
        ("paper", "paper", 1, 1),
    ]


def test_a_paper_of_ones_own_is_not_doubled(tmp_path: Path) -> None:
    grid = read_grid(written(tmp_path, GRID.replace("[majority]", "[{method: paper, name: p}]\nbaseline: p")))
    assert [plan.name for plan in grid.plans] == ["p"]


def test_rivals_may_be_other_programs(tmp_path: Path) -> None:
    grid = read_grid(written(tmp_path, GRID + "subject: majority\nrivals: [paper, setfit]\n"))
    assert (grid.subject, grid.rivals) == ("majority", ("paper", "setfit"))


def test_nothing_is_looked_at_more_closely_unless_the_grid_says_so(tmp_path: Path) -> None:
    grid = read_grid(written(tmp_path, GRID))
    assert (grid.subject, grid.rivals) == (None, ())


def test_lists_of_options_are_multiplied_and_named() -> None:
    entry = {"method": "module", "adapter": ["lora", "ia3"], "steps": ["2", "4"], "batch_size": "8", "patterns": "1"}
    found = plans(entry)
    assert [plan.name for plan in found] == [
        "module adapter=lora steps=2", "module adapter=lora steps=4", "module adapter=ia3 steps=2",
        "module adapter=ia3 steps=4",
    ]  # fmt: skip
    assert found[0].options == {"adapter": "lora", "steps": 2, "batch_size": 8}
    assert found[0].patterns == 1
    methods = [resolve_method(plan.method, plan.options) for plan in found]
    assert [kind_and_steps(method) for method in methods] == [("lora", 2), ("lora", 4), ("ia3", 2), ("ia3", 4)]


def test_adapters_by_name_and_with_all_they_have_stand_in_one_list() -> None:
    adapters = ["none", "bitfit", {"kind": "bottleneck", "placement": "houlsby", "layers": ["0", "1"]}]
    found = plans({"method": "module", "adapter": adapters})
    assert [plan.name for plan in found] == [
        "module adapter=none", "module adapter=bitfit",
        'module adapter={"kind":"bottleneck","layers":[0,1],"placement":"houlsby"}',
    ]  # fmt: skip
    chosen = [adapter_of(resolve_method(plan.method, plan.options)) for plan in found]
    assert chosen == [
        AdapterChoice(kind="none"),
        AdapterChoice(kind="bitfit"),
        AdapterChoice(kind="bottleneck", placement="houlsby", layers=(0, 1)),
    ]


def test_lora_by_its_name_has_the_rank_beside_it() -> None:
    method = resolve_method("module", {"adapter": "lora", "rank": 3, "alpha": 6.0})
    assert adapter_of(method) == AdapterChoice(rank=3, alpha=6.0)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"adapter": "ia3", "rank": 4}, "option 'rank' belongs to 'adapter: lora' alone: drop it, or write"),
        ({"adapter": {"kind": "lora"}, "alpha": 8}, "option 'alpha' belongs to 'adapter: lora' alone"),
        ({"adapter": "lora", "rank": 0}, "an adapter's rank and reduction must be 1 or more"),
        ({"adapter": "loro"}, "option 'adapter': kind: Input should be 'lora', 'ia3', 'bottleneck', 'bitfit' or"),
        ({"adapter": {"kind": "lora", "rnk": 4}}, "option 'adapter' has no 'rnk': choose among kind, rank, alpha"),
        ({"head": {"init": "random", "form": 1}}, "option 'head' has no 'form': choose among init, trains"),
    ],
)
def test_adapter_that_is_none_is_one_line(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_method("module", options)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_head_that_is_left_open_keeps_the_key_of_results_that_were_finished_before_it_was() -> None:
    left_open, chosen = (decided_by(resolve_method("module", given)) for given in ({}, {"head_init": "mlm"}))
    assert left_open == chosen
    assert left_open != decided_by(resolve_method("module", {"head_init": "random"}))


def decided(method: Method) -> dict[str, Any]:
    options: dict[str, Any] = decided_by(method)["options"]  # type: ignore[assignment]
    return options


def adapter_of(method: Method) -> AdapterChoice:
    return AdapterChoice(**decided(method)["adapter"])


def kind_and_steps(method: Method) -> tuple[str, int]:
    return decided(method)["adapter"]["kind"], decided(method)["steps"]


def test_words_in_the_file_become_numbers_and_truth_values() -> None:
    (plan,) = plans({"method": "m", "a": "2e-3", "b": "true", "c": "null", "d": "mlm", "e": "-3", "f": {"g": "1.5"}})
    assert plan.options == {"a": 0.002, "b": True, "c": None, "d": "mlm", "e": -3, "f": {"g": 1.5}}


def test_several_methods_in_one_entry() -> None:
    assert [plan.name for plan in plans({"method": ["majority", "tfidf-lr"]})] == ["majority", "tfidf-lr"]


def test_narrowed_task_keeps_first_patterns_and_words() -> None:
    task = narrowed(TASK, MethodPlan(name="m", method="m", patterns=2, words=1))
    assert [pattern.template for pattern in task.patterns] == ["{text} {mask}", "{mask}: {text}"]
    assert [label.words for label in task.labels] == [("x",), ("z",)]


def test_narrowed_task_keeps_one_pattern_by_place() -> None:
    assert narrowed(TASK, MethodPlan(name="m", method="m", pattern=1)).patterns == TASK.patterns[1:2]


def test_pattern_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="wants pattern 3, the task has 3"):
        narrowed(TASK, MethodPlan(name="m", method="m", pattern=3))


def test_paths_lie_beside_the_grid_or_below_the_data(tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    assert locate("rows/train.csv", grid, None) == tmp_path / "rows" / "train.csv"
    assert locate("${DATA}/ag/train.csv", grid, Path("/data")) == Path("/data/ag/train.csv")


def test_data_directory_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data DIR"):
        locate("${DATA}/train.csv", tmp_path / "grid.yaml", None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("n: [4, 8]", "n: [4, many]", "n.1: "),
        ("n: [4, 8]", "n: [0]", "n.0: "),
        ("n: [4, 8]", "", "n: "),
        ("train: train.csv", "trian: train.csv", "datasets.reviews.train: "),
        ("methods: [majority]", "methods: []", "methods: "),
        ("methods: [majority]", "methods: [{name: x}]", "methods.0.method"),
        ("methods: [majority]", "methods: [majority, majority]", "two methods are called 'majority'"),
        ("methods: [majority]", "methods: [majority]\nbaseline: other", "the baseline 'other' is no method"),
        ("methods: [majority]", "methods: [majority]\nsubject: other\nrivals: [paper]", "the subject 'other' is no"),
        ("methods: [majority]", "methods: [majority]\nsubject: majority", "'subject' (the method to look at) and"),
        ("methods: [majority]", "methods: [majority]\nrivals: [paper]", "together, or neither of them"),
        ("methods: [majority]", "methods: [majority]\nsubject: paper\nrivals: [paper]", "names the subject, or"),
        ("methods: [majority]", "methods: [majority]\nsubject: paper\nrivals: [x, x]", "or a rival twice"),
        ("methods: [majority]", "methods: [{method: m, patterns: 1, pattern: 0}]", "not both"),
        ("    task: {", "    task_file: t.yaml\n    task: {", "datasets.reviews: give the task either as"),
        ("  reviews:", "  ../up:", "datasets"),
        ("n: [4, 8]", "n: [4]\nn: [8]", "key 'n' occurs twice"),
        ("n: [4, 8]", "n: [4]\nbackbone: minilm", "backbone: "),
    ],
)  # fmt: skip
def test_bad_grid_is_one_line_with_the_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GRID
    with pytest.raises(InputError) as caught:
        read_grid(written(tmp_path, GRID.replace(old, new, 1)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_is_no_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no grid"):
        read_grid(written(tmp_path, "- a\n- b\n"))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "benchmarks" / "grids").glob("*.yaml")), ids=lambda path: path.stem
)
def test_grids_of_the_repository_can_run_and_their_paper_has_one_pattern_and_word(path: Path) -> None:
    grid = read_grid(path)
    assert all(resolve_method(plan.method, plan.options) for plan in grid.plans)
    (paper,) = [plan for plan in grid.plans if plan.method == "paper"]
    for dataset in grid.datasets.values():
        assert dataset.task is not None
        task = narrowed(dataset.task, paper)
        assert [len(label.words) for label in task.labels] == [1] * len(task.labels)
        assert len(task.patterns) == 1
