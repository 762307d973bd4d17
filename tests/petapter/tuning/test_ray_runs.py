"""Members over the workers of a Ray cluster: they say the same, whoever dies on the way, and none is trained twice."""

import os
import shutil
import signal
import uuid
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("ray")

from petapter import Backbone
from petapter.runtime.ray_backbone import BackbonePayload
from petapter.runtime.ray_cluster import Cluster
from petapter.selection.grouped_folds import grouped_folds
from petapter.tuning import Member, MemberRuns, TuneOptions, Watcher, Work, tune
from petapter.tuning.members import Asked
from petapter.tuning.ray_runs import members_on_ray
from petapter.tuning.ray_trainer import (
    MembersPayload,
    MemberTrainer,
    load_member_runs,
    read_members,
    read_said,
    write_members,
)
from petapter_schemas.errors import InputError, PetapterError
from petapter_schemas.fingerprints import backbone_digests
from tests.petapter.conftest import SENTIMENT
from tests.petapter.tuning.test_tuning import QUICK, ROWS, TEXTS, pool

IDENTITY = {"rows": "those"}


@pytest.fixture
def source(directories: dict[str, Path]) -> tuple[Path, str, str | None]:
    return directories["bert"], "bert", None


def asked(bert: Backbone) -> Asked:
    return Asked(SENTIMENT, pool(bert), ROWS, TEXTS, grouped_folds(SENTIMENT, ROWS, 2))


def payload_of(bert: Backbone, directories: dict[str, Path], options: TuneOptions, version: str) -> MembersPayload:
    place = directories["bert"]
    backbone = BackbonePayload(place, "bert", None, backbone_digests(place), {})
    return MembersPayload.of(version, backbone, asked(bert), options, 2)


def mortal(folder: Path, deaths: int) -> type[MemberTrainer]:
    """Workers that write down what they begin; so many are killed at the first step that they train."""

    class Mortal(MemberTrainer):
        def train(self, members: bytes) -> tuple[str, bytes]:
            (folder / f"{uuid.uuid4()}.begun").write_bytes(members)
            runs = self._runs
            self._runs = lambda part: runs(part, self._die)  # type: ignore[assignment,misc]
            return super().train(members)

        def _die(self, *_told: object) -> None:
            for number in range(deaths):
                try:
                    (folder / str(number)).touch(exist_ok=False)
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)

    return Mortal


@pytest.mark.slow
def test_two_workers_finish_what_one_process_began_and_it_ends_the_same_though_one_is_killed(
    cluster: Cluster,
    source: tuple[Path, str, str | None],
    bert: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, begun, log = tmp_path / "whole", tmp_path / "begun", tmp_path / "log"
    log.mkdir()
    one = tune(SENTIMENT, ROWS, bert, pool(bert), QUICK, unlabelled=TEXTS, work=Work(whole, IDENTITY))
    shutil.copytree(whole, begun)
    names = sorted(path.name for path in (whole / "said").iterdir())
    for name in names[:4]:
        (begun / "said" / name).unlink()
    monkeypatch.setattr("petapter.tuning.ray_trainer.MemberTrainer", mortal(log, 1))
    told: list[tuple[int, int]] = []
    watcher = Watcher(on_members=lambda done, total, _: told.append((done, total)))
    with members_on_ray(cluster, source, QUICK) as trains:
        other = tune(
            SENTIMENT, ROWS, bert, pool(bert), QUICK, unlabelled=TEXTS, work=Work(begun, IDENTITY), trains=trains,
            watcher=watcher,
        )  # fmt: skip
    assert told[:2] == [(6, 8), (8, 8)]  # four were finished before, and go to two workers

    times = Counter(member for path in log.glob("*.begun") for member in read_members(path.read_bytes()))
    assert (log / "0").exists()
    assert sorted(times.values()) == [1, 1, 2, 2]  # twice those alone whose worker died

    assert sorted(path.name for path in (begun / "said").iterdir()) == names
    for name in names:  # in stacks of two instead of four, sums over rows are taken in another order
        said = load_file(begun / "said" / name)["said"]
        torch.testing.assert_close(said, load_file(whole / "said" / name)["said"], atol=1e-6, rtol=0)
    assert other.vote.accuracy == one.vote.accuracy
    assert [each.template for each in other.patterns] == [each.template for each in one.patterns]
    for name, tensor in {**one.module.adapter_tensors, **one.module.head_tensors}.items():
        found = {**other.module.adapter_tensors, **other.module.head_tensors}[name]
        torch.testing.assert_close(found, tensor, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_workers_that_only_die_end_the_tuning_in_one_line_and_what_is_finished_stays(
    cluster: Cluster,
    source: tuple[Path, str, str | None],
    bert: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("petapter.tuning.ray_runs.SPARE_DEATHS", -1)
    monkeypatch.setattr("petapter.tuning.ray_trainer.MemberTrainer", mortal(tmp_path, 99))
    with (
        members_on_ray(Cluster(workers=1), source, QUICK) as trains,
        pytest.raises(InputError, match=r"died 1 times since members were last finished.*goes on where it was"),
    ):
        list(trains(asked(bert))([Member(0, 0, 0)], None))


def test_worker_says_why_it_refuses(bert: Backbone, directories: dict[str, Path]) -> None:
    tight = TuneOptions(patterns=2, seeds=2, folds=2, steps=2, batch_size=4, memory_bytes=1 << 10)
    members = [Member(0, 0, 0)]
    here = version("petapter")
    answer = MemberTrainer(payload_of(bert, directories, tight, here)).train(write_members(members))
    with pytest.raises(PetapterError, match=r"training one module takes .* allow more memory"):
        read_said(members, answer)
    other = MemberTrainer(payload_of(bert, directories, QUICK, "0.0.1")).train(write_members(members))
    with pytest.raises(PetapterError, match="install the same on both"):
        read_said(members, other)


def test_what_is_sent_is_plain_and_read_as_it_was(bert: Backbone, directories: dict[str, Path]) -> None:
    payload = payload_of(bert, directories, QUICK, version("petapter"))
    about = asked(bert)
    members = [Member(fold, pattern, 1) for fold in range(2) for pattern in range(2)]
    (said,) = load_member_runs(payload)(members)
    (here,) = MemberRuns(about, bert, QUICK.of_members(bert))(members)
    assert b"the match was very good" in payload.asked
    assert all(torch.equal(said[member], here[member]) for member in members)
