"""Texts from the environment and from files become values of a key's own type."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

TRUE_WORDS = frozenset({"true", "1", "yes", "on", "t", "y"})
FALSE_WORDS = frozenset({"false", "0", "no", "off", "f", "n"})


def typed(text: str, default: object) -> object:
    """Read `text` as a value of the kind `default` is; lists are comma or line separated, or JSON.

    Raises ValueError with a sentence that does not repeat the text, which may be a secret.
    """
    if isinstance(default, bool):
        word = text.strip().lower()
        if word not in TRUE_WORDS | FALSE_WORDS:
            msg = "is neither true nor false; write true or false"
            raise ValueError(msg)
        return word in TRUE_WORDS
    if isinstance(default, int | float):
        try:
            return int(text) if isinstance(default, int) else float(text)
        except ValueError:
            msg = "is not a number; write digits only" if isinstance(default, int) else "is not a number"
            raise ValueError(msg) from None
    if isinstance(default, tuple | frozenset | Mapping):
        if text.lstrip().startswith(("[", "{")):
            try:
                return json.loads(text)
            except ValueError:
                msg = "is not JSON; write a JSON value, or a list as a,b,c"
                raise ValueError(msg) from None
        return [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]
    return text
