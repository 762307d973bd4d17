"""What is sent and answered: the models behind /openapi.json."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from petapter_hub_client.stacks.opening import StackModule
from petapter_schemas.frozen import Frozen
from petapter_schemas.names import ModuleName


class PredictInput(Frozen):
    """A text for a module: `text`, or all of the module's text fields in `fields`."""

    module: Annotated[str, Field(max_length=512, description="The alias of a loaded module.")]
    text: Annotated[str | None, Field(description="For a module with one text field, or its first.")] = None
    fields: Annotated[dict[str, str] | None, Field(description="Texts by field.")] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.text is None) == (self.fields is None):
            raise ValueError("give either text or fields")
        return self

    @property
    def request(self) -> tuple[str, str | dict[str, str]]:
        """As a batcher takes it."""
        return self.module, self.text if self.text is not None else self.fields or {}


class PredictRequest(Frozen):
    """Texts for modules, in any mixture."""

    inputs: Annotated[tuple[PredictInput, ...], Field(min_length=1)]


class PredictAnswer(Frozen):
    """What a module said of a text."""

    module: Annotated[str, Field(description="The alias that was asked.")]
    digest: Annotated[str, Field(description="sha256 of the manifest of the module version that answered.")]
    label: Annotated[str | None, Field(description="The most probable label; null where the module abstains.")]
    labels: Annotated[tuple[str, ...], Field(description="All labels given; several from a multi-label module.")]
    probabilities: Annotated[dict[str, float], Field(description="By label, in the module's order.")]
    lost_tokens: Annotated[int, Field(description="Tokens of the text that the backbone could not read.")]


class PredictResponse(Frozen):
    """Answers in the order of the inputs."""

    answers: tuple[PredictAnswer, ...]


class LoadRequest(Frozen):
    """Which module shall answer to an alias."""

    module: Annotated[str, Field(description="`[remote:]namespace/name[@revision]`; never a path.")]
    patterns: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...] | None,
        Field(min_length=1, description="Numbers, from 0, of the patterns to ask; all if left out."),
    ] = None


class ModuleFacts(Frozen):
    """A loaded module."""

    alias: str
    name: ModuleName
    version: str
    description: str
    languages: tuple[str, ...]
    type: str
    fields: tuple[str, ...]
    labels: tuple[str, ...]
    patterns: Annotated[tuple[str, ...], Field(description="Those that are asked.")]
    backbone: str
    adapter: str
    digest: Annotated[str, Field(description="sha256 of the manifest; answers bear it too.")]
    reference: Annotated[str | None, Field(description="Where it was pulled from; null for a directory.")]
    commit: str | None
    resident: Annotated[bool, Field(description="Whether its weights are on the device.")]


class ModuleList(Frozen):
    """All loaded modules, in order of loading."""

    modules: tuple[ModuleFacts, ...]


class Status(Frozen):
    """How the process is."""

    status: str


def facts_of(alias: str, module: StackModule, *, resident: bool) -> ModuleFacts:
    """What is told of a module."""
    manifest = module.manifest
    templates = [pattern.template for pattern in manifest.task.patterns]
    return ModuleFacts(
        alias=alias,
        name=manifest.name,
        version=manifest.version,
        description=manifest.description,
        languages=manifest.languages,
        type=manifest.task.type,
        fields=manifest.task.fields,
        labels=manifest.task.label_names,
        patterns=tuple(templates if module.patterns is None else (templates[number] for number in module.patterns)),
        backbone=manifest.backbone.repo,
        adapter=manifest.adapter.kind,
        digest=module.digest,
        reference=module.reference,
        commit=module.commit,
        resident=resident,
    )
