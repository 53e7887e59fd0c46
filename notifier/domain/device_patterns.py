"""What secrets look like in the configurations of network devices."""

from __future__ import annotations

from typing import Final

from notifier.domain.secret_grammar import (
    AFTER_PREFIX,
    KINDS,
    LIKELY,
    LINE_END,
    LINE_START,
    MAYBE_KINDS,
    NOUN,
    QUOTED,
    VALUE,
    WORDS,
    pattern,
)

_NO_ROUTES = (
    r"(?!\d{1,10}(?![^\s:])|(?:no-|local-|additive|internet|none|gshut|graceful-|blackhole|accept-own|llgr))"
)

_CONFIGURATION = (
    pattern(
        "pass",
        "secret",
        "key",
        "psk",
        expression=r"(?<![\w$])(?:password|passwd|passphrase|secret|key|key-string|psk|psksecret)[ \t]++"
        rf"""(?!["'](?:~|/(?:etc|home|opt|root|srv|tmp|usr|var))/)(?P<value>{QUOTED})""",
    ),
    pattern(
        "pass",
        "secret",
        "psk",
        expression=r"(?<![\w$])(?:password|passwd|passphrase|secret|psk|psksecret)[ \t]++" + KINDS + VALUE,
    ),
    pattern(
        "key",
        expression=r"(?<![\w$])key[ \t]++" + KINDS + r"(?=[^\s\d$]{0,200}+[\d$])" + VALUE,
    ),
    pattern(
        "key",
        "-secret",
        "-password",
        "-pwd",
        "bindpw",
        "psk",
        "-code",
        expression=r"(?<![\w$])(?:key-string|pre-shared-key|pre-share-key|preshared-key|shared-secret|psksecret|"
        r"wpa-psk|(?:\w{1,20}+-){1,3}(?:password(?:-value)?|pwd)|bindpw|authentication-key|authentication-code|"
        r"message-digest-key|privacy-key)[ \t]++(?:(?:\d{1,5}|local|remote)[ \t]++)?" + MAYBE_KINDS + VALUE,
    ),
    pattern(
        "pass",
        "secret",
        expression=r"\b(?:enable|username|user|local-user|neighbor|peer|group|isis|area-password|domain-password|ppp|"
        r"chap|pap|bgp|ldap|set|server|aaa|radius|tacacs|wlan|vpdn|admin|root|system|login|ftp|ip)"
        + WORDS
        + NOUN
        + r"[ \t]++"
        + MAYBE_KINDS
        + VALUE,
    ),
    pattern("key", expression=rf"{LINE_START}key[ \t]++(?!\d{{1,10}}{LINE_END}){VALUE}{LINE_END}"),
    pattern("key", expression=rf"{AFTER_PREFIX}key[ \t]++{LIKELY}{VALUE}{LINE_END}"),
    pattern(
        "session-key",
        expression=r"\bsession-key[ \t]++(?:in|out)bound[ \t]++(?:ah|esp)[ \t]++\d{1,10}"
        r"(?>(?:[ \t]++cipher)?)[ \t]++" + VALUE,
    ),
    pattern("session-key", expression=r"\bsession-key[ \t]++\S.{0,300}?authenticator[ \t]++" + VALUE),
    pattern(
        "pass",
        "secret",
        "kennwort",
        expression=rf"{AFTER_PREFIX}"
        r"(?>(?:(?>(?:line[ \t]++)?)(?:vty|console|con|aux|tty)(?>(?:[ \t]++\d{1,3}){0,2})[ \t]++)?)"
        rf"{NOUN}[ \t]++{VALUE}{LINE_END}",
    ),
    pattern(
        "mgmt-user",
        expression=r"\bmgmt-user[ \t]++\S{1,120}+(?:[ \t]++[\w-]{1,40}){0,3}?[ \t]++"
        rf"(?:encrypted[ \t]++|(?=[0-9a-f]{{16}})){VALUE}",
    ),
    pattern(
        "key",
        expression=r"\b(?:tacacs-server|radius-server|tacacs|radius|server-private|isakmp|ikev[12]|ike|ipsec|ospf|"
        r"ospfv3|eigrp|hsrp|standby|vrrp|glbp|crypto|wep|encryption|aaa-server)\b"
        + WORDS
        + r"key[ \t]++"
        + MAYBE_KINDS
        + VALUE,
    ),
    pattern(
        "authentication",
        expression=r"\bauthentication(?:[ \t]++(?:md5|text|hmac-sha-256)|-mode[ \t]++simple)[ \t]++(?!key-)"
        + MAYBE_KINDS
        + VALUE,
    ),
    # Without a word before it the secret is known by the group's number, or by ending the line.
    pattern(
        "authentication",
        expression=r"\b(?:vrrp|standby|glbp|hsrp)[ \t]++(?>(?:(?P<group>\d{1,5})[ \t]++)?)authentication[ \t]++"
        r"(?!(?:md5|text|key-chain|key-string|mode|group|header|string|data|mismatch)(?![\w$]))"
        + VALUE
        + rf"(?(group)|{LINE_END})",
    ),
    pattern(
        "md5",
        expression=r"\b(?:message-digest-key|authentication-key|key)[ \t]++\d{1,5}[ \t]++md5[ \t]++"
        + MAYBE_KINDS
        + VALUE,
    ),
)
_SNMP = (
    pattern(
        "community",
        expression=r"\bsnmp[\w-]{0,20}+"
        + WORDS
        + r"community[ \t]++(?>(?:(?:read|write|read-only|read-write|name|cipher|simple|plain|encrypted|0|7|8)"
        + r"[ \t]++)*)"
        + VALUE,
    ),
    pattern("community", expression=AFTER_PREFIX + r"community[ \t]++" + VALUE + r"(?=[ \t]*+\{)"),
    # `set community` is about routes, too, where it names numbers or a list: a bare word is hidden behind `>` only.
    pattern(
        "community",
        expression=rf"{AFTER_PREFIX}(?:(?<=>)|(?<=>[ \t])|(?=set[ \t]++community[ \t]++{LIKELY}))"
        rf"set[ \t]++community[ \t]++{_NO_ROUTES}{VALUE}{LINE_END}",
    ),
    pattern("community", expression=rf"\bcommunity(?>(?:[ \t]++string)?)[ \t]++(?P<value>{QUOTED})"),
    pattern(
        "snmp-server",
        expression=r"\bsnmp-server[ \t]++host[ \t]++\S{1,120}+(?>(?:[ \t]++(?:traps?|informs?|"
        r"vrf[ \t]++\S{1,120}+|version[ \t]++(?:1|2c|3[ \t]++(?:noauth|auth|priv)))(?!\S))*)[ \t]++" + VALUE,
    ),
    pattern(
        "auth",
        "priv",
        expression=r"\b(?:auth|priv|authentication-mode|privacy-mode)[ \t]++(?:md5|sha[\w-]*+|3?des(?:56)?|"
        r"aes(?>(?:[ \t-]?(?:128|192|256))?))[ \t]++" + MAYBE_KINDS + VALUE,
    ),
)

DEVICE_PATTERNS: Final = (*_CONFIGURATION, *_SNMP)
