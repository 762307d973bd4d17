"""The header by which the Hub's clients show a warning."""

from petapter_registry_server.api.errors import header_text
from petapter_registry_server.services.yanks import Notice


def warning_header(notice: Notice | None) -> dict[str, str]:
    """`X-HF-Warning: topic; message`, or nothing."""
    return {"X-HF-Warning": header_text(f"{notice.topic}; {notice.text}")} if notice else {}
