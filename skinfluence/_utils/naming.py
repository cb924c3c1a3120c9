"""Rows in messages."""


def rows_have(rows, shown=5, name="row"):
    """``"Row 3 has"``, ``"Rows 3, 7 have"``, ``"Rows 0, 1, 2, 3, 4 and 8 more have"``."""
    names = ", ".join(str(row) for row in rows[:shown])
    more = f" and {len(rows) - shown} more" if len(rows) > shown else ""
    name = name.capitalize()
    return f"{name} {names} has" if len(rows) == 1 else f"{name}s {names}{more} have"
