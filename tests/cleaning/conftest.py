"""What audits of tables in tests need not work out."""

import pytest

from skinfluence.cleaning import effects


@pytest.fixture(scope="package", autouse=True)
def few_effects():
    """Effects by edits of the whole, of two rows: each takes leave-one-out answers of all the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effects, "SHOWN", 2)
        yield
