"""What a browser makes of a report: ``python -m tests.browser report.html``, with chromium on the path.

The page must be drawn without the network, run without a message on its console, and show its rows.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path


def chromium(*options):
    """What a headless chromium that resolves no name prints, and says."""
    with tempfile.TemporaryDirectory() as profile:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
        command += [f"--user-data-dir={profile}", "--enable-logging=stderr", *options]
        found = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    return found.stdout, found.stderr


def main(path):
    page = Path(path).resolve()
    text = page.read_text(encoding="utf-8")
    loaded = re.findall(r"""(?:\bsrc|<link[^>]*\bhref)\s*=\s*["']?(?:https?:)?//[^"'\s>]+""", text)
    assert not loaded, f"The page loads {loaded}."
    drawn, said = chromium("--virtual-time-budget=5000", "--dump-dom", page.as_uri())
    console = [line for line in said.splitlines() if "CONSOLE" in line]
    assert not console, "The page writes on its console: " + "; ".join(console)
    rows = len(re.findall(r"<tr[\s>]", drawn))
    assert rows > 10, f"The page shows {rows} rows of tables."
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "page.png"
        chromium(f"--screenshot={picture}", "--window-size=1200,2000", page.as_uri())
        size = picture.stat().st_size
    # A blank page of that size is some 10 kB.
    assert size > 30_000, f"The picture of the page has {size} bytes: it is blank."
    print(f"{page.name}: {rows} rows, {size} bytes drawn, nothing loaded, nothing on the console")


if __name__ == "__main__":
    main(*sys.argv[1:])
