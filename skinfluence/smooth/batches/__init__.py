"""Many edits side by side in double precision."""
