"""The worked examples of CONTRIBUTING run, and are as short as it says."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def blocks():
    return re.findall(
        r"(?:<!-- (.*?) -->\n)?```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )


def test_the_examples_run_from_top_to_bottom(tmp_path):
    """In an interpreter of their own: what they register stays there."""
    script = tmp_path / "contributing.py"
    script.write_text("\n\n".join(code for _, code in blocks()), encoding="utf-8")
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_a_loss_takes_twenty_lines():
    (loss,) = [code for name, code in blocks() if name == "a loss"]
    assert len([line for line in loss.splitlines() if line.strip()]) <= 20


def test_there_is_an_example_of_everything_that_can_be_added():
    names = [name for name, _ in blocks() if name]
    assert names == ["a loss", "an estimator", "a solver", "a kind of problem"]
