"""What a module is, by its manifest: of a directory, every byte checked, or of a reference, without its weights."""

from dataclasses import dataclass
from pathlib import Path

from petapter_hub_client.fetching import fetch_manifest, is_local_module
from petapter_hub_client.html_tables import html_table
from petapter_schemas.manifest import MANIFEST_FILE, Manifest, manifest_digest, parse_manifest
from petapter_schemas.module_files import verify_directory
from petapter_schemas.references import Reference


@dataclass(frozen=True)
class DescribedModule:
    """A module and where it is.

    Attributes:
        reference: With remote and revision; None of a directory.
        commit: 40 hex digits; None of a directory.
        directory: None of a reference.
        digest: sha256 of petapter.json, which names the module version.
        manifest: All that it says.
    """

    reference: str | None
    commit: str | None
    directory: Path | None
    digest: str
    manifest: Manifest

    @property
    def name(self) -> str:
        """What `pull`, or `predict --module`, takes."""
        return self.reference or str(self.directory)

    def __repr__(self) -> str:
        """Short enough for a notebook."""
        labels = ", ".join(self.manifest.task.label_names)
        return f"DescribedModule({self.name!r}, labels={labels!r}, backbone={self.manifest.backbone.repo!r})"

    def _repr_html_(self) -> str:
        manifest = self.manifest
        figures = ", ".join(
            f"{each.metric} {each.value:.3f} [{each.interval.low:.3f}, {each.interval.high:.3f}] on "
            f"{each.evaluation_set.name} (n={each.evaluation_set.n})"
            for each in manifest.evaluation
        )
        rows = (
            ("module", self.name),
            ("version", manifest.version),
            ("description", manifest.description or "-"),
            ("labels", ", ".join(manifest.task.label_names)),
            ("languages", ", ".join(manifest.languages) or "-"),
            ("backbone", manifest.backbone.repo),
            ("figures", figures or "-"),
            ("digest", self.digest),
        )
        return html_table(("", ""), rows)


def info(module: str | Path) -> DescribedModule:
    """Describe a module on this machine or on a remote.

    Raises:
        ModuleError: A directory holds no module, or a broken one.
        RemoteError: The remote said no, or nothing.
    """
    if isinstance(module, Path) or is_local_module(module):
        directory = Path(module)
        manifest = verify_directory(directory)
        digest = manifest_digest((directory / MANIFEST_FILE).read_bytes())
        return DescribedModule(None, None, directory, digest, manifest)
    resolved, data = fetch_manifest(Reference.parse(module))
    return DescribedModule(resolved.reference, resolved.commit, None, manifest_digest(data), parse_manifest(data))
