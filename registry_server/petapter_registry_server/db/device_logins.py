"""Logins by browser that wait."""

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from petapter_registry_server.db.device_tables import DeviceLogin


def forget_expired(session: Session, *, at_ms: int) -> None:
    """Remove the logins that have ended."""
    session.execute(delete(DeviceLogin).where(DeviceLogin.expires_ms <= at_ms))


def count_waiting(session: Session) -> int:
    """Number of logins, whatever was decided about them."""
    return session.scalar(select(func.count(DeviceLogin.user_code))) or 0


def find_shown(session: Session, user_code: str) -> DeviceLogin | None:
    """The login of the program that shows this code."""
    return session.scalar(select(DeviceLogin).where(DeviceLogin.user_code == user_code))
