"""What every table of the configuration has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self


class ContradictionError(ValueError):
    """Keys of one section that contradict each other; `found` holds (key, what is wrong and the cure)."""

    def __init__(self, found: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{key}: {text}" for key, text in found))
        self.found = found


class Section(BaseModel):
    """One frozen table of the configuration; keys it does not know are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, hide_input_in_errors=True
    )

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield (key, sentence) for every pair of keys that cannot both hold."""
        return iter(())

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        found = tuple(self.contradictions())
        if found:
            raise ContradictionError(found)
        return self
