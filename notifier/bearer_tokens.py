"""Bearer tokens of the REST API: 256 bits of chance, of which only a hash is kept."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "ntf_"  # so that a token found in a file or a log is known for what it is


def new_token() -> str:
    """Return a new token."""
    return PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """Return the SHA-256 of a token. A slow hash would add nothing: nobody can guess 256 bits."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
