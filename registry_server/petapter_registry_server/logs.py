"""How the server writes its log: one line of key=value per event, to stderr."""

import sys

import structlog


def configure_logging() -> None:
    """Set up structlog for this process; called once, by the command line."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # a line at once; printing writes its end apart
    )
