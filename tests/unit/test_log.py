from __future__ import annotations

import base64
import contextlib
import errno
import io
import json
import logging
import threading
import time
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from notifier import log
from notifier.domain.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANARY = "c4n4ry-pässword/+x"
Lines: TypeAlias = "Callable[[], list[dict[str, Any]]]"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.fixture
def lines() -> Lines:
    stream = io.StringIO()
    log.configure("debug", "json", [CANARY], stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_facts(lines: Lines) -> None:
    structlog.get_logger().info("mail_sent", customer_id=7, attempts=2, seconds=0.25, rows=[1, 2], note=None)
    (line,) = lines()
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "mail_sent",
        "customer_id": 7,
        "attempts": 2,
        "seconds": 0.25,
        "rows": [1, 2],
        "note": None,
    }


@pytest.mark.parametrize(
    "value",
    [
        CANARY,
        f"535 wrong password {CANARY}!",
        CANARY.encode(),
        {"deep": [{"er": (f"x{CANARY}",)}]},
        ValueError(f"cannot log in with {CANARY}"),
        "AUTH PLAIN " + base64.b64encode(f"\0user\0{CANARY}".encode()).decode(),
        "PASS " + base64.urlsafe_b64encode(CANARY.encode()).decode().rstrip("="),
        "amqp://notifier:c4n4ry-p%C3%A4ssword%2F%2Bx@broker/%2F",
        {CANARY},
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_known_secret_is_masked_in_every_shape(lines: Lines, value: object) -> None:
    structlog.get_logger().warning("login_failed", server=value)
    text = json.dumps(lines())
    assert "c4n4ry" not in text
    assert base64.b64encode(f"\0user\0{CANARY}".encode()).decode() not in text
    assert "***" in text


def test_a_secret_in_a_traceback_is_masked_too(lines: Lines) -> None:
    try:
        raise RuntimeError(CANARY)  # noqa: TRY301 - the traceback is the case
    except RuntimeError:
        structlog.get_logger().exception("unexpected")
    (line,) = lines()
    assert "RuntimeError: ***" in line["exception"]
    assert "c4n4ry" not in line["exception"]


def test_a_secret_learned_later_is_masked_from_then_on() -> None:
    stream = io.StringIO()
    log.configure("info", "json", [], stream).learn("late-secret")
    structlog.get_logger().info("login_failed", reply="no late-secret here")
    assert json.loads(stream.getvalue())["reply"] == "no *** here"


@pytest.mark.parametrize("known", [1, 500])
def test_a_secret_learned_later_is_masked_in_a_text_that_was_told_before(known: int) -> None:
    redactor = Redactor(f"password-{n}" for n in range(known))
    event = {"event": "summer-rain", "reply": "no summer-rain here", "key": "anna@x.example"}
    for _ in range(2):
        assert redactor(None, "info", dict(event))["reply"] == "no summer-rain here"
    redactor.learn("summer-rain")
    told = redactor(None, "info", dict(event))
    assert (told["event"], told["reply"]) == ("***", "no *** here")


def test_too_short_a_secret_would_tear_every_line_apart() -> None:
    redactor = Redactor(["abc"])
    redactor.learn("abc")
    assert redactor(None, "info", {"reply": "abc", "code": 5}) == {"reply": "abc", "code": 5}


def test_a_word_that_is_no_base64_stays_beside_a_secret_that_is() -> None:
    secret = base64.b64encode(CANARY.encode()).decode()
    assert Redactor([CANARY]).text(f"{secret} abcdefghi") == "*** abcdefghi"


def test_an_address_is_shortened_or_not_by_the_level_however_often_it_was_told() -> None:
    redactor = Redactor()
    for method, shown in [("info", "a***@x.example"), ("debug", "anna@x.example")] * 2:
        told = redactor(None, method, {"event": "anna@x.example", "recipient": "anna@x.example"})
        assert (told["event"], told["recipient"]) == (shown, shown)


def test_many_texts_are_told_as_they_are() -> None:
    redactor = Redactor()
    for n in (*range(5000), *range(5000)):
        assert redactor(None, "info", {"event": "seen", "id": f"event-{n}"})["id"] == f"event-{n}"


def test_the_stack_that_was_asked_for_ends_where_the_line_was_told(lines: Lines) -> None:
    structlog.get_logger().info("seen", stack_info=True)
    (line,) = lines()
    assert "in test_the_stack_that_was_asked_for" in line["stack"].splitlines()[-2]


@pytest.mark.parametrize("known", [1, 500])
@given(before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_a_known_secret_is_found_in_base64_wherever_it_stands(
    known: int, before: bytes, after: bytes
) -> None:
    redactor = _redactor_of(known)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = encode(before + CANARY.encode() + after).decode()
        assert redactor.text(f"said {shown} there") == "said *** there"


@cache
def _redactor_of(known: int) -> Redactor:
    """As of a worker with so many customers."""
    return Redactor([CANARY, *(f"password-{n}" for n in range(known - 1))])


def test_thousands_of_known_secrets_are_all_masked() -> None:
    redactor = _redactor_of(500)
    assert redactor.text("no password-471x here, nor " + CANARY) == "no ***x here, nor ***"
    assert redactor.text("nothing of the kind") == "nothing of the kind"


@pytest.mark.parametrize(
    "key",
    ["password", "smtp_password", "PASSWD", "client_secret", "api_token", "authorization", "encryption_keys"],
)
def test_values_under_a_secret_name_are_masked(lines: Lines, key: str) -> None:
    structlog.get_logger().info("seen", **{key: "anything"}, outer={key: "anything"})
    (line,) = lines()
    assert line[key] == "***"
    assert line["outer"] == {key: "***"}


def test_names_that_only_look_secret_stay_readable(lines: Lines) -> None:
    structlog.get_logger().info(
        "seen", routing_key="job_failed.1", binding_keys=["#"], passed=3, passive=True
    )
    (line,) = lines()
    assert (line["routing_key"], line["binding_keys"], line["passed"], line["passive"]) == (
        "job_failed.1",
        ["#"],
        3,
        True,
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:top-pw@db/x failed", "postgresql://u:***@db/x failed"),
        ("amqp://u:p/w@h:5672/%2F", "amqp://u:***@h:5672/%2F"),
        ("host=db password=top-pw user=u", "host=db password=*** user=u"),
        ('{"password": "top-pw"}', '{"password": "***"}'),
        ("Authorization: Bearer abc.def-ghi", "Authorization: ***"),
        ("sent bearer abcdefghijkl", "sent bearer ***"),
        ("postgresql://notifier@127.0.0.1/notifier", "postgresql://notifier@127.0.0.1/notifier"),
    ],
)
def test_unknown_secrets_are_found_by_their_form(text: str, shown: str) -> None:
    assert Redactor().text(text) == shown


def test_addresses_are_shortened_from_info_on_and_whole_at_debug(lines: Lines) -> None:
    for method in ("debug", "info", "error"):
        getattr(structlog.get_logger(), method)("mail", to="anna@x.org", reply="550 <anna@x.org>: no")
    debug, info, error = lines()
    assert (debug["to"], debug["reply"]) == ("anna@x.org", "550 <anna@x.org>: no")
    assert (info["to"], info["reply"]) == ("a***@x.org", "550 <a***@x.org>: no")
    assert error["to"] == "a***@x.org"


def test_a_message_id_stays_whole(lines: Lines) -> None:
    structlog.get_logger().info("mail", message_id="<0193@x.org>")
    assert lines()[0]["message_id"] == "<0193@x.org>"


def test_the_level_decides_what_is_written() -> None:
    stream = io.StringIO()
    log.configure("warning", "json", [], stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_libraries_go_the_same_way_from_warning_on(lines: Lines) -> None:
    library = logging.getLogger("sqlalchemy.pool")
    library.info("chatter")
    library.warning("connect to %s failed with %s", "amqp://u:pw1234@h/", CANARY)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old call", DeprecationWarning, stacklevel=1)
    first, second = lines()
    assert first["event"] == "connect to amqp://u:***@h/ failed with ***"
    assert (first["level"], first["logger"]) == ("warning", "sqlalchemy.pool")
    assert second["logger"] == "py.warnings"


def test_configuring_twice_writes_each_line_once(lines: Lines) -> None:
    stream = io.StringIO()
    log.configure("info", "json", [], stream)
    logging.getLogger("sqlalchemy").error("down")
    assert len(stream.getvalue().splitlines()) == 1
    assert lines() == []


def test_console_lines_cannot_steer_the_terminal() -> None:
    stream = io.StringIO()
    log.configure("info", "console", [], stream)
    structlog.get_logger().info("seen", reply="\x1b[31mred\x07", secret_thing="x1y2z3")
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "\\x1b[31mred\\x07" in text
    assert "x1y2z3" not in text


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_auto_is_json_unless_on_a_terminal() -> None:
    plain, terminal = io.StringIO(), _Terminal()
    for stream in (plain, terminal):
        log.configure("info", "auto", [], stream)
        structlog.get_logger().info("seen")
    assert json.loads(plain.getvalue())["event"] == "seen"
    with pytest.raises(ValueError):
        json.loads(terminal.getvalue())


@pytest.mark.parametrize("piece", ["a", "a@", "@", "://a:", "password", "a.b", "key=", "Zm9v"])
def test_long_foreign_texts_are_cleaned_in_linear_time(piece: str) -> None:
    redactor = Redactor([CANARY])
    start = time.thread_time()
    redactor.text(piece * (64_000 // len(piece)))
    assert time.thread_time() - start < 1


class _Counted(io.StringIO):
    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


def test_what_a_thread_tells_together_is_one_write() -> None:
    stream = _Counted()
    log.configure("info", "json", stream=stream)
    with log.together():
        for number in range(5):
            structlog.get_logger().info("mail_sent", number=number)
        assert stream.getvalue() == ""
    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == list(range(5))
    assert stream.writes == 1
    structlog.get_logger().info("mail_sent", number=5)
    assert json.loads(stream.getvalue().splitlines()[-1])["number"] == 5


@pytest.mark.parametrize("told", ["warning", "error", "exception"])
def test_a_warning_leaves_at_once_with_what_was_told_before(told: str) -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream=stream)
    with log.together():
        structlog.get_logger().info("first")
        getattr(structlog.get_logger(), told)("second")
        assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["first", "second"]


def test_whoever_waits_for_long_can_have_the_kept_lines_written() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream=stream)
    with log.together():
        structlog.get_logger().info("first")
        log.write_kept()
        assert json.loads(stream.getvalue())["event"] == "first"
        log.write_kept()
    assert len(stream.getvalue().splitlines()) == 1


def test_what_one_thread_keeps_together_holds_back_no_other() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream=stream)
    with log.together():
        structlog.get_logger().info("kept")
        other = threading.Thread(target=lambda: structlog.get_logger().info("other"))
        other.start()
        other.join()
        assert json.loads(stream.getvalue())["event"] == "other"


def test_what_was_told_before_a_crash_is_written() -> None:
    stream = io.StringIO()
    log.configure("info", "json", stream=stream)
    with contextlib.suppress(ZeroDivisionError), log.together():
        structlog.get_logger().info("first")
        raise ZeroDivisionError
    assert json.loads(stream.getvalue())["event"] == "first"


def test_together_within_together_is_one_write_of_all() -> None:
    stream = _Counted()
    log.configure("info", "json", stream=stream)
    with log.together():
        structlog.get_logger().info("first")
        with log.together():
            structlog.get_logger().info("second")
        structlog.get_logger().info("third")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "first",
        "second",
        "third",
    ]
    assert stream.writes == 1


class _Full(io.StringIO):
    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_log_that_cannot_be_written_stops_nobody_and_keeps_nothing_back_afterwards() -> None:
    stream = _Full()
    log.configure("info", "json", stream=stream)
    with log.together():
        structlog.get_logger().info("lost")
        structlog.get_logger().warning("lost, too")
    structlog.get_logger().error("and this")
    stream.full = False
    structlog.get_logger().info("later")
    assert json.loads(stream.getvalue())["event"] == "later"
