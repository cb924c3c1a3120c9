"""Without torch the package imports, and the first use names the extra."""

import numpy as np
import pytest


@pytest.fixture
def no_torch(monkeypatch):
    """An interpreter in which torch is not installed."""
    import importlib

    real = importlib.import_module

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] == "torch":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(importlib, "import_module", refuse)


def test_first_use_names_the_extra(no_torch):
    from skinfluence.neural import TorchFeaturizer

    featurizer = TorchFeaturizer(module=None)
    with pytest.raises(ImportError, match=r"skinfluence\[torch\]"):
        featurizer.fit(np.ones((2, 3)))
