"""`python -m tests.fuzz TARGET SECONDS`: fuzz one target; a crash leaves its input in the working folder."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["notifier"]):
    from tests.fuzz.targets import TARGETS

_EVENT_SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "events"
_REPLIES = (
    b"250 2.0.0 queued\r\n",
    b"451-4.7.1 greylisted\r\n451 try again in 5 minutes\r\n",
    b"421 bye\r\n",
)


def _corpus(target: str, folder: Path) -> None:
    if target == "event":
        samples = [b"\0\xff" + path.read_bytes() for path in sorted(_EVENT_SAMPLES.glob("*.json"))]
    else:
        samples = list(_REPLIES)
    for number, sample in enumerate(samples):
        (folder / str(number)).write_bytes(sample)


def main(target: str, seconds: int) -> None:
    """Run for that many seconds; the process exits non-zero on the first input that breaks the target."""
    with tempfile.TemporaryDirectory() as folder:
        _corpus(target, Path(folder))
        atheris.Setup(
            [sys.argv[0], f"-max_total_time={seconds}", "-max_len=65536", "-timeout=10", folder],
            TARGETS[target],
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
