"""What Ray carries and runs elsewhere when members are trained over a cluster: members out, what they say back.

Rows, texts, patterns and options travel as JSON, what members say as safetensors; Ray wraps these bytes as it wraps
everything between our own processes.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter
from safetensors.torch import load, save

from petapter.joint.memory import may_take
from petapter.runtime.ray_backbone import BackbonePayload, check_version, receive_backbone
from petapter.tuning.members import Asked, Member, MemberRuns, Said
from petapter.tuning.options import TuneOptions
from petapter_schemas.errors import PetapterError

_ASKED = TypeAdapter(Asked)
_OPTIONS = TypeAdapter(TuneOptions)


@dataclass(frozen=True)
class MembersPayload:
    """What a worker needs.

    Attributes:
        version: Of the petapter that asks; another one might train otherwise.
        backbone: The backbone.
        asked: What tuning is about, as JSON.
        options: Its options, as JSON.
        workers: How many there are of it.
    """

    version: str
    backbone: BackbonePayload
    asked: bytes
    options: bytes
    workers: int

    @classmethod
    def of(cls, version: str, backbone: BackbonePayload, asked: Asked, options: TuneOptions, workers: int) -> Self:
        """Write everything down."""
        return cls(version, backbone, _ASKED.dump_json(asked), _OPTIONS.dump_json(options), workers)


class MemberTrainer:
    """Trains members in a process of its own, on whichever machine of the cluster; it loads the backbone once.

    What makes it refuse is told in its answers, since an error of a constructor reaches nobody in one piece.
    """

    def __init__(self, payload: MembersPayload) -> None:
        """Load everything."""
        self._runs: MemberRuns | None = None
        self._refusal = ""
        try:
            self._runs = load_member_runs(payload)
        except PetapterError as error:
            self._refusal = str(error)

    def train(self, members: bytes) -> tuple[str, bytes]:
        """Train the members of a part; the answer is for `read_said`."""
        if self._runs is None:
            return self._refusal, b""
        asked = read_members(members)
        try:
            (said,) = self._runs(asked)
        except PetapterError as error:
            return str(error), b""
        return "", save({str(number): said[member].contiguous() for number, member in enumerate(asked)})


def load_member_runs(payload: MembersPayload) -> MemberRuns:
    """What trains members in this process; files are written to the disk for as long as the backbone is loaded.

    Where nobody says how much memory may be taken, workers of one machine share what one process would take there.

    Raises:
        PetapterError: The backbone is not the one that was sent, or versions differ.
    """
    check_version(payload.version)
    with tempfile.TemporaryDirectory(prefix="petapter-ray-") as scratch:
        backbone = receive_backbone(payload.backbone, Path(scratch))
    options = _OPTIONS.validate_json(payload.options)
    here = 1 if backbone.device.type == "cuda" else min(payload.workers, os.cpu_count() or 1)
    budget = may_take(backbone) // here if options.memory_bytes is None else options.memory_bytes
    return MemberRuns(_ASKED.validate_json(payload.asked), backbone, options.of_members(backbone), memory_bytes=budget)


def write_members(members: Sequence[Member]) -> bytes:
    """Members as JSON."""
    return json.dumps([astuple(member) for member in members]).encode()


def read_members(data: bytes) -> list[Member]:
    """Members that were sent."""
    return [Member(*numbers) for numbers in json.loads(data)]


def read_said(members: Sequence[Member], answer: tuple[str, bytes]) -> Said:
    """What the members of a part say.

    Raises:
        PetapterError: The worker refused.
    """
    refusal, data = answer
    if refusal:
        raise PetapterError(refusal)
    said = load(data)
    return {member: said[str(number)] for number, member in enumerate(members)}
