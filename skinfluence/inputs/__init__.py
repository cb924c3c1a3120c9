"""From what users pass to what the model sees: wrappers opened, pipelines followed, rows checked."""

from skinfluence.inputs.inputs import Inputs

__all__ = ["Inputs"]
