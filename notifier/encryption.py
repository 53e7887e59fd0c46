"""SMTP passwords at rest: Fernet, newest key first, each bound to its customer and host (docs/security.md)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from notifier.domain.errors import ConfigurationError, SecretUnreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.fernet import Fernet, MultiFernet

_NOT_A_KEY = "is no encryption key (44 characters of base64); make one with: notifier secrets generate-key"
_NO_KEY = (
    "security.encryption_keys: is empty, so no password can be stored; make a key with "
    "notifier secrets generate-key and set NOTIFIER_SECURITY__ENCRYPTION_KEYS"
)


# cryptography is loaded where it is needed: 9 MiB that a worker without passwords does without.


def generate_key() -> str:
    """Return a new random key for `security.encryption_keys`."""
    from cryptography.fernet import Fernet  # noqa: PLC0415

    return Fernet.generate_key().decode("ascii")


class SecretBox:
    """Encrypts with the first of `keys`, decrypts with any of them.

    A token holds {"c": customer, "h": host, "p": password}: copied to another customer's row, or used after
    the host was changed, it cannot be read. Hosts are compared without regard to case.
    Raises ConfigurationError at construction for a key that is none.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._newest: Fernet | None = None
        self._all: MultiFernet | None = None
        if not keys:
            return
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415

        fernets = []
        problems = []
        for position, key in enumerate(keys):
            try:
                fernets.append(Fernet(key))
            except ValueError:
                problems.append(f"security.encryption_keys[{position}]: {_NOT_A_KEY}")
        if problems:
            raise ConfigurationError(problems)
        self._newest = fernets[0]
        self._all = MultiFernet(fernets)

    def encrypt(self, *, customer_id: int, host: str, password: str) -> str:
        """Return the token to store. Raises ConfigurationError when there is no key."""
        if self._newest is None:
            raise ConfigurationError([_NO_KEY])
        content = {"c": customer_id, "h": host.lower(), "p": password}
        return self._newest.encrypt(json.dumps(content).encode()).decode("ascii")

    def decrypt(self, *, customer_id: int, host: str, token: str) -> str:
        """Return the password in `token`. Raises SecretUnreadable with the cause and the cure."""
        if self._all is None:
            msg = (
                "the stored password cannot be read: security.encryption_keys is empty; set the key it needs"
            )
            raise SecretUnreadable(msg)
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        try:
            content = json.loads(self._all.decrypt(token.encode()))
            bound, password = (content["c"], content["h"]), str(content["p"])
        except (InvalidToken, ValueError, TypeError, KeyError) as error:
            msg = (
                "the stored password cannot be read with the keys in security.encryption_keys; "
                "add the key it was stored with, or set the password again"
            )
            raise SecretUnreadable(msg) from error
        if bound != (customer_id, host.lower()):
            msg = "the stored password belongs to another customer or host; set the password again"
            raise SecretUnreadable(msg)
        return password

    def needs_rotation(self, token: str) -> bool:
        """Say whether `token` was not made with the newest key (one that no key reads needs it, too)."""
        if self._newest is None:
            return False
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        try:
            self._newest.decrypt(token.encode())
        except InvalidToken:
            return True
        return False

    def rotate(self, *, customer_id: int, host: str, token: str) -> str:
        """Return the password of `token` encrypted anew with the newest key. Raises as `decrypt`."""
        password = self.decrypt(customer_id=customer_id, host=host, token=token)
        return self.encrypt(customer_id=customer_id, host=host, password=password)
