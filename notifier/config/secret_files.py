"""Secrets kept in files: those named by NOTIFIER_…_FILE and systemd's LoadCredential folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 64 * 1024


def credentials(environ: Mapping[str, str], prefix: str) -> list[Path]:
    """Return the files of $CREDENTIALS_DIRECTORY whose name starts with `prefix`, in order.

    For systemd: LoadCredential=NOTIFIER_SMTP__PASSWORD:/etc/notifier/smtp-password.
    """
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder or not Path(folder).is_dir():
        return []
    return sorted(entry for entry in Path(folder).iterdir() if entry.name.startswith(prefix))


def read(path: Path) -> str:
    """Return the text of a secret file without its last newline.

    Raises ValueError with what is wrong and the cure: unreadable, readable by everybody, empty, too large.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        msg = f"the file {path} cannot be read ({error.strerror}); check the name and its permissions"
        raise ValueError(msg) from None
    if mode & stat.S_IROTH:
        msg = (
            f"the file {path} is readable by everybody (mode {mode:03o}); run chmod o-rwx on it "
            "(Kubernetes: defaultMode: 0440)"
        )
        raise ValueError(msg)
    if len(content) > MAX_BYTES:
        msg = f"the file {path} is larger than {MAX_BYTES} bytes; it should hold one secret"
        raise ValueError(msg)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        msg = f"the file {path} is not UTF-8 text; write the secret as text"
        raise ValueError(msg) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        msg = f"the file {path} is empty; write the secret into it"
        raise ValueError(msg)
    return text
