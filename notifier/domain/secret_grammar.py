"""The words and forms that patterns of secrets are put together from.

Every one is linear: repeats are bounded or give nothing back, and no repeat stands inside another one of unlimited
length. What gives nothing back is `++` for one character and `(?>…)` for a group: before Python 3.11.5, which is newer
than that of Debian 12, a group with `++` may miss what it should match (CPython issue 106052).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretPattern:
    """The group `value` is the secret. `hints` are lower case; one of them occurs wherever it can match."""

    hints: tuple[str, ...]
    expression: re.Pattern[str]


def pattern(*hints: str, expression: str) -> SecretPattern:
    """Compile `expression`; case does not matter."""
    return SecretPattern(hints=hints, expression=re.compile(expression, re.IGNORECASE))


# A quoted secret, from its opening quote to the last character before the closing one. A backslash before the
# opening quote means JSON inside a JSON text: there the closing quote has one too.
QUOTED: Final = r"""\\"(?>(?:[^"\\\r\n]|\\[^"\r\n])+)|"(?>(?:[^"\\\r\n]|\\[^\r\n])+)|'[^'\r\n]++"""
# An unquoted one goes to the next blank; a quote belongs to it unless it closes what the secret stands in.
BARE: Final = r"""(?>(?:[^\s"']|["'](?![\s,;:}\])>]|\Z))+)"""
_ENGLISH: Final = (
    r"about|accepted|added|after|age|aging|allowed|already|and|are|as|at|attempts?|authenticated|authentication|"
    r"authorization|based|because|been|before|being|but|by|bytes|cancelled|cannot|can|changed?|changes|chain|"
    r"characters|check(?:s|ed)?|complexity|compliance|config(?:ured|uration)?|confirm(?:ed|ation)?|correct|could|"
    r"created|creation|days|deleted|deletion|denied|disabled|does|empty|enabled|encryption|entered|entry|error|"
    r"exchange|exists?|expected|expir(?:ed|es|y|ation|ing)|export|fail(?:ed|s|ure)?|field|file|for|found|from|"
    r"generat(?:ed?|ion)|given|has|have|hash|hashes|history|id|if|ignored|import|in|incorrect|input|into|invalid|is|"
    r"isn't|it|length|lifetime|login|lookup|management|manager|mandatory|may|mismatch|missing|must|needed|needs|"
    r"never|no|none|not|now|null|of|ok|on|only|optional|or|pair|phrase|policy|prompt(?:s|ed)?|protected|provided|"
    r"received|recovery|refresh(?:ed)?|refused|rejected|removed|renew(?:ed|al)?|request(?:s|ed)?|required|"
    r"requirements?|reset|retr(?:y|ies)|returned|revoked|rotated|rotation|set|should|size|sent|skipped|stored?|"
    r"strength|strings?|succe(?:ss|eded|ssful|ssfully)|than|that|the|then|this|times|timeout|to|too|true|false|"
    r"type|unchanged|unknown|unset|until|updated?|used?|uses|using|validat(?:ed|ion)|validity|verif(?:y|ied|ication)|"
    r"via|was|were|when|which|while|will|with|without|would|wrong|yes|zeroize|"
    r"\w{1,60}(?:error|exception)"
)
_GERMAN: Final = (
    r"abgelaufen|abgelehnt|akzeptiert|aktualisiert|bei|darf|das|dem|der|des|die|durch|eine?[mnrs]?|erforderlich|"
    r"erneut|falsch|fehlerhaft|fehlgeschlagen|fehlt|f\u00fcr|gel\u00f6scht|ge\u00e4ndert|gesetzt|gespeichert|"
    r"gesperrt|hat|ist|kann|konnte|korrekt|l\u00e4uft|leer|muss|nicht|oder|richtig|soll|stimmt|und|"
    r"ung\u00fcltig|unbekannt|vergessen|verweigert|vom|von|vor|war|wird|wurde|zum|zur|zur\u00fcckgesetzt"
)
# After these words a password is talked about, not shown.
PROSE: Final = rf"(?!(?:{_ENGLISH}|{_GERMAN})(?![\w$/+]|[.-]\w))"
# What is hardly a word of a sentence: four characters or more, with a letter and a digit, a capital inside, or a
# symbol inside; or six digits in a row. Times, paths, addresses of mails and names of errors are none.
LIKELY: Final = (
    r"(?=\S{4})(?![<(\[{]|[~.]{0,2}/|\d{4}-\d\d-\d\d|[\w.+-]{1,64}@[\w-]{1,64}\.\w|(?:sha|type|level|version)-?\d{1,4}\b|"
    r"[\w.]{0,60}(?:error|exception|failure|failed|fault|found)\b)"
    r"(?=(?=\S{0,100}?\d)\S{0,100}?[^\W\d_]|\S{0,100}?(?:(?-i:[a-z][A-Z])|[!#$%&*?@^]\w|\d{6}))"
)
VALUE: Final = rf"(?P<value>{QUOTED}|{PROSE}{BARE})"
# In `name=value`, up to the next `&name=` of a query or `;name=` of a connection string.
ASSIGNED: Final = (
    rf"""(?P<value>{QUOTED}|{PROSE}(?>(?:(?![&;,][\w.-]{{1,40}}=)(?:[^\s"']|["'](?![\s,;:}}\])>]|\Z)))+))"""
)
# How the secret that follows is encoded, in the words of the device makers.
_KIND: Final = (
    r"(?:(?:0|[4-9]|8a|10|enc|encrypted|clear|cleartext|plaintext|plain-text|plain|cipher|irreversible-cipher|"
    r"simple|hash|hash2|sha256|sha512|sha|md5|hmac-sha-\d{1,3}|ascii-text|ascii|hexadecimal|hex|"
    r"level[ \t]++\d{1,2})[ \t]++)"
)
KINDS: Final = rf"(?>{_KIND}+)"
MAYBE_KINDS: Final = rf"(?>{_KIND}*)"
WORDS: Final = r"(?:[ \t]++\S{1,120}+){0,8}?[ \t]++"
NOUN: Final = r"(?:password|passwd|passphrase|secret|passwort|kennwort)"

LINE_BREAK: Final = r"\r\n\v\f\x85\u2028\u2029"  # inside of a character class
LINE_END: Final = rf"[ \t]*+(?![^{LINE_BREAK}])"
LABEL: Final = r"""[^\s#>$%"'=]{1,80}+(?<=[\dZ:,)\]|])[ \t]++"""  # a time, a date, a device or program
_PROMPT: Final = r"""(?:[^\s#>$%"'=]{1,80}+[#>$%]|\[[^\]\s]{1,80}+\])[ \t]*+"""
_LEVEL: Final = (
    r"(?:debug|info|notice|warn|warning|error|critical|stdout|stderr|utc|gmt|cet|cest|"
    r"mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|[|*-]{1,3})[ \t]++"
)
# Where a line of a configuration begins, also behind what a log or a terminal writes before it.
LINE_START: Final = rf"(?<![^{LINE_BREAK}])[ \t+>-]{{0,40}}+"
AFTER_PREFIX: Final = rf"{LINE_START}(?>(?:{_LEVEL}|{LABEL}|{_PROMPT}){{0,8}})"
