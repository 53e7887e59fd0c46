"""What secrets look like in sentences and dialogues, in English and German.

Most of these say the same about harmless things: there only what is hardly a word counts as a secret.
"""

from __future__ import annotations

from typing import Final

from notifier.domain.secret_grammar import LABEL, LIKELY, LINE_BREAK, LINE_END, PROSE, VALUE, pattern

_NOUN = r"(?<![A-Za-z0-9$])(?:password|passwd|passphrase|passcode|pwd|secret|token|passwort|kennwort)"
_HINTS = ("pass", "pwd", "secret", "token", "kennwort")
_IS = r"(?:is|was|ist|war|lautet)(?>(?:[ \t]*+:)?)[ \t]++"
_PROMPT_ALONE = rf"(?![\w.@()/:~\[\]-]{{1,80}}[#>$%:]{LINE_END})"

SENTENCE_PATTERNS: Final = (
    pattern(
        *_HINTS,
        expression=rf"""{_NOUN}[ \t]++(?:{_IS}(?=\\?["'])|(?>(?:{_IS})?){LIKELY}){VALUE}""",
    ),
    pattern(
        *_HINTS,
        expression=r"\b(?:re)?(?:set|sets|setting|changed?|changing)[ \t]++(?:\w{1,20}[ \t]++){0,3}?"
        rf"{_NOUN}[ \t]++(?:to|auf)[ \t]++{LIKELY}{VALUE}",
    ),
    # The answer on the line after the question.
    pattern(
        *_HINTS,
        expression=rf"""{_NOUN}\\?["']?[ \t]*+[:=][ \t]*+[{LINE_BREAK}]{{1,4}}+[ \t>-]{{0,40}}+(?>(?:{LABEL}){{0,6}})"""
        rf"{_PROMPT_ALONE}{LIKELY}{VALUE}{LINE_END}",
    ),
    # A user and a password in one go.
    pattern(
        "credential",
        expression=rf"""credentials?[ \t]*+[:=][ \t]*+{PROSE}[^\s/:@"'=]{{1,64}}+[ \t]*+[/:][ \t]*+"""
        rf"(?!pass|secret){VALUE}",
    ),
    pattern("credential", expression=rf"""credentials?[ \t]++[^\s/:@"'=]{{1,64}}+[/:](?!/){LIKELY}{VALUE}"""),
    pattern(
        "pass",
        "pwd",
        expression=r"""\b(?:user(?:name)?|login)[ \t]*+/[ \t]*+(?:pass(?:word|wd|wort)?|pwd)[ \t]*+[:=][ \t]*+"""
        rf"""[^\s/:"'=]{{1,64}}+[ \t]*+[/:][ \t]*+{VALUE}""",
    ),
)
