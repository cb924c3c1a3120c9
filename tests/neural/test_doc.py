"""The examples of doc/neural.md run."""

import re
from pathlib import Path

from tests.neural.networks import torch


def test_the_examples_of_the_page_run():
    page = Path(__file__).parents[2] / "doc" / "neural.md"
    scope = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        exec(block, scope)
    assert scope["effects"].shape == (2, 200) and scope["certified"].shape == (5, 200)
    assert scope["report"].converged and scope["torch"] is torch
