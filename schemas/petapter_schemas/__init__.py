"""What every part of petapter agrees on: the module format, names, digests and errors (pydantic and stdlib only)."""
