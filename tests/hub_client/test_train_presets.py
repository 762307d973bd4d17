"""`train --preset`: what each preset lets the command line choose."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from petapter_hub_client.paper_switches import PAPER_SWITCHES, read_paper_switches
from petapter_hub_client.run_settings import RunSettings
from tests.hub_client.conftest import Petapter
from tests.hub_client.tiny_reviews import TASK
from tests.petapter.tiny_backbones import build_backbone

LEFT_OUT = "since rows that were left out tell how sure a module may be"
ONE_WORD = ("--pattern", "{text} it was {mask} .", "--label", "good", "--label", "bad")


@pytest.fixture
def train_plain(petapter: Petapter, backbone: Path, data: Path, tmp_path: Path) -> Callable[..., Any]:
    """Trains one step with options; returns the manifest."""

    def run(*options: str) -> Any:
        plain = (*ONE_WORD, "--backbone", backbone, "--preset", "plain", "--steps", "1")
        made: Any = petapter("train", data, "--out", tmp_path / "m", *plain, *options, "--json").json
        return made["manifest"]

    return run


def test_paper_preset_runs_thirty_epochs_with_the_seed_of_its_run(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    made: Any = petapter(
        "train", data, "--out", tmp_path / "m", *ONE_WORD, "--backbone", backbone, "--preset", "paper", "--run", "2",
        "--json",
    ).json  # fmt: skip
    training = made["manifest"]["training"]
    assert (training["preset"], training["seeds"], training["steps"]) == ("paper", [3790], 60)  # four rows: two a step
    assert made["manifest"]["task"]["tokenization"] == {"words": "bare", "long_words": "cut", "texts": "apart"}


def test_strong_preset_is_the_default(petapter: Petapter, backbone: Path, data: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.csv"
    more.write_text("text\ni hate this food\ngreat film\n")
    ran = petapter("train", data, "--out", tmp_path / "m", *TASK, "--backbone", backbone, "--unlabelled", more)
    assert ran.code == 0
    info: Any = petapter("info", tmp_path / "m", "--json").json
    assert info["manifest"]["training"]["preset"] == "strong"
    assert info["manifest"]["head"]["reads"] == "both"
    assert petapter("predict", "--module", tmp_path / "m", "--backbone", backbone, "--check", "great food").code == 0


@pytest.mark.parametrize(
    "option",
    [
        ("--rank", "4"),
        ("--head", "mlm"),
        ("--layers", "upper"),
        ("--placement", "houlsby"),
        ("--biases", "intermediate.dense"),
        ("--head-trains", "all"),
        ("--head-activation", "relu"),
        ("--head-norm", "none"),
    ],
)
def test_options_of_the_plain_preset_are_refused_by_the_strong_one(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    ran = petapter("train", data, "--out", tmp_path / "m", *TASK, "--backbone", backbone, *option)
    assert ran.code == 1
    assert ran.err == f"error: {option[0]} belongs to --preset plain: give that preset, or drop it\n"


@pytest.mark.parametrize(
    "option",
    [
        ("--seed", "1"),
        ("--rank", "4"),
        ("--head", "mlm"),
        ("--steps", "5"),
        ("--layers", "0"),
        ("--placement", "pfeiffer"),
    ],
)
def test_paper_preset_decides_the_rest_itself(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path, option: tuple[str, str]
) -> None:
    ran = petapter(
        "train", data, "--out", tmp_path / "m", *ONE_WORD, "--backbone", backbone, "--preset", "paper", *option
    )
    assert ran.code == 1
    assert ran.err == f"error: --preset paper decides {option[0]} itself: drop it; --run chooses the seed\n"


def test_run_without_the_paper_preset_is_refused(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    ran = petapter("train", data, "--out", tmp_path / "m", *ONE_WORD, "--backbone", backbone, "--run", "2")
    assert ran.err == "error: --run belongs to --preset paper: give --seed instead\n"


def test_paper_preset_refuses_several_words_of_a_label(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    ran = petapter("train", data, "--out", tmp_path / "m", *TASK, "--backbone", backbone, "--preset", "paper")
    assert ran.code == 1
    assert "one word per label, but label 'bad' has 2: keep one of them" in ran.err


@pytest.mark.parametrize(
    ("options", "expected", "hyperparameters"),
    [
        (("--adapter", "ia3"), {"kind": "ia3", "layers": None}, {"adapter": "ia3"}),
        (
            ("--adapter", "bottleneck", "--layers", "0"),
            {"kind": "bottleneck", "layers": [0]},
            {"adapter_reduction": 16},
        ),
        (
            ("--adapter", "bottleneck", "--placement", "houlsby"),
            {"kind": "bottleneck", "placement": "houlsby", "targets": ["attention.output.dropout", "output.dropout"]},
            {"adapter_placement": "houlsby"},
        ),
        (
            ("--adapter", "bitfit", "--biases", "output.dense, attention.output.dense", "--layers", "0"),
            {"kind": "bitfit", "targets": ["output.dense", "attention.output.dense"], "layers": [0]},
            {"adapter": "bitfit"},
        ),
        (("--adapter", "bitfit", "--layers", "upper"), {"kind": "bitfit", "layers": [0]}, {"adapter": "bitfit"}),
        (("--layers", " 0 "), {"kind": "lora", "rank": 8, "layers": [0]}, {"adapter_alpha": 16.0}),
        (("--adapter", "lora", "--rank", "3"), {"kind": "lora", "rank": 3}, {"adapter_rank": 3}),
        (("--adapter", "none", "--head-trains", "all"), {"kind": "none"}, {"head_trains": "all"}),
    ],
)
def test_plain_preset_trains_the_adapter_that_was_chosen(
    train_plain: Callable[..., Any], options: tuple[str, ...], expected: object, hyperparameters: dict[str, object]
) -> None:
    manifest = train_plain(*options)
    assert manifest["adapter"] == manifest["adapter"] | expected
    assert manifest["training"]["hyperparameters"] == manifest["training"]["hyperparameters"] | hyperparameters


def test_random_head_takes_its_activation_and_norm(train_plain: Callable[..., Any]) -> None:
    found = train_plain("--head", "random", "--head-activation", "tanh", "--head-norm", "none")["head"]
    assert (found["init"], found["activation"], found["norm"]) == ("random", "tanh", "none")


def test_paper_preset_has_its_three_adapters(petapter: Petapter, backbone: Path, data: Path, tmp_path: Path) -> None:
    paper = (*ONE_WORD, "--backbone", backbone, "--preset", "paper", "--adapter")
    made: Any = petapter("train", data, "--out", tmp_path / "m", *paper, "ia3", "--json").json
    assert made["manifest"]["adapter"]["kind"] == "ia3"
    ran = petapter("train", data, "--out", tmp_path / "n", *paper, "bitfit")
    assert ran.err == "error: --preset paper has no --adapter bitfit: choose lora, ia3, bottleneck\n"


def test_every_switch_of_the_paper_preset_can_be_turned(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    paper = ("train", data, *ONE_WORD, "--backbone", backbone, "--preset", "paper", "--adapter", "ia3", "--json")
    switches = ("verbalizer_space=true", "truncate_verbalizer=false", "text_apart=false", "ia3_place=after-activation")
    given = [part for switch in switches for part in ("--paper", switch)]
    own: Any = petapter(*paper, "--out", tmp_path / "own").json
    other: Any = petapter(*paper, "--out", tmp_path / "other", *given, "--paper", "pad=dynamic").json
    facts = [made["manifest"]["training"]["hyperparameters"] for made in (own, other)]
    assert [[each[name.partition("=")[0]] for name in switches] for each in facts] == [
        [False, True, True, "before-activation"],
        [True, False, False, "after-activation"],
    ]
    assert [made["manifest"]["task"]["tokenization"] for made in (own, other)] == [
        {"words": "bare", "long_words": "cut", "texts": "apart"},
        {"words": "in-pattern", "long_words": "refuse", "texts": "in-pattern"},
    ]
    assert [made["manifest"]["adapter"]["feedforward"] for made in (own, other)] == [[], ["output.dense"]]


def test_switch_means_what_its_option_in_the_core_means() -> None:
    from petapter.training import PaperOptions

    for name, values in PAPER_SWITCHES.items():
        for written, value in values.items():
            assert getattr(PaperOptions(adapter="ia3", **{name: value}), name) == value  # type: ignore[arg-type]
            assert read_paper_switches([f"{name}={written}"]) == {name: value}
    defaults = {name: getattr(PaperOptions(), name) for name in PAPER_SWITCHES}
    assert all(defaults[name] in values.values() for name, values in PAPER_SWITCHES.items())
    assert RunSettings(preset="paper", adapter="ia3", paper=("pad=512",)).paper == ("pad=512",)


def test_padding_of_the_paper_reaches_the_backbone(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    ran = petapter(
        "train", data, "--out", tmp_path / "m", *ONE_WORD, "--backbone", backbone, "--preset", "paper",
        "--paper", "pad=512",
    )  # fmt: skip
    assert "pad is 512, but" in ran.error
    assert ran.error.endswith("choose pad dynamic")


def test_strong_preset_without_adapter_is_its_convex_head(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    strong = ("train", data, "--out", tmp_path / "m", *TASK, "--backbone", backbone, "--adapter")
    made: Any = petapter(*strong, "none", "--json").json
    assert made["manifest"]["training"]["hyperparameters"]["delta"] == "never"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--adapter", "bottleneck"), "--preset strong has no --adapter bottleneck: choose lora, ia3, bitfit, none"),
        (("--calibrate", "3"), "--preset strong calibrates itself: drop --calibrate, or give --preset plain"),
        (
            ("--preset", "plain", "--abstain-error", "0.2"),
            f"--abstain-error needs --calibrate with --preset plain, {LEFT_OUT}: give --calibrate 5",
        ),
        (
            ("--preset", "plain", "--adapter", "ia3", "--rank", "2"),
            "--rank belongs to --adapter lora, not ia3: drop it",
        ),
        (
            ("--preset", "plain", "--adapter", "lora", "--rank", "0"),
            "--rank 0 trains no adapter: give --adapter none, or a rank of 1 or more",
        ),
        (
            ("--preset", "plain", "--adapter", "none", "--layers", "0"),
            "--layers says where an adapter goes, and there is none: drop it, or choose an adapter",
        ),
        (
            ("--preset", "plain", "--layers", "top"),
            "--layers 'top' are no layers: write numbers from 0, such as 3,4,5, or upper",
        ),
        (("--preset", "plain", "--layers", "1,1"), "--layers '1,1' names a layer twice: name it once"),
        (("--preset", "plain", "--layers", "7"), "the backbone has no layer 7: it has 1, from 0"),
        (
            ("--preset", "plain", "--head-norm", "none"),
            "--head-norm belongs to --head random: give that too, or drop it; a masked LM brings its own",
        ),
        (
            ("--preset", "plain", "--head", "random", "--head-trains", "all"),
            "--head-trains belongs to --head mlm: drop it; a random head trains as a whole",
        ),
        (
            ("--preset", "plain", "--adapter", "none", "--head-trains", "none"),
            "nothing would train: choose an adapter, or a head of which something trains",
        ),
        (
            ("--preset", "plain", "--adapter", "ia3", "--placement", "houlsby"),
            "--placement says where bottlenecks go: give --adapter bottleneck too, or drop it",
        ),
        (
            ("--preset", "plain", "--biases", "intermediate.dense"),
            "--biases says what BitFit trains: give --adapter bitfit too, or drop it",
        ),
        (
            ("--preset", "plain", "--adapter", "bitfit", "--biases", "dense,"),
            "--biases 'dense,' are no names: write linear layers, such as attention.self.query,intermediate.dense",
        ),
        (
            ("--preset", "plain", "--adapter", "bitfit", "--biases", "output.dense,output.dense"),
            "--biases 'output.dense,output.dense' names a linear layer twice: name it once",
        ),
        (
            ("--preset", "plain", "--adapter", "bitfit", "--biases", "ffn.lin1"),
            (
                "the backbone has no 'ffn.lin1' in such layers: name modules inside its layers, such as "
                "attention.self.query, intermediate.dense"
            ),
        ),
        (
            ("--preset", "plain", "--adapter", "bitfit", "--biases", "output.LayerNorm"),
            "bert.encoder.layer.0.output.LayerNorm is no linear layer: choose other targets",
        ),
        (("--preset", "plain", "--calibrate", "5"), "5 folds need 5 rows or more, and there are 4"),
        (
            ("--preset", "plain", "--keep", "auto"),
            "--keep auto belongs to --preset strong: give head, tail, head+tail or windows",
        ),
        (("--paper", "pad=512"), "--paper belongs to --preset paper: give that preset, or drop it"),
        (
            ("--preset", "paper", "--paper", "padding=512"),
            "--paper has no 'padding': choose among pad, verbalizer_space, truncate_verbalizer, text_apart, ia3_place",
        ),
        (
            ("--preset", "paper", "--paper", "pad=256"),
            "--paper 'pad=256' says nothing: write pad=512 or pad=dynamic",
        ),
        (
            ("--preset", "paper", "--paper", "text_apart"),
            "--paper 'text_apart' says nothing: write text_apart=true or text_apart=false",
        ),
        (
            ("--preset", "paper", "--paper", "pad=512", "--paper", "pad=dynamic"),
            "--paper gives pad twice: give it once",
        ),
        (
            ("--preset", "paper", "--paper", "ia3_place=after-activation"),
            "--paper ia3_place belongs to --adapter ia3: give that too, or drop it",
        ),
        (
            ("--preset", "paper", "--keep", "tail"),
            "the paper preset cuts long texts on the right: write keep: head, not tail",
        ),
    ],
)
def test_choices_that_do_not_go_together_are_refused_in_one_line(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path, options: tuple[str, ...], complaint: str
) -> None:
    ran = petapter("train", data, "--out", tmp_path / "m", *ONE_WORD, "--backbone", backbone, *options)
    assert (ran.code, ran.err) == (1, f"error: {complaint}\n")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"adapter": "ia3"}, {"kind": "ia3"}), ({"adapter": "none", "seed": 3}, {"delta": "never", "seed": 3}), ({}, {})],
)
def test_strong_preset_is_told_only_what_was_given(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    monkeypatch.setattr("petapter.training.StrongOptions", lambda **options: options)
    assert RunSettings(**given)._strong() == expected


@pytest.mark.parametrize(
    ("adapter", "why"),
    [
        (("bitfit",), "BitFit on a modernbert model is not supported, since its linear layers have no biases"),
        (("bitfit", "--biases", "attn.Wo"), "BitFit on a modernbert model is not supported, since its linear layers"),
        (("ia3",), "(IA)^3 on a modernbert model is not supported, since one projection gives queries, keys and"),
    ],
)
def test_architecture_without_such_a_place_is_refused_in_one_line(
    petapter: Petapter, data: Path, tmp_path: Path, adapter: tuple[str, ...], why: str
) -> None:
    modern = build_backbone("modernbert", tmp_path / "modernbert")
    ran = petapter(
        "train", data, "--out", tmp_path / "m", *ONE_WORD, "--backbone", modern, "--preset", "plain", "--adapter",
        *adapter,
    )  # fmt: skip
    assert ran.code == 1
    assert ran.err.startswith(f"error: {why}")
    assert ran.err.endswith(": take lora or bottleneck\n")
    assert ran.err.count("\n") == 1


def test_encoder_without_a_masked_lm_head_gets_a_random_one_and_says_so(
    petapter: Petapter, data: Path, tmp_path: Path
) -> None:
    encoder = build_backbone("encoder", tmp_path / "encoder")
    asked = ("train", data, *ONE_WORD, "--backbone", encoder, "--preset", "plain", "--steps", "1")
    ran = petapter(*asked, "--out", tmp_path / "m")
    assert ran.code == 0, ran.err
    assert ran.err.count("comes without a masked-LM head: the head begins at random") == 1
    refused = petapter(*asked, "--out", tmp_path / "n", "--head", "mlm")
    assert (refused.code, "without a masked-LM head: use --head random" in refused.err) == (1, True)


def test_way_to_keep_long_texts_is_written_into_the_module(
    petapter: Petapter, backbone: Path, data: Path, tmp_path: Path
) -> None:
    for keep, expected in (("tail", "tail"), ("auto", "head")):  # no text is too long, so auto leaves the task's own
        out = tmp_path / keep
        ran = petapter("train", data, "--out", out, *ONE_WORD, "--backbone", backbone, "--keep", keep)
        assert ran.code == 0, ran.err
        manifest = json.loads((out / "petapter.json").read_text(encoding="utf-8"))
        assert [pattern["keep"] for pattern in manifest["task"]["patterns"]] == [expected]
        assert ("none is too long" in ran.out) == (keep == "auto")


def test_run_begins_at_the_adapter_of_another_module_and_names_it_as_its_parent(
    petapter: Petapter, train_plain: Callable[..., Any], backbone: Path, data: Path, tmp_path: Path
) -> None:
    parent = train_plain("--rank", "3")
    asked = ("train", data, *ONE_WORD, "--backbone", backbone, "--steps", "1", "--init-from", tmp_path / "m")
    made: Any = petapter(*asked, "--out", tmp_path / "begun", "--preset", "plain", "--json").json
    manifest = made["manifest"]
    assert manifest["adapter"]["rank"] == parent["adapter"]["rank"] == 3
    assert manifest["lineage"]["parent"] == sha256((tmp_path / "m" / "petapter.json").read_bytes()).hexdigest()
    files = {each["path"]: each["sha256"] for each in parent["files"]}
    assert manifest["training"]["hyperparameters"]["start_sha256"] == files["adapter_model.safetensors"]
    for options, error in (
        ((), "--init-from belongs to --preset plain"),
        (("--preset", "plain", "--rank", "2"), "--init-from decides the adapter: drop --rank"),
        (("--preset", "plain", "--calibrate", "2"), "--init-from takes no --calibrate: drop --calibrate"),
    ):
        assert error in petapter(*asked, "--out", tmp_path / "other", *options).error
