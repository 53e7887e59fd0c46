"""Every mail in every state worth looking at, each with the facts a reader must find in it.

The facts are written from the event, not from the mail: `facts` and `links` must be in text and HTML, `subject`
in the subject, `absent` nowhere.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from notifier.rendering.site import Customer, Reader, Site
from notifier.rendering.story import ServerFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from notifier.domain.vocabulary import MailType

BASE_URL = "https://app.example.com"
RESULT_LINK = f"{BASE_URL}/compliance/results?device=17"
SETTINGS_LINK = f"{BASE_URL}/settings/notifications"
UNSUBSCRIBE_LINK = f"{BASE_URL}/u/Zm9yLXRoZS1nb2xkZW4tbWFpbHMtb25seQ"
CONTACT = "noc@acme.example"

SITE = Site(
    product="Webnet",
    environment="production",
    base_url=BASE_URL,
    links={
        "job": "{base_url}/jobs/{job_id}",
        "compliance_result": "{base_url}/compliance/results?device={device_id}",
        "device": "{base_url}/devices/{device_id}",
        "policy": "{base_url}/policies/{policy_id}",
        "preferences": "{base_url}/settings/notifications",
        "unsubscribe": "{base_url}/u/{token}",
    },
)

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One mail in one state: what goes in, and what must come out."""

    mail_type: MailType
    state: str
    document: Document
    server: ServerFacts | None
    customer: Customer
    reader: Reader
    facts: tuple[str, ...]
    links: tuple[str, ...]
    subject: tuple[str, ...]
    absent: tuple[str, ...] = ()
    contact: str | None = CONTACT

    @property
    def name(self) -> str:
        """The name of its files."""
        return f"{self.mail_type}-{self.state}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One mail: its typical event and the facts in it."""

    mail_type: MailType
    job: Document | None
    result: Document | None = None
    facts: tuple[str, ...]
    links: tuple[str, ...]
    subject: str


def _devices(failed: int, done: int) -> list[Document]:
    reasons = ("SSH login timed out", "Authentication refused", "Configuration lock held by netops")
    broken = [
        {"id": n, "hostname": f"edge-{n:02}", "status": "failed", "message": reasons[(n - 1) % 3]}
        for n in range(1, failed + 1)
    ]
    return broken + [
        {"id": 100 + n, "hostname": f"core-{n:02}", "status": "success"} for n in range(1, done + 1)
    ]


def _job(number: int, status: str, kind: str, **more: object) -> Document:
    return {
        "id": number,
        "type": kind,
        "status": status,
        "requested_by": "Anna Berg",
        "requested_at": "2025-03-04T01:59:58Z",
        "started_at": "2025-03-04T02:00:00Z",
        "finished_at": "2025-03-04T02:06:12Z",
        **more,
    }


KINDS: tuple[Kind, ...] = (
    Kind(
        mail_type="job_success",
        job=_job(
            4811, "success", "config_backup", targets={"total": 24, "succeeded": 24, "failed": 0}, changed=3
        ),
        facts=("Config backup #4811", "24 of 24 devices", "Anna Berg", "6 min 12 s", "3 configurations"),
        links=(f"{BASE_URL}/jobs/4811", SETTINGS_LINK),
        subject="[Succeeded] Config backup #4811 - Acme",
    ),
    Kind(
        mail_type="job_failed",
        job=_job(
            4812,
            "failed",
            "config_backup",
            targets={"total": 24, "succeeded": 0, "failed": 24},
            devices=_devices(4, 0),
            error="SSH login to edge-01 timed out after 30 s",
            log_excerpt="02:00:01 connecting to edge-01\n02:00:31 timed out\n02:06:12 giving up",
            log_lines=412,
        ),
        facts=(
            "Config backup #4812",
            "0 of 24 devices done, 24 failed",
            "SSH login to edge-01 timed out after 30 s",
            "412 lines",
            "edge-02",
            "and 20 more devices",
        ),
        links=(f"{BASE_URL}/jobs/4812", SETTINGS_LINK),
        subject="[Failed] Config backup #4812 - Acme",
    ),
    Kind(
        mail_type="job_partial",
        job=_job(
            4813,
            "partial",
            "config_deploy",
            targets={"total": 24, "succeeded": 21, "failed": 3},
            devices=_devices(3, 2),
        ),
        facts=("Config deploy #4813", "21 of 24 devices done, 3 failed", "edge-01", "edge-03", "6 min 12 s"),
        links=(f"{BASE_URL}/jobs/4813", SETTINGS_LINK),
        subject="[Partial 21/24] Config deploy #4813 - Acme",
    ),
    Kind(
        mail_type="compliance_violation",
        job=None,
        result={
            "id": 9001,
            "status": "violation",
            "detected_at": "2025-03-04T02:06:12Z",
            "severity": "high",
            "policy": {"id": 7, "name": "NTP servers"},
            "device": {
                "id": 17,
                "hostname": "core-01",
                "mgmt_ip": "192.0.2.17",
                "vendor": "Cisco",
                "platform": "IOS-XE 17.9",
                "site": "Hamburg DC 2",
            },
            "rule": "ntp.servers must be the internal ones",
            "expected": "10.0.0.1",
            "found": "192.0.2.7",
        },
        facts=(
            "core-01 breaks policy NTP servers",
            "#7",
            "192.0.2.17",
            "High",
            "10.0.0.1",
            "192.0.2.7",
            "Hamburg DC 2",
        ),
        links=(RESULT_LINK, f"{BASE_URL}/devices/17", f"{BASE_URL}/policies/7", SETTINGS_LINK),
        subject="[Violation] NTP servers - Acme",
    ),
    Kind(
        mail_type="scheduled_backup_complete",
        job=_job(
            4814,
            "success",
            "scheduled_backup",
            requested_by="Scheduler",
            schedule={"id": 3, "name": "Nightly backup"},
            targets={"total": 24, "succeeded": 24, "failed": 0},
            changed=3,
            storage="s3://backups/acme",
            size_bytes=52_428_800,
            next_run_at="2025-03-05T02:00:00Z",
        ),
        facts=("24 devices", "Nightly backup", "s3://backups/acme", "50.0 MiB", "5 March 2025"),
        links=(f"{BASE_URL}/jobs/4814", SETTINGS_LINK),
        subject="[Backup complete] Scheduled backup #4814 - Acme",
    ),
)
SERVER = ServerFacts(
    host="smtp.example.com",
    port=587,
    use_tls=True,
    use_ssl=False,
    username="webnet@example.com",
    from_email="webnet@example.com",
    reply_to_email="noc@acme.example",
    requested_by="Anna Berg",
    at=datetime(2025, 3, 4, 2, 6, 12, tzinfo=UTC),
)
_TEST = Kind(
    mail_type="test",
    job=None,
    facts=("smtp.example.com", "587", "STARTTLS", "w***@example.com", "Anna Berg", "4 March 2025, 02:06 UTC"),
    links=(),
    subject="[Test] Mail settings for Acme work",
)


def samples() -> Iterator[Sample]:
    """Every mail in every state, in the order of an index page."""
    for kind in (*KINDS, _TEST):
        for state in STATES:
            yield STATES[state](kind, state)
    yield from _backups()


def _document(kind: Kind) -> Document:
    data: Document = {"customer_id": 1}
    if kind.job:
        data["job"] = copy.deepcopy(kind.job)
    if kind.result:
        data["compliance_result"] = copy.deepcopy(kind.result)
    return {
        "specversion": "1.0",
        "id": f"{kind.mail_type}-1",
        "source": "webnet/jobs",
        "type": kind.mail_type,
        "time": "2025-03-04T02:06:12Z",
        "data": data,
    }


def _number(document: Document) -> int:
    number: int = document["data"].get("job", {}).get("id", 0)
    return number


def _sample(
    kind: Kind,
    state: str,
    *,
    document: Document | None = None,
    server: ServerFacts = SERVER,
    customer: Customer | None = None,
    reader: Reader | None = None,
    facts: tuple[str, ...] | None = None,
    links: tuple[str, ...] | None = None,
    subject: tuple[str, ...] | None = None,
    absent: tuple[str, ...] = (),
    contact: str | None = CONTACT,
) -> Sample:
    return Sample(
        mail_type=kind.mail_type,
        state=state,
        document=document or _document(kind),
        server=server if kind.mail_type == "test" else None,
        customer=customer or Customer(id=1, name="Acme"),
        reader=reader or Reader(locale="en", timezone="UTC", rule="role_default"),
        facts=kind.facts if facts is None else facts,
        links=kind.links if links is None else links,
        subject=(kind.subject,) if subject is None else subject,
        absent=absent,
        contact=contact,
    )


def _typical(kind: Kind, state: str) -> Sample:
    return _sample(kind, state)


def _bare(kind: Kind, state: str) -> Sample:
    """Nothing but what the contract requires."""
    document = _document(kind)
    data = document["data"]
    document.pop("time")
    if "job" in data:
        data["job"] = {key: data["job"][key] for key in ("id", "type", "status")}
    if "compliance_result" in data:
        result = data["compliance_result"]
        data["compliance_result"] = {
            "id": result["id"],
            "status": "violation",
            "policy": result["policy"],
            "device": {"id": 17, "hostname": "core-01"},
        }
    server = ServerFacts(
        host="smtp.example.com",
        port=25,
        use_tls=False,
        use_ssl=False,
        username=None,
        from_email="webnet@example.com",
        reply_to_email=None,
        requested_by="Anna Berg",
        at=SERVER.at,
    )
    facts = {
        "compliance_violation": ("core-01 breaks policy NTP servers", "#7"),
        "test": ("smtp.example.com", "Anna Berg"),
    }
    return _sample(
        kind,
        state,
        document=document,
        server=server,
        facts=facts.get(kind.mail_type, (f"#{_number(document)}",)),
        subject=("Acme",),
        absent=("None", "null", "Started by", "Duration"),
        contact=None,
    )


_LONG = (
    "Verwaltungsgemeinschaft Nordwestdeutscher Rechenzentrumsbetreiber "
    "und Netzdienstleister für Kommunen und Kreise im Norden"
)


def _longest(kind: Kind, state: str) -> Sample:
    """Names of 120 characters, 200 devices, an error of 10,000 lines."""
    document = _document(kind)
    data = document["data"]
    if "job" in data:
        job = data["job"]
        failed = {"success": 0, "partial": 80, "failed": 200}[job["status"]]
        job["devices"] = [
            {**device, "hostname": f"{device['hostname']}.{'very-long-site-name.' * 5}example.net"[:120]}
            for device in _devices(failed, 200 - failed)
        ]
        job["targets"] = {"total": 200, "succeeded": 200 - failed, "failed": failed}
        job["requested_by"] = "Dr. Anna-Katharina von und zu Hohenstein-Bergmann " * 2
        job["schedule"] = {"id": 3, "name": "Nightly backup of everything that has a configuration " * 2}
        if job["status"] != "success":
            job["error"] = "\n".join(
                f"line {n}: the device did not answer within 30 s" for n in range(10_000)
            )
            job["log_lines"] = 10_000
        job["summary"] = {f"field_{n}": "a value of some length that says little " * 4 for n in range(30)}
    if "compliance_result" in data:
        result = data["compliance_result"]
        result["policy"]["name"] = (
            "All devices must use the internal time servers of their region and no others at all "
        )
        result["device"]["hostname"] = "core-01." + "very-long-site-name." * 4 + "example.net"
        result["expected"] = "\n".join(f"ntp server 10.0.{n}.1 prefer" for n in range(60))
        result["found"] = "\n".join(f"ntp server 192.0.2.{n}" for n in range(60))
        result["details"] = {f"field_{n}": "a value of some length " * 8 for n in range(30)}
    facts = {
        "job_success": ("200 of 200 devices", "field 9", "and 20 more entries"),
        "job_failed": ("0 of 200 devices", "line 0", "10,000 lines", "and 190 more devices"),
        "job_partial": ("120 of 200 devices", "line 0", "and 190 more devices"),
        "compliance_violation": ("ntp server 10.0.0.1", "ntp server 192.0.2.0", "and 20 more entries"),
        "scheduled_backup_complete": ("200 devices",),
        "test": ("smtp.example.com",),
    }
    return _sample(
        kind,
        state,
        document=document,
        customer=Customer(id=1, name=_LONG[:120]),
        facts=facts[kind.mail_type],
        subject=()
        if kind.mail_type in ("compliance_violation", "test")
        else (f"#{_number(document)}", "Verwaltung"),
    )


HOSTILE = '<script>alert(1)</script> {{7*7}} "><img src=x onerror=alert(1)>\r\nBcc: evil@example.net'


HOSTILE_ERROR = (
    "\x1b[31mred\x1b[0m \x00nul \x1b]0;title\x07 \u202eevil\u202c "
    f"=?utf-8?q?x=0d=0aBcc:_e@x?=\r.\r\n{HOSTILE}"
)


def _hostile(kind: Kind, state: str) -> Sample:
    """Markup, template code and header lines in every name; escape codes and controls in the error."""
    document = _document(kind)
    data = document["data"]
    if "job" in data:
        job = data["job"]
        job["type"] = HOSTILE
        job["requested_by"] = HOSTILE
        job["storage"] = "javascript:alert(1)"
        job["schedule"] = {"id": 3, "name": HOSTILE}
        job["devices"] = [{"id": 1, "hostname": HOSTILE, "status": "failed", "message": HOSTILE}]
        job["error"] = HOSTILE_ERROR
        job["log_excerpt"] = ".\r\n.\r\nMAIL FROM:<evil@example.net>"
    if "compliance_result" in data:
        result = data["compliance_result"]
        result["policy"]["name"] = HOSTILE
        result["device"] = {"id": 17, "hostname": HOSTILE, "mgmt_ip": HOSTILE, "site": HOSTILE}
        result["rule"] = HOSTILE
        result["found"] = "\x1b[31mred\x1b[0m \x00nul"
        result["details"] = {HOSTILE: HOSTILE, "link": "javascript:alert(1)"}
    server = ServerFacts(
        host=HOSTILE,
        port=25,
        use_tls=False,
        use_ssl=False,
        username=HOSTILE,
        from_email="webnet@example.com",
        reply_to_email=None,
        requested_by=HOSTILE,
        at=SERVER.at,
    )
    return _sample(
        kind,
        state,
        document=document,
        server=server,
        customer=Customer(id=1, name=f"Acme {HOSTILE}"),
        facts=("alert(1)", "Bcc: evil@example.net"),
        subject=(),
        absent=("\x1b", "\x00", "\u202e", 'href="javascript:', "49 "),
    )


def _world(kind: Kind, state: str) -> Sample:
    """Umlauts, Japanese, emoji, and a customer whose name runs from right to left."""
    document = _document(kind)
    data = document["data"]
    name = "Zürich-東京-ルーター 🚀"
    if "job" in data:
        data["job"]["requested_by"] = "Jürgen Müller"
        device = {"id": 1, "hostname": name, "status": "failed", "message": "接続できません"}
        if data["job"]["status"] == "success":
            device |= {"status": "success", "message": "設定を保存しました"}
        else:
            data["job"]["error"] = "Gerät antwortet nicht: 接続がタイムアウトしました 🚀"
        data["job"]["devices"] = [device]
    if "compliance_result" in data:
        data["compliance_result"]["device"]["hostname"] = name
        data["compliance_result"]["found"] = "時刻サーバー 192.0.2.7"
    facts = {
        "compliance_violation": (name, "時刻サーバー"),
        "test": ("חברת התקשורת",),
        "job_success": ("Jürgen Müller", "חברת התקשורת"),
        "scheduled_backup_complete": ("Jürgen Müller", "חברת התקשורת"),
    }
    return _sample(
        kind,
        state,
        document=document,
        customer=Customer(id=1, name="חברת התקשורת"),
        facts=facts.get(kind.mail_type, (name, "接続がタイムアウトしました")),
        subject=("חברת התקשורת",),
    )


def _german(kind: Kind, state: str) -> Sample:
    """German, over the night in which Berlin's clocks go back."""
    document = _document(kind)
    data = document["data"]
    if "job" in data:
        data["job"] |= {"started_at": "2025-10-26T00:30:00Z", "finished_at": "2025-10-26T01:30:00Z"}
        if "next_run_at" in data["job"]:
            data["job"]["next_run_at"] = "2025-10-27T02:00:00Z"
    if "compliance_result" in data:
        data["compliance_result"]["detected_at"] = "2025-10-26T01:30:00Z"
    berlin = ("26. Oktober 2025, 02:30 MESZ (UTC+02:00)", "26. Oktober 2025, 02:30 MEZ (UTC+01:00)", "1 h")
    facts = {
        "compliance_violation": ("26. Oktober 2025, 02:30 MEZ (UTC+01:00)", "Schweregrad", "10.0.0.1"),
        "test": ("4. März 2025, 03:06 MEZ (UTC+01:00)", "Verschlüsselung"),
    }
    return _sample(
        kind,
        state,
        document=document,
        customer=Customer(id=1, name="Acme", locale="de", timezone="Europe/Berlin"),
        reader=Reader(locale="de", timezone="Europe/Berlin", rule="preference_enabled"),
        facts=facts.get(kind.mail_type, berlin),
        subject=("Acme",),
        absent=("Customer", "Started by"),
    )


def _kolkata(kind: Kind, state: str) -> Sample:
    """A reader half an hour off the full hours."""
    moment = "4 March 2025, 07:36 IST (UTC+05:30)"
    return _sample(
        kind,
        state,
        customer=Customer(id=1, name="Acme", timezone="Asia/Kolkata"),
        reader=Reader(locale="en", timezone="Asia/Kolkata", rule="preference_enabled"),
        facts=(moment,),
    )


IPV6 = "2001:0db8:85a3:0000:0000:8a2e:0370:7334"
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
LONG_URL = "https://logs.example.net/" + "segment/" * 34 + "end"


def _tokens(kind: Kind, state: str) -> Sample:
    """Words that no line can hold: addresses, digests, an address of 300 characters."""
    document = _document(kind)
    data = document["data"]
    if "job" in data:
        data["job"]["error"] = f"{IPV6} {DIGEST * 3} {LONG_URL}"
        data["job"]["devices"] = [
            {"id": 1, "hostname": DIGEST, "status": "failed", "message": f"{IPV6} said {LONG_URL}"}
        ]
        data["job"]["storage"] = LONG_URL
    if "compliance_result" in data:
        result = data["compliance_result"]
        result["found"] = f"{IPV6} {DIGEST * 3}"
        result["device"]["mgmt_ip"] = IPV6
        result["details"] = {"log": LONG_URL}
    facts = {"test": ("smtp.example.com",), "compliance_violation": (IPV6, LONG_URL)}
    return _sample(
        kind,
        state,
        document=document,
        customer=Customer(id=1, name="A" * 60),
        facts=facts.get(kind.mail_type, (LONG_URL,)),
        subject=("AAAA",),
    )


def _backups() -> Iterator[Sample]:
    """A scheduled backup that did not save everything is orange, one that saved nothing is red."""
    kind = next(k for k in KINDS if k.mail_type == "scheduled_backup_complete")
    for state, status, done, tag in (
        ("partial", "partial", 23, "[Backup partial 23/24]"),
        ("short", "success", 23, "[Backup partial 23/24]"),  # the event says success all the same
        ("failed", "failed", 0, "[Backup failed]"),
    ):
        document = _document(kind)
        job = document["data"]["job"]
        job |= {
            "status": status,
            "targets": {"total": 24, "succeeded": done, "failed": 24 - done},
            "devices": _devices(1, 0),
            "error": "The storage refused the upload",
        }
        if status == "failed":
            job |= {"changed": 0, "size_bytes": None}
        yield _sample(
            kind,
            state,
            document=document,
            facts=("Nightly backup", f"{done} of 24 devices", "edge-01", "The storage refused the upload"),
            subject=(f"{tag} Scheduled backup #4814 - Acme",),
        )


STATES: Mapping[str, Callable[[Kind, str], Sample]] = {
    "typical": _typical,
    "bare": _bare,
    "longest": _longest,
    "hostile": _hostile,
    "world": _world,
    "german": _german,
    "kolkata": _kolkata,
    "tokens": _tokens,
}
