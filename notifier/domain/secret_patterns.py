"""What secrets look like in logs, headers, URLs and command lines, and all patterns together."""

from __future__ import annotations

from typing import Final

from notifier.domain.device_patterns import DEVICE_PATTERNS
from notifier.domain.secret_grammar import ASSIGNED, VALUE, SecretPattern, pattern
from notifier.domain.sentence_patterns import SENTENCE_PATTERNS

_ANYWHERE = (
    pattern(
        "-----begin ",
        expression=r"-----BEGIN [^-\r\n]{1,60}-----[\r\n]{0,4}+(?!-----END |\Z)(?P<value>(?s:.)*?)"
        r"(?:(?=[\r\n]{0,4}-----END [^-\r\n]{1,60}-----)|\Z)",
    ),
    pattern("://", expression=r"""://[^\s/:@?#"'<>]{0,256}+:(?P<value>[^\s/?#"'<>]{1,512})@"""),
    pattern("://", expression=r"""://(?P<value>[^\s/:@?#"'<>]{20,256})@"""),
    pattern(
        "authorization",
        expression=r"""authorization\\?["']?[ \t]*+[:=][ \t]*+\\?["']?(?:basic|bearer|digest|negotiate|"""
        r"""ntlm|token|api-?key|aws4-hmac-sha256)[ \t]++(?P<value>[^\r\n"']++)""",
    ),
    pattern(
        "bearer",
        "basic",
        expression=r"\b(?:bearer|basic)[ \t]++(?P<value>(?-i:(?=[\w.~+/-]{1,400}?[0-9A-Z=]))"
        r"[\w.~+/-]{8,}+=*+)(?<!authentication)",
    ),
    pattern(
        "x-auth-token",
        "cookie",
        expression=r"\b(?:x-auth-token|set-cookie|cookie):[ \t]*+(?P<value>[^\r\n]++)",
    ),
    pattern("eyj", expression=r"(?<![\w-])(?-i:(?P<value>eyJ[\w-]{5,}+\.[\w-]{5,}+(?:\.[\w-]*+)?))"),
    # A secret access key often stands right behind its id; both go.
    pattern(
        "akia",
        "asia",
        expression=r"\b(?-i:(?P<value>(?:AKIA|ASIA)[A-Z0-9]{16}(?:[ \t,:]{1,3}[A-Za-z0-9/+]{40}(?![\w/+]))?))(?!\w)",
    ),
    pattern("sshpass", expression=r"\bsshpass[ \t]++-p[ \t]{0,8}(?P<value>[^\s]++)"),
    # Tokens that begin with their maker's mark: GitHub, GitLab, Slack, npm, Stripe, Vault, SendGrid, Google.
    pattern(
        "gho_",
        "ghp_",
        "ghr_",
        "ghs_",
        "ghu_",
        "github_pat_",
        "glpat-",
        "xox",
        "npm_",
        "k_live_",
        "hvs.",
        "hvb.",
        "sg.",
        "aiza",
        expression=r"\b(?P<value>(?:gh[oprsu]_|github_pat_|glpat-|xox[abeprs]-|npm_|[rs]k_live_)[\w-]{10,}+|"
        r"(?-i:hv[bs]\.[\w-]{20,}+|SG\.[\w-]{16,}+\.[\w-]{16,}+|AIza[\w-]{30,}+))",
    ),
    pattern(
        "sig=",
        "signature=",
        "security-token=",
        expression=r"""[?&;](?:sig|(?:x-amz-|x-goog-)?(?:signature|security-token))=(?P<value>[^\s&;"'<>]++)""",
    ),
    # Crypt hashes, and Juniper's reversible $9$.
    pattern(
        "$",
        expression=r"""(?<![\w$])(?P<value>\$(?:[1-9]|14|2[abxy]?|y|sha512|sha1|nt)\$[^\s"';,{}]{4,}+)""",
    ),
)
_NAMED = (
    pattern(
        "pass",
        "pwd",
        "bindpw",
        "secret",
        "token",
        "key",
        "credential",
        "psk",
        "community",
        "kennwort",
        expression=r"(?:pass(?:word|wd|wort|phrase|code)?|kennwort|pwd|bindpw|secret|token|(?:api|access|account|private|shared|auth|"
        r"encryption|signing|secret)[_-]?key|access[_-]?key[_-]?id|key[_-]?string|credentials?|psk|community(?:[_-]?string)?)"
        r"""(?:[_-](?:hash|enc|encrypted|value|text|\d{1,3}))?\\?["']?[ \t]*+(?:=>|:=|::|[:=])[ \t]*+"""
        + ASSIGNED,
    ),
    pattern(
        "--",
        expression=r"(?<!\S)--(?:[\w-]{0,30}?-)?(?:password|passwd|passphrase|pass|secret|token|api-key|community)"
        r"[ \t]++" + VALUE,
    ),
    *(
        pattern(
            "snmp",
            expression=rf"\bsnmp(?:bulk)?(?:walk|get|getnext|set|trap|inform|table|status)\b[^\r\n|;]{{0,200}}?"
            rf"[ \t]-(?-i:{option})[ \t]++{VALUE}",
        )
        for option in "cAX"
    ),
    pattern("mysql", expression=rf"\bmysql\w{{0,10}}+[^\r\n|;]{{0,200}}?[ \t]-(?-i:p)(?=\S){VALUE}"),
    pattern(
        "password for ",
        "passphrase for ",
        expression=r"(?:password|passphrase) for [^\s:]{1,100}+:[ \t]++" + VALUE,
    ),
    pattern(
        "-u",
        "--user",
        expression=r"""(?<!\S)(?:-u|--user)[ \t]++["']?[^\s:"']{1,128}+:(?P<value>[^\s"']++)""",
    ),
    pattern(
        "pass",
        "secret",
        "key",
        "phash",
        "community",
        expression=r"<(?P<tag>[\w-]{0,30}(?:password|passwd|passphrase|secret|phash|key|community))>"
        r"(?P<value>[^<\r\n]++)</(?P=tag)>",
    ),
)
SECRET_PATTERNS: Final[tuple[SecretPattern, ...]] = (
    *_ANYWHERE,
    *_NAMED,
    *DEVICE_PATTERNS,
    *SENTENCE_PATTERNS,
)
