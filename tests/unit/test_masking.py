"""No secret that a job prints reaches a row, a log or a mail; words about secrets stay readable."""

from __future__ import annotations

import json
import re
from importlib import import_module
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain import decoding, escapes, key_lines, masking
from notifier.domain.escapes import as_seen
from notifier.domain.masking import MASK, mask_json, mask_json_source, mask_text
from notifier.domain.secret_names import is_secret_name
from notifier.domain.secret_patterns import SECRET_PATTERNS
from tests.properties import examples

if TYPE_CHECKING:
    from pydantic import JsonValue

# There is no public way to look into a pattern.
codes = import_module("re._constants")
parser = import_module("re._parser")

# `@` is where the secret stands.
SHOWN = [
    # Cisco IOS, IOS XE, NX-OS, ASA
    "enable secret 5 @",
    "enable secret 9 @",
    "enable secret @",
    "enable password level 15 7 @",
    "enable password @",
    "username admin privilege 15 secret 5 @",
    "username admin password 0 @",
    "username admin password @ role network-admin",
    " password 7 @",
    "+ password @",
    "line vty 0 4\n password @\n login",
    "snmp-server community @ RO 10",
    "snmp-server host 10.1.1.1 version 2c @",
    "snmp-server host 10.1.1.1 traps version 3 priv @ config",
    "snmp-server host 10.1.1.1 vrf mgmt informs @",
    "snmp-server user ops grp v3 priv des56 @",
    "snmp-server user ops grp v3 auth md5 @ priv aes 256 s0meOther1",
    "tacacs-server host 10.0.0.1 key 7 @",
    "tacacs-server key @",
    "radius-server host 10.0.0.1 auth-port 1812 key @",
    "radius-server key 6 @",
    "tacacs server T1\n address ipv4 10.0.0.1\n key 7 @",
    "aaa-server ISE host 10.0.0.1 key @",
    " server-private 10.0.0.1 key @",
    "crypto isakmp key @ address 192.0.2.1",
    "crypto isakmp key 6 @ hostname peer",
    "ikev2 local-authentication pre-shared-key @",
    " pre-shared-key local 0 @",
    " key-string 7 @",
    " key-string @",
    "ntp authentication-key 1 md5 @ 7",
    "ip ospf message-digest-key 1 md5 7 @",
    "ip ospf message-digest-key 1 md5 @",
    "ip ospf authentication-key @",
    "area 0 authentication message-digest\n ip ospf authentication-key 0 @",
    "standby 1 authentication md5 key-string @",
    "vrrp 1 authentication text @",
    "neighbor 10.0.0.1 password 7 @",
    "neighbor 10.0.0.1 password @",
    "isis password @ level-2",
    "area-password @",
    "ppp chap password 0 @",
    "wpa-psk ascii 0 @",
    "ldap-login-password @",
    "ip ftp password @",
    # Arista, Huawei, Fortinet, Nokia
    "username admin secret sha512 @",
    "snmp-agent community read cipher @",
    "local-user admin password irreversible-cipher @",
    "set password ENC @",
    "set psksecret ENC @",
    'set psksecret "@"',
    "radius server ISE\n key @",
    "set auth-pwd @",
    "set priv-pwd ENC @",
    " set authentication-code cipher @",
    "set session-key inbound esp 256 cipher @",
    "set session-key outbound ah 256 @",
    "set session-key inbound esp 256 cipher ******** authenticator @",
    # Juniper
    'secret "@"; ## SECRET-DATA',
    'encrypted-password "@"; ## SECRET-DATA',
    'authentication-key "@";',
    'pre-shared-key ascii-text "@";',
    'set snmp community "@" authorization read-only',
    "community @ {\n    authorization read-only;\n}",
    "set system root-authentication plain-text-password-value @",
    'md5 1 key "@"',
    # Palo Alto and other XML
    "<password>@</password>",
    "<snmp-community>@</snmp-community>",
    # names and values
    "password=@",
    "password: @",
    "Password : '@'",
    "PGPASSWORD=@ psql",
    "DB_PASSWORD=@",
    "api_key=@&page=2",
    "apikey=@",
    "client_secret=@",
    "aws_secret_access_key = @",
    "X-API-Key: @",
    "snmp_community => @",
    '{"password": "@", "user": "anna"}',
    '{"log": "{\\"token\\": \\"@\\", \\"n\\": 1}"}',
    "{'auth_key': '@'}",
    "Server=db;Password=@;Database=x",
    "AccountName=a;AccountKey=@;EndpointSuffix=x",
    "userPassword:: @",
    "bindpw @",
    "bindpw=@",
    "[sudo] password for backup: @",
    'SNMP community string "@"',
    "snmpwalk -v2c -c @ 192.0.2.1",
    "snmpget -v3 -u ops -a SHA -A @ -x AES -X s0meOther1 192.0.2.1",
    "snmpget -v3 -u ops -a SHA -A ******** -x AES -X @ 192.0.2.1",
    "mysqldump -uroot -p@ inventory",
    "https://acct.blob.example.net/c?sv=2020&sig=@",
    "https://b.s3.example.net/k?X-Amz-Expires=60&X-Amz-Signature=@",
    "sshpass --password @ admin@host",
    "--api-token @",
    "curl -u admin:@ https://example.org",
    "Cookie: @",
    # headers and URLs
    "Authorization: Bearer @",
    "Authorization: Basic @",
    'curl -H "Authorization: Token @"',
    "https://anna:@@example.org/path",
    "amqp://guest:@@broker:5672/%2f",
    "ftp://backup:@@192.0.2.1/x y@z",
    # behind what a log or a terminal writes before a line
    "04:20:05 edge-01: password @",
    "2026-11-23T04:20:05Z  password @",
    "2026-11-23 04:20:05,123 INFO [edge-01] password @",
    "Nov 23 04:20:05 edge-01 sshd[812]: password @",
    "edge-01(config-line)#password @",
    "edge-01(config-line)# password @",
    "[HUAWEI-ui-vty0-4]password @",
    "04:20:05 edge-01: key @",
    " password @\r\n login\r\n",
    "line vty 0 4\r password @\r login",
    # a group's secret, routes and SNMP
    "vrrp 1 authentication @",
    "standby 1 authentication @",
    "standby 1 authentication @ and more",
    "standby authentication @",
    "glbp 10 authentication @",
    " vrrp vrid 1 authentication-mode simple cipher @",
    "> set community @",
    "edge-01> set community @",
    "set community @",
    "vty password @",
    "console 0 password @",
    "mgmt-user x encrypted @",
    "mgmt-user admin root encrypted @",
    # sentences and dialogues
    "password:\n@\nwelcome",
    "Password: \r\n@\r\nwelcome",
    "04:20:05 edge-01 password:\n04:20:06 @",
    "Passwort:\n@",
    "the password is @",
    "the password is: @",
    'the secret was "@"',
    "das Passwort lautet @",
    "using password @ for edge-01",
    "tried token @",
    "set the new password to @",
    "Passwort: @",
    "Kennwort = @",
    "Passwort @ wurde abgelehnt",
    "using credentials admin/@",
]

SECRETS = st.from_regex(r"[A-Za-z][A-Za-z0-9]{5,12}[0-9][A-Za-z0-9!$%^*+./]{2,10}[A-Za-z0-9]", fullmatch=True)


@pytest.mark.parametrize("line", SHOWN)
def test_a_shown_secret_is_hidden_and_the_words_around_it_stay(line: str) -> None:
    secret = "aZ3kQ9xW77Lm0pRt"
    before, _, after = line.partition("@")
    masked = mask_text(before + secret + after)
    assert secret not in masked
    assert MASK in masked
    assert masked.startswith(before)


@pytest.mark.parametrize("line", SHOWN)
def test_it_is_hidden_in_a_long_text_too_and_when_it_comes_again(line: str) -> None:
    secret = "aZ3kQ9xW77Lm0pRt"
    for shown in (line.replace("@", secret, 1), "connecting to edge-01\n" * 4 + line.replace("@", secret, 1)):
        first = mask_text(shown)
        assert secret not in first
        assert mask_text(shown) == first


def test_a_text_without_a_secret_stays_the_same_however_often_it_comes() -> None:
    for number in (*range(5000), *range(5000)):
        assert mask_text(f"edge-{number}") == f"edge-{number}"
    assert mask_text("password=aZ3kQ9xW77") == f"password={MASK}"


@examples(120)
@given(line=st.sampled_from(SHOWN), secret=SECRETS, prefix=st.sampled_from(["", "04:31:07 edge-01: ", "\n"]))
def test_no_planted_secret_survives(line: str, secret: str, prefix: str) -> None:
    if line.startswith(("> ", "edge-01> ", "community", "+ ", "area-password")) and ":" in prefix:
        prefix = ""  # configuration lines, known by standing at the start of a line
    before, _, after = line.partition("@")
    if "://" in line or "credentials" in line:
        secret = secret.replace("/", "")
    masked = mask_text(prefix + before + secret + after)
    assert secret not in masked
    assert mask_text(masked) == masked


@pytest.mark.parametrize(
    "line",
    [
        "cli credentials: admin / @",
        "credentials=admin:@",
        "credentials: admin/@",
        "user/password: admin / @, ok",
    ],
)
def test_a_user_and_a_password_in_one_go_are_both_hidden(line: str) -> None:
    masked = mask_text(line.replace("@", "hunter"))
    assert "hunter" not in masked
    assert "admin" not in masked
    assert mask_text(masked) == masked


TOKENS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "glpat-abcdefghij0123456789",
    "xoxb-1234567890-abcdefghij",
    "AIzaSyA0123456789abcdefghijABCDEFGHIJ01",
    "sk_live_0123456789abcdefghij",
    "npm_0123456789abcdefghijABCDEFGHIJ012345",
    "SG.0123456789abcdefghij.0123456789abcdefghijABCDEFGHIJ",
    "hvs.CAESI0123456789abcdefghij",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    "$9$Be4EhyVb2GDkevYo",
    "$6$rounds$abcdefgh/ijkl.mno",
    "$2b$12$abcdefghijklmnopqrstuv",
]


@pytest.mark.parametrize("secret", TOKENS)
def test_what_looks_like_a_secret_is_hidden_wherever_it_stands(secret: str) -> None:
    assert mask_text(f"found {secret} in the log") == f"found {MASK} in the log"


def test_a_token_as_the_user_of_a_url_is_hidden_but_not_a_short_user_name() -> None:
    assert mask_text("clone https://0123456789abcdef0123@git.example.org/x") == (
        f"clone https://{MASK}@git.example.org/x"
    )
    assert mask_text("clone ssh://git@git.example.org/x") == "clone ssh://git@git.example.org/x"


def test_the_secret_key_behind_an_access_key_id_goes_with_it() -> None:
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert mask_text(f"aws AKIAIOSFODNN7EXAMPLE {secret} eu-1") == f"aws {MASK} eu-1"


@pytest.mark.parametrize("line", ["sshpass -p s3cr3t ssh edge-01", "ssh 'sshpass -ps3cr3t ssh x'"])
def test_a_password_given_to_sshpass_is_hidden(line: str) -> None:
    assert "s3cr3t" not in mask_text(line)


WEAK = [
    "> set community @",
    "edge-01> set community @",
    "edge-01: password @",
    "edge-01(config-line)# password @",
    "vty password @",
    "vrrp 1 authentication @",
    'the password is "@"',
    "Kennwort: @",
    "mgmt-user x encrypted @",
]


@pytest.mark.parametrize("line", WEAK)
def test_where_nothing_else_is_meant_a_plain_word_is_hidden_too(line: str) -> None:
    assert "wombat" not in mask_text(line.replace("@", "wombat"))


PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0123\nabcdefghijklmnop\n-----END RSA PRIVATE KEY-----"


def test_a_pem_block_keeps_only_its_first_and_last_line() -> None:
    masked = mask_text(f"key:\n{PEM}\ndone")
    assert masked == f"key:\n-----BEGIN RSA PRIVATE KEY-----\n{MASK}\n-----END RSA PRIVATE KEY-----\ndone"
    assert mask_text(masked) == masked


def test_a_pem_block_that_was_cut_off_is_hidden_to_the_end() -> None:
    assert mask_text(PEM[:60]) == f"-----BEGIN RSA PRIVATE KEY-----\n{MASK}"


def test_a_pem_block_whose_beginning_was_cut_off_is_hidden_from_the_start() -> None:
    tail = "log line\n" + PEM[32:] + "\ndone"
    assert mask_text(tail) == f"log line\n{MASK}\n-----END RSA PRIVATE KEY-----\ndone"
    assert mask_text("no key here\n-----END X-----") == "no key here\n-----END X-----"


KEY = ("MIIEpAIBAAKCAQEA0123456789", "abcdEFGH/ijklmnop+012345678", "q1Rs2T==")
KEY_END = "-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        "\n".join([*KEY, KEY_END]),
        "\r\n".join(["the key:", *KEY, KEY_END, ""]),
        "\n".join(f"04:20:05 {line}" for line in [*KEY, KEY_END]),
        "\n".join(f"2026-11-23T04:20:05Z edge-01: {line}" for line in ["log", *KEY, KEY_END, "done"]),
        " ".join(["the key is", *KEY, KEY_END]),
        "the key is " + "\\n".join([*KEY, KEY_END]),
        f"{KEY[0]} {KEY_END}",
        "\n".join([*(line[:8] for line in KEY), KEY_END]),
        f"{PEM}\nand the next:\n" + "\n".join([*KEY, KEY_END]),
    ],
)
def test_the_end_of_a_key_is_hidden_however_its_lines_come(text: str) -> None:
    masked = mask_text(text)
    assert not [line for line in KEY if line[:8] in masked]
    assert KEY_END in masked
    assert mask_text(masked) == masked


@pytest.mark.parametrize(
    "text", ["nothing of a key -----END X-----", "a lone -----BEGIN X-----", "-----END X-----"]
)
def test_a_mark_of_a_key_without_the_key_hides_nothing(text: str) -> None:
    assert mask_text(f"key: {text}") == f"key: {text}"


# --- what a terminal acts on and a reader does not see ------------------------------------------------------

DISGUISED = [
    "\x1b[32menable secret\x1b[0m @",
    "\x1b[1mpassword:\x1b[0m @",
    "snmp-server \x1b[31mcommunity\x1b[0m @ RO",
    "enable\x1b[K secret @",
    "password\x08\x08 @",
    "p\x08pa\x08as\x08ss\x08sw\x08wo\x08or\x08rd\x08d: @",
    "--More-- \x08\x08\x08\x08        \x08\x08\x08\x08 password @",
    "pass\u200bword @",
    "pass\xadword: @",
    "enable\xa0secret\u2009@",
    "\x9b1mpassword:\x9b0m @",
    "\x1b]0;edge-01\x07password: @",
    "\x1b]8;;https://example.org\x07token\x1b]8;;\x07 = @",
    "\\x1b[1mpassword:\\x1b[0m @",
    "\\u001b[1menable secret\\u001b[0m @",
    "\x1b]0;password=@\x07",
    "#033[1mpassword:#033[0m @",
    "[32menable secret[0m @",
    "\ufffd[1mpassword:\ufffd[0m @",
    "p\ufffda\ufffds\ufffds\ufffdw\ufffdo\ufffdr\ufffdd\ufffd: @",
]


@pytest.mark.parametrize("line", DISGUISED)
def test_a_secret_is_hidden_whatever_stands_between_the_letters(line: str) -> None:
    masked = mask_text(line.replace("@", "aZ3kQ9xW77"))
    assert "aZ3kQ9xW77" not in masked
    assert MASK in masked
    assert mask_text(masked) == masked
    assert "aZ3kQ9xW77" not in mask_json_source(json.dumps({"error": line.replace("@", "aZ3kQ9xW77")})[:-1])


@examples(150)
@given(
    line=st.sampled_from(SHOWN),
    unseen=st.sampled_from(["\x1b[0m", "\u200b", "\xad", "\x07", "\x9b1m"]),
    data=st.data(),
)
def test_nothing_unseen_at_any_place_uncovers_a_secret(line: str, unseen: str, data: st.DataObject) -> None:
    shown = line.replace("@", "aZ3kQ9xW77Lm0pRt", 1)
    at = data.draw(st.integers(0, len(shown)))
    masked = mask_text(shown[:at] + unseen + shown[at:])
    assert "aZ3kQ9xW77Lm0pRt" not in as_seen(masked)


def test_a_text_with_escapes_loses_them_only_with_a_secret() -> None:
    assert mask_text("\x1b[1mpassword:\x1b[0m aZ3kQ9xW77 \x1b[2K") == f"password: {MASK} "
    for text in (
        "\x1b[31mfailed\x1b[0m",
        "no pass\u200bword",
        "\x1b[1mpassword\x1b[0m changed",
        "Grüße\xa0an 👩\u200d💻",
    ):
        assert mask_text(text) == text
        assert mask_json({"error": text}) == {"error": text}


INNOCENT = [
    "key exchange failed",
    "token expired",
    "wrong password for admin",
    "the password is wrong",
    "the password is expired",
    "the password is 90 days old",
    "the token was refused",
    "using password authentication",
    "password authentication failed",
    "no password authentication (type 7)",
    "password validation",
    "token type Bearer",
    "token v2 is used",
    "a long token (IPv6, hash, URL) is cut",
    "password sha256 hash",
    "password for anna@example.org",
    "secret /etc/notifier/key1 is missing",
    "token refresh: TokenExpiredError",
    "password TimeoutException",
    "Passwort falsch",
    "Passwort abgelaufen",
    "Passwort: ungültig",
    "das Passwort ist falsch",
    "Kennwort für anna wurde geändert",
    "Password:\nPassword incorrect",
    "Password:\nedge-01#",
    "Password:\nedge-01# show version",
    "password:\nlogin failed",
    "password:\n  minimum1: 8",
    "VRRP authentication failure",
    "vrrp 1 authentication failed on edge-01",
    "standby 1 authentication mismatch",
    "set community no-export",
    "> set community 65000:100",
    "edge-01(config-route-map)# set community local-as",
    "credentials: denied / see the log",
    "invalid credentials",
    "credentials user/password are missing",
    "mgmt-user admin root",
    "mgmt-user data encrypted with AES",
    "password changed",
    "no password set",
    "Password:",
    "Password: incorrect",
    "wrong password for user anna",
    "password authentication failed for user anna",
    "user anna: password expired on 1 May",
    "enable password is missing",
    "enable secret not configured on edge-01",
    "set a new password before 1 May",
    "ssh login failed: password rejected, key exchange ok",
    "service password-encryption",
    "no service password-recovery",
    "password_min_length = 12",
    "password 5 times wrong",
    "basic authentication failed",
    "bearer token expired",
    "authorization failed",
    "aaa authorization exec default group tacacs+ local",
    "key 5 added",
    "ip ssh rsa key pair missing",
    "crypto key generate rsa modulus 2048",
    "key chain OSPF",
    "ip community-list 1 permit 65000:1",
    "set community 65000:100 additive",
    "neighbor 10.0.0.1 send-community both",
    "SNMP community string mismatch",
    "ntp server 10.0.0.1 key 5",
    "key chain OSPF\n key 1\n key 2",
    "Enter passphrase for key '/home/backup/.ssh/id_rsa':",
    "password for anna: changed",
    "mysql -p is asked for a password",
    "snmpwalk -v2c timed out after 3 tries",
    "authenticator failed",
    "https://app.example.org/jobs?signal=5&sign=1",
    "http://host:8080/a?mail=x@example.org",
    "ssh anna@example.org:22 refused",
    "costs $5 or $10$",
    "interface xe-0/0/7 does not exist",
    "tokens used: 5",
    "secretary: Anna",
    "eyJ is how a JWT begins",
    "SSH login to edge-01 timed out after 30 s.",
]


@pytest.mark.parametrize("text", INNOCENT)
def test_words_about_secrets_stay_as_they_are(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize("text", [text for text in INNOCENT if not text.startswith("> ")])
@pytest.mark.parametrize("prefix", ["04:20:05 ", "2026-11-23T04:20:05Z edge-01: ", "[WARN] ", "edge-01# "])
def test_words_about_secrets_stay_behind_a_time_a_device_or_a_prompt(prefix: str, text: str) -> None:
    assert mask_text(prefix + text) == prefix + text


@given(text=st.text(alphabet="abc 019\n", max_size=60))
def test_text_without_hints_of_secrets_is_not_touched(text: str) -> None:
    assert mask_text(text) == text


FRAGMENTS = (
    "password secret key snmp community 7 = : \" \\ ' :// @ & x1 bearer $9$ auth sha set { --token "
    "-----BEGIN|A----- -----END|A-----"
)


@examples(150)
@given(
    words=st.lists(
        st.sampled_from([*(word.replace("|", " ") for word in FRAGMENTS.split()), " ", "\n"]), max_size=14
    ),
    gap=st.sampled_from(["", " "]),
)
def test_any_text_can_be_masked(words: list[str], gap: str) -> None:
    assert isinstance(mask_text(gap.join(words)), str)


# --- JSON ---------------------------------------------------------------------------------------------------


def test_every_text_and_every_value_under_a_secret_name_is_hidden() -> None:
    value: JsonValue = {
        "error": "login with password=hunter22 failed",
        "list": ["snmp-server community s3cr3tX RO", 5, None, True],
        "adminPassword": "hunter22",
        "snmp_community": {
            "read": "public",
            "write": ["private", ""],
            "version": 2,
            "enabled": True,
            "acl": None,
        },
        "api-key": 12345,
        "password_min_length": 12,
        "size_bytes": 1.5,
        "https://u:hunter22@h/": "ok",
    }
    assert mask_json(value) == {
        "error": f"login with password={MASK} failed",
        "list": [f"snmp-server community {MASK} RO", 5, None, True],
        "adminPassword": MASK,
        "snmp_community": {"read": MASK, "write": [MASK, ""], "version": MASK, "enabled": True, "acl": None},
        "api-key": MASK,
        "password_min_length": 12,
        "size_bytes": 1.5,
        f"https://u:{MASK}@h/": "ok",
    }


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("password", True),
        ("aws.secretAccessKey", True),
        ("Client-Secret", True),
        ("snmp_community", True),
        ("token", True),
        ("Kennwort", True),
        ("pass\u200bword", True),
        ("id", False),
        ("password_min_length", False),
        ("secretary", False),
        ("keys", False),
    ],
)
def test_the_end_of_a_name_says_whether_it_announces_a_secret(name: str, secret: bool) -> None:  # noqa: FBT001
    assert is_secret_name(name) is secret


@pytest.mark.parametrize(
    "lines",
    [
        ["-----BEGIN RSA PRIVATE KEY-----", *KEY, KEY_END, "done"],
        ["the key", *KEY, KEY_END],
        ["-----BEGIN RSA PRIVATE KEY-----", *KEY],
        [f"04:20:05 {line}" for line in ("-----BEGIN RSA PRIVATE KEY-----", *KEY, KEY_END)],
    ],
)
def test_a_key_in_a_list_of_lines_is_hidden(lines: list[JsonValue]) -> None:
    masked = mask_json({"summary": lines})
    assert not [line for line in KEY if line in str(masked)]
    assert isinstance(masked, dict)
    assert isinstance(masked["summary"], list)
    assert [line for line in masked["summary"] if line != MASK] == [
        line for line in lines if not str(line).endswith(KEY)
    ]


def test_what_follows_a_key_in_a_list_stays() -> None:
    lines: JsonValue = ["-----BEGIN CERTIFICATE-----", "and so on", "done", 5, "-----END of it", ["x"]]
    assert mask_json(lines) == lines


def test_a_password_in_the_text_after_the_question_is_hidden() -> None:
    assert mask_json(["Password:", "aZ3kQ9xW77", "welcome"]) == ["Password:", MASK, "welcome"]
    assert mask_json(["login\nPassword: \n", "aZ3kQ9xW77\nwelcome"]) == [
        "login\nPassword: \n",
        f"{MASK}\nwelcome",
    ]
    assert mask_json([{"log": ["Password:", 5]}, "x"]) == [{"log": ["Password:", 5]}, "x"]
    assert mask_json(["Password:", "edge-01#", "targets:", "edge-01"]) == [
        "Password:",
        "edge-01#",
        "targets:",
        "edge-01",
    ]


def test_an_event_without_secrets_is_stored_as_it_came() -> None:
    document: JsonValue = {
        "id": "e-1",
        "data": {"customer_id": 1, "job": {"type": "config_backup", "error": "timed out"}},
    }
    assert mask_json(document) == document


# --- cost ---------------------------------------------------------------------------------------------------

_REPEATS = {codes.MAX_REPEAT, codes.MIN_REPEAT}
_MANY = 1000


def backtracking_inside_repeats(tree: Any, *, inside: bool = False) -> bool:
    """Whether a long repeat that can give back what it took stands inside another long repeat."""
    for operation, arguments in tree:
        long = operation in _REPEATS and int(arguments[1]) > _MANY
        if long and inside:
            return True
        again = inside or (operation in {*_REPEATS, codes.POSSESSIVE_REPEAT} and int(arguments[1]) > _MANY)
        for child in children(arguments):
            if backtracking_inside_repeats(child, inside=again):
                return True
    return False


def children(arguments: Any) -> list[Any]:
    found: list[Any] = []
    if isinstance(arguments, parser.SubPattern):
        found.append(arguments)
    elif isinstance(arguments, list | tuple):
        for part in arguments:
            found.extend(children(part))
    return found


@pytest.mark.parametrize("expression", [pattern.expression for pattern in SECRET_PATTERNS], ids=str)
def test_no_pattern_can_backtrack_without_bound(expression: re.Pattern[str]) -> None:
    assert not backtracking_inside_repeats(parser.parse(expression.pattern, expression.flags))


def test_the_check_for_backtracking_finds_what_it_looks_for() -> None:
    assert backtracking_inside_repeats(parser.parse(r"(?:a+b?)+c"))
    assert not backtracking_inside_repeats(parser.parse(r"(?:a++b?)++c"))


def possessive_groups(tree: Any) -> bool:
    """Whether a repeat that gives nothing back is one of more than a single character."""
    for operation, arguments in tree:
        if operation is codes.POSSESSIVE_REPEAT and not is_one_character(arguments[2]):
            return True
        if any(possessive_groups(child) for child in children(arguments)):
            return True
    return False


def is_one_character(tree: Any) -> bool:
    return len(tree) == 1 and tree[0][0] in {codes.ANY, codes.IN, codes.LITERAL, codes.NOT_LITERAL}


EXPRESSIONS = [
    *(pattern.expression for pattern in SECRET_PATTERNS),
    *(
        value
        for module in (decoding, escapes, key_lines, masking)
        for value in vars(module).values()
        if isinstance(value, re.Pattern)
    ),
]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_no_group_is_repeated_in_a_way_that_old_interpreters_get_wrong(expression: re.Pattern[str]) -> None:
    """Before Python 3.11.5 `(?:…)*+` may miss what it should match, and the secret is shown (CPython issue 106052)."""
    assert not possessive_groups(parser.parse(expression.pattern, expression.flags))


def test_the_check_for_repeated_groups_finds_what_it_looks_for() -> None:
    assert possessive_groups(parser.parse(r"a(?:b(?:ab?)++)c"))
    assert not possessive_groups(parser.parse(r"(?>(?:[ab]++c)*)d++"))


@pytest.mark.parametrize("pattern", SECRET_PATTERNS, ids=lambda pattern: pattern.hints[0])
def test_hints_are_lower_case_and_the_value_has_a_group(pattern: Any) -> None:
    assert all(hint == hint.lower() for hint in pattern.hints)
    assert "value" in pattern.expression.groupindex


@pytest.mark.parametrize(
    "unit",
    [
        "password ",
        "set set user key ",
        '\\"password=\\"',
        "://x:",
        "-----BEGIN X-----",
        "-eyJ-",
        "-----END X-----\n",
        "key -----END X----- ",
        "-----BEGIN key MIIE",
        "password\n",
        "password:\n",
        "password:\r\n1: ",
        "password is ",
        "token a",
        "the password is " + "a" * 150 + " ",
        "set password " + "a." * 90,
        "set the password to ",
        "credentials: a / ",
        "credentials a/",
        "mgmt-user a ",
        "standby 1 authentication ",
        "> set community ",
        "\n> > > set community ",
        "1: 2: 3: password ",
        "a# ",
        "[a] ",
        "error ",
        "\nINFO ",
        "\x1b[1mpassword",
        "\x08_password",
        "\u200bpassword ",
    ],
)
def test_a_hostile_text_costs_little(unit: str) -> None:
    times = 25_000 // len(unit)
    for text in (unit * times + " password", "password " + unit * times + "key"):
        started = process_time()
        mask_text(text)
        assert process_time() - started < 0.5  # 0.03 s is usual; quadratic behaviour takes seconds
