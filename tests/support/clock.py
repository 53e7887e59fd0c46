"""Another time of day for one process, by Debian's libfaketime; its monotonic clock stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifier.sandbox import debian_packages
from notifier.sandbox.ways import Absent

_PATTERN = "usr/lib/*/faketime/libfaketimeMT.so.1"


class Clock:
    """`variables` are for the environment of the process; `jump` moves its clock from then on."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "clock"
        self.jump(0)
        self.variables = {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        """Set how far the clock is ahead of this machine's."""
        scratch = self._offset.with_suffix(".new")
        scratch.write_text(f"{seconds:+d}s\n", encoding="ascii")
        scratch.rename(self._offset)


def _library() -> Path:
    """Find the installed library, else unpack Debian's package. Skips the test where there is neither."""
    installed = next(Path("/").glob(_PATTERN), None)
    if installed is not None:
        return installed
    root = debian_packages.default_cache() / "libfaketime"
    try:
        debian_packages.unpacked("libfaketime", root)
    except Absent as missing:
        pytest.skip(f"needs libfaketime, which is a package of Debian and Ubuntu: {missing}")
    return next(root.glob(_PATTERN))
