"""What secrets look like in device configurations, logs, headers and URLs.

Every pattern is linear: repeats are bounded or give nothing back (`++`), and no repeat stands inside another
one of unlimited length.
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


def _pattern(*hints: str, expression: str) -> SecretPattern:
    return SecretPattern(hints=hints, expression=re.compile(expression, re.IGNORECASE | re.MULTILINE))


# A quoted secret, from its opening quote to the last character before the closing one. A backslash before the
# opening quote means JSON inside a JSON text: there the closing quote has one too.
_QUOTED = r"""\\"(?:[^"\\\r\n]|\\[^"\r\n])++|"(?:[^"\\\r\n]|\\[^\r\n])++|'[^'\r\n]++"""
# An unquoted one goes to the next blank; a quote belongs to it unless it closes what the secret stands in.
_BARE = r"""(?:[^\s"']|["'](?![\s,;:}\])>]|\Z))++"""
# After these words a password is talked about, not shown.
_PROSE = (
    r"(?!(?:about|accepted|added|after|age|aging|and|are|as|at|attempts?|authentication|authorization|based|"
    r"because|before|by|bytes|cannot|can|changed?|changes|chain|characters|check(?:s|ed)?|complexity|compliance|"
    r"config(?:ured|uration)?|could|days|denied|disabled|does|empty|enabled|encryption|entered|error|exchange|"
    r"expir(?:ed|es|y|ation)|export|fail(?:ed|s|ure)?|field|file|for|found|from|generat(?:ed?|ion)|given|has|have|hash|"
    r"hashes|history|id|if|import|in|incorrect|input|invalid|is|isn't|length|lifetime|login|management|manager|"
    r"mismatch|missing|must|needed|never|no|none|not|null|of|ok|on|only|or|pair|phrase|policy|prompt(?:s|ed)?|"
    r"protected|recovery|rejected|removed|required|reset|retr(?:y|ies)|rotated|rotation|set|should|size|sent|"
    r"stored?|strength|strings?|succe(?:ss|eded|ssful|ssfully)|than|that|the|times|timeout|to|too|true|false|"
    r"type|unchanged|unknown|unset|updated?|used?|uses|verif(?:y|ied|ication)|was|were|will|with|without|wrong|"
    r"yes|zeroize)(?![\w$/+]|[.-]\w))"
)
_VALUE = rf"(?P<value>{_QUOTED}|{_PROSE}{_BARE})"
# In `name=value`, up to the next `&name=` of a query or `;name=` of a connection string.
_ASSIGNED = (
    rf"""(?P<value>{_QUOTED}|{_PROSE}(?:(?![&;,][\w.-]{{1,40}}=)(?:[^\s"']|["'](?![\s,;:}}\])>]|\Z)))++)"""
)
# How the secret that follows is encoded, in the words of the device makers.
_KIND = (
    r"(?:(?:0|[4-9]|8a|10|enc|encrypted|clear|cleartext|plaintext|plain-text|plain|cipher|irreversible-cipher|"
    r"simple|hash|hash2|sha256|sha512|sha|md5|hmac-sha-\d{1,3}|ascii-text|ascii|hexadecimal|hex|"
    r"level[ \t]++\d{1,2})[ \t]++)"
)
_WORDS = r"(?:[ \t]++\S{1,120}+){0,8}?[ \t]++"
_LINE_START = r"^[ \t+>-]{0,40}+"
_NOUN = r"(?:password|passwd|passphrase|secret)"

_ANYWHERE = (
    _pattern(
        "-----begin ",
        expression=r"-----BEGIN [^-\r\n]{1,60}-----[\r\n]{0,4}+(?P<value>(?s:.)*?)"
        r"(?:(?=[\r\n]{0,4}-----END [^-\r\n]{1,60}-----)|\Z)",
    ),
    _pattern("://", expression=r"""://[^\s/:@?#"'<>]{0,256}+:(?P<value>[^\s/?#"'<>]{1,512})@"""),
    _pattern("://", expression=r"""://(?P<value>[^\s/:@?#"'<>]{20,256})@"""),
    _pattern(
        "authorization",
        expression=r"""authorization\\?["']?[ \t]*+[:=][ \t]*+\\?["']?(?:basic|bearer|digest|negotiate|"""
        r"""ntlm|token|api-?key|aws4-hmac-sha256)[ \t]++(?P<value>[^\r\n"']++)""",
    ),
    _pattern(
        "bearer",
        "basic",
        expression=r"\b(?:bearer|basic)[ \t]++(?P<value>(?-i:(?=[\w.~+/-]{1,400}?[0-9A-Z=]))"
        r"[\w.~+/-]{8,}+=*+)(?<!authentication)",
    ),
    _pattern(
        "x-auth-token",
        "cookie",
        expression=r"\b(?:x-auth-token|set-cookie|cookie):[ \t]*+(?P<value>[^\r\n]++)",
    ),
    _pattern("eyj", expression=r"(?<![\w-])(?-i:(?P<value>eyJ[\w-]{5,}+\.[\w-]{5,}+(?:\.[\w-]*+)?))"),
    # A secret access key often stands right behind its id; both go.
    _pattern(
        "akia",
        "asia",
        expression=r"\b(?-i:(?P<value>(?:AKIA|ASIA)[A-Z0-9]{16}(?:[ \t,:]{1,3}[A-Za-z0-9/+]{40}(?![\w/+]))?))(?!\w)",
    ),
    _pattern("sshpass", expression=r"\bsshpass[ \t]++-p[ \t]{0,8}(?P<value>[^\s]++)"),
    # Tokens that begin with their maker's mark: GitHub, GitLab, Slack, npm, Stripe, Vault, SendGrid, Google.
    _pattern(
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
    _pattern(
        "sig=",
        "signature=",
        "security-token=",
        expression=r"""[?&;](?:sig|(?:x-amz-|x-goog-)?(?:signature|security-token))=(?P<value>[^\s&;"'<>]++)""",
    ),
    # Crypt hashes, and Juniper's reversible $9$.
    _pattern(
        "$",
        expression=r"""(?<![\w$])(?P<value>\$(?:[1-9]|14|2[abxy]?|y|sha512|sha1|nt)\$[^\s"';,{}]{4,}+)""",
    ),
)
_NAMED = (
    _pattern(
        "pass",
        "pwd",
        "bindpw",
        "secret",
        "token",
        "key",
        "credential",
        "psk",
        "community",
        expression=r"(?:pass(?:word|wd|phrase|code)?|pwd|bindpw|secret|token|(?:api|access|account|private|shared|auth|"
        r"encryption|signing|secret)[_-]?key|access[_-]?key[_-]?id|key[_-]?string|credentials?|psk|community(?:[_-]?string)?)"
        r"""(?:[_-](?:hash|enc|encrypted|value|text|\d{1,3}))?\\?["']?[ \t]*+(?:=>|:=|::|[:=])[ \t]*+"""
        + _ASSIGNED,
    ),
    _pattern(
        "--",
        expression=r"(?<!\S)--(?:[\w-]{0,30}?-)?(?:password|passwd|passphrase|pass|secret|token|api-key|community)"
        r"[ \t]++" + _VALUE,
    ),
    *(
        _pattern(
            "snmp",
            expression=rf"\bsnmp(?:bulk)?(?:walk|get|getnext|set|trap|inform|table|status)\b[^\r\n|;]{{0,200}}?"
            rf"[ \t]-(?-i:{option})[ \t]++{_VALUE}",
        )
        for option in "cAX"
    ),
    _pattern("mysql", expression=rf"\bmysql\w{{0,10}}+[^\r\n|;]{{0,200}}?[ \t]-(?-i:p)(?=\S){_VALUE}"),
    _pattern(
        "password for ",
        "passphrase for ",
        expression=r"(?:password|passphrase) for [^\s:]{1,100}+:[ \t]++" + _VALUE,
    ),
    _pattern(
        "-u",
        "--user",
        expression=r"""(?<!\S)(?:-u|--user)[ \t]++["']?[^\s:"']{1,128}+:(?P<value>[^\s"']++)""",
    ),
    _pattern(
        "pass",
        "secret",
        "key",
        "phash",
        "community",
        expression=r"<(?P<tag>[\w-]{0,30}(?:password|passwd|passphrase|secret|phash|key|community))>"
        r"(?P<value>[^<\r\n]++)</(?P=tag)>",
    ),
)
_CONFIGURATION = (
    _pattern(
        "pass",
        "secret",
        "key",
        "psk",
        expression=r"(?<![\w$])(?:password|passwd|passphrase|secret|key|key-string|psk|psksecret)[ \t]++"
        rf"""(?!["'](?:~|/(?:etc|home|opt|root|srv|tmp|usr|var))/)(?P<value>{_QUOTED})""",
    ),
    _pattern(
        "pass",
        "secret",
        "psk",
        expression=r"(?<![\w$])(?:password|passwd|passphrase|secret|psk|psksecret)[ \t]++"
        + _KIND
        + "++"
        + _VALUE,
    ),
    _pattern(
        "key",
        expression=r"(?<![\w$])key[ \t]++" + _KIND + r"++(?=[^\s\d$]{0,200}+[\d$])" + _VALUE,
    ),
    _pattern(
        "key",
        "-secret",
        "-password",
        "-pwd",
        "bindpw",
        "psk",
        "-code",
        expression=r"(?<![\w$])(?:key-string|pre-shared-key|pre-share-key|preshared-key|shared-secret|psksecret|"
        r"wpa-psk|(?:\w{1,20}+-){1,3}(?:password(?:-value)?|pwd)|bindpw|authentication-key|authentication-code|"
        r"message-digest-key|privacy-key)[ \t]++(?:(?:\d{1,5}|local|remote)[ \t]++)?" + _KIND + "*+" + _VALUE,
    ),
    _pattern(
        "pass",
        "secret",
        expression=r"\b(?:enable|username|user|local-user|neighbor|peer|group|isis|area-password|domain-password|ppp|"
        r"chap|pap|bgp|ldap|set|server|aaa|radius|tacacs|wlan|vpdn|admin|root|system|login|ftp|ip)"
        + _WORDS
        + _NOUN
        + r"[ \t]++"
        + _KIND
        + "*+"
        + _VALUE,
    ),
    _pattern("key", expression=_LINE_START + r"key[ \t]++(?!\d{1,10}[ \t]*+$)" + _VALUE + r"[ \t]*+$"),
    _pattern(
        "session-key",
        expression=r"\bsession-key[ \t]++(?:in|out)bound[ \t]++(?:ah|esp)[ \t]++\d{1,10}"
        r"(?:[ \t]++cipher)?+[ \t]++" + _VALUE,
    ),
    _pattern("session-key", expression=r"\bsession-key[ \t]++\S.{0,300}?authenticator[ \t]++" + _VALUE),
    _pattern("pass", "secret", expression=_LINE_START + _NOUN + r"[ \t]++" + _VALUE + r"[ \t]*+$"),
    _pattern(
        "key",
        expression=r"\b(?:tacacs-server|radius-server|tacacs|radius|server-private|isakmp|ikev[12]|ike|ipsec|ospf|"
        r"ospfv3|eigrp|hsrp|standby|vrrp|glbp|crypto|wep|encryption|aaa-server)\b"
        + _WORDS
        + r"key[ \t]++"
        + _KIND
        + "*+"
        + _VALUE,
    ),
    _pattern(
        "authentication",
        expression=r"\bauthentication[ \t]++(?:md5|text|hmac-sha-256)[ \t]++(?!key-)" + _KIND + "*+" + _VALUE,
    ),
    _pattern(
        "md5",
        expression=r"\b(?:message-digest-key|authentication-key|key)[ \t]++\d{1,5}[ \t]++md5[ \t]++"
        + _KIND
        + "*+"
        + _VALUE,
    ),
)
_SNMP = (
    _pattern(
        "community",
        expression=r"\bsnmp[\w-]{0,20}+"
        + _WORDS
        + r"community[ \t]++(?:(?:read|write|read-only|read-write|name|cipher|simple|plain|encrypted|0|7|8)"
        + r"[ \t]++)*+"
        + _VALUE,
    ),
    _pattern("community", expression=_LINE_START + r"community[ \t]++" + _VALUE + r"(?=[ \t]*+\{)"),
    _pattern("community", expression=rf"\bcommunity(?:[ \t]++string)?+[ \t]++(?P<value>{_QUOTED})"),
    _pattern(
        "snmp-server",
        expression=r"\bsnmp-server[ \t]++host[ \t]++\S{1,120}+(?:[ \t]++(?:traps?|informs?|"
        r"vrf[ \t]++\S{1,120}+|version[ \t]++(?:1|2c|3[ \t]++(?:noauth|auth|priv)))(?!\S))*+[ \t]++" + _VALUE,
    ),
    _pattern(
        "auth",
        "priv",
        expression=r"\b(?:auth|priv|authentication-mode|privacy-mode)[ \t]++(?:md5|sha[\w-]*+|3?des(?:56)?|"
        r"aes(?:[ \t-]?(?:128|192|256))?+)[ \t]++" + _KIND + "*+" + _VALUE,
    ),
)

SECRET_PATTERNS: Final = (*_ANYWHERE, *_NAMED, *_CONFIGURATION, *_SNMP)
