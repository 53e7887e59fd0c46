"""Which names announce a secret: `password`, `snmp_community`, `aws.secretAccessKey` …"""

from __future__ import annotations

import re
from typing import Final

_ENDINGS: Final = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "accesskeyid",
    "privatekey",
    "secretkey",
    "sharedkey",
    "authkey",
    "encryptionkey",
    "signingkey",
    "keystring",
    "psk",
    "community",
    "communitystring",
    "credential",
    "credentials",
    "authorization",
    "cookie",
    "passwordhash",
    "passwort",
    "kennwort",
)
_NOT_ALPHANUMERIC: Final = re.compile(r"[\W_]+")


def is_secret_name(name: str) -> bool:
    """Whether a value under this name is a secret. `password_min_length` is none: how a name ends decides."""
    return _NOT_ALPHANUMERIC.sub("", name.lower()).endswith(_ENDINGS)
