"""The table of logins by browser that wait for somebody's approval."""

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from petapter_registry_server.db.tables import Table


class DeviceLogin(Table):
    """A program that waits: it knows the device code, a person types the user code; `state` is waiting or a verdict."""

    __tablename__ = "device_logins"

    device_sha256: Mapped[str] = mapped_column(primary_key=True)
    user_code: Mapped[str] = mapped_column(unique=True)
    expires_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    state: Mapped[str]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    token_expires_ms: Mapped[int | None] = mapped_column(BigInteger)
