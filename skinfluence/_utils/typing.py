"""The types of what users pass and get."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import sparray, spmatrix

MatrixLike = ArrayLike | sparray | spmatrix
Names = ArrayLike | Sequence[Hashable]
Floats = NDArray[np.float64]

Method = Literal["auto", "exact", "one-step", "influence"]
Hold = Literal["auto", "C", "lambda"]
Precision = Literal["float64", "mixed"]
Frozen = Literal["accept", "refuse"] | None
# "loss", "decision_function", "predict_proba", "predict" or the name of a scorer.
Of = str | Callable[..., Any]
Response = Literal["predict", "predict_proba", "predict_log_proba", "decision_function", "loss"]
Scoring = str | Callable[..., float] | None
Seed = int | np.random.RandomState | None
