"""`python -m tests.golden.picture docs/images/mail.png`: the picture of a mail, as a browser shows the mail's HTML.

Needs Chromium on this machine (Debian: apt-get install chromium). The mail is the golden one of a failed job.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.golden.build import build
from tests.golden.states import samples

SAMPLE = "job_failed-typical"
SIZE = (600, 750)  # CSS pixels


def main(picture: Path) -> int:
    """Write the picture. Returns the exit code."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.stderr.write("no chromium here; on Debian: apt-get install chromium\n")
        return 1
    mail = build(next(sample for sample in samples() if sample.name == SAMPLE))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "mail.html"
        page.write_text(mail.html, encoding="utf-8")
        command = [
            browser,
            "--headless",
            "--no-sandbox",  # our own page, which loads nothing
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/profile",
            f"--window-size={SIZE[0]},{SIZE[1]}",
            f"--screenshot={picture.resolve()}",
            page.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    sys.stderr.write("" if done.returncode == 0 else done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
