"""The model after an edit: a fitted estimator of the user's own class, and streams of edits."""

from skinfluence.editing.result import Edited, EditReport

__all__ = ["EditReport", "Edited"]
