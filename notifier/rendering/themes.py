"""Colours and fonts of the mails. Every pair was chosen for its contrast; a test computes them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from notifier.rendering.states import Colour

_BASE: Mapping[str, str] = {
    "page": "#f3f4f6",
    "card": "#ffffff",
    "edge": "#d0d7de",
    "rule": "#8c959f",
    "text": "#1f2328",
    "muted": "#57606a",
    "link": "#0a58ca",
    "link_dark": "#79b8ff",
    "font": "-apple-system,'Segoe UI',Roboto,Arial,sans-serif",
    "mono": "Consolas,Menlo,'Liberation Mono',monospace",
}
_RED = {
    "accent": "#c62828",
    "tint": "#fff1f0",
    "ink": "#7a1710",
    "tint_dark": "#2d1518",
    "ink_dark": "#ffc9c9",
}
THEMES: Mapping[Colour, Mapping[str, str]] = {
    "success": {
        **_BASE,
        "accent": "#1a7f37",
        "tint": "#e9f7ed",
        "ink": "#0f5323",
        "tint_dark": "#10261a",
        "ink_dark": "#b7ebc3",
    },
    "partial": {
        **_BASE,
        "accent": "#b45309",
        "tint": "#fff4e5",
        "ink": "#7a3b00",
        "tint_dark": "#2b1d0e",
        "ink_dark": "#ffd8a8",
    },
    "failed": {**_BASE, **_RED},
    "violation": {**_BASE, **_RED},
    "test": {
        **_BASE,
        "accent": "#1864c7",
        "tint": "#e8f1ff",
        "ink": "#0a3c86",
        "tint_dark": "#10213a",
        "ink_dark": "#b9d5ff",
    },
}


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two `#rrggbb` colours (WCAG 2.1), 1 to 21."""
    brighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)  # noqa: PLR2004 - WCAG's constants
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
