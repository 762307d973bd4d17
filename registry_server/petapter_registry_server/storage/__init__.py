"""Blobs: bytes under the name of their sha256."""
