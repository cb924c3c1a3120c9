"""Helpers shared by every room: validation, memory, optional imports, version shims."""
