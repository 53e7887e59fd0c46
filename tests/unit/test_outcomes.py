from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.errors import SmtpFault
from notifier.domain.outcomes import (
    SENDER_REFUSED_TRIES,
    BreakerEffect,
    Kind,
    Reply,
    RetryPolicy,
    Settlement,
    Verdict,
    backoff,
    classify,
    settle,
)
from notifier.domain.replies import clean_text, retry_hint, secret_forms
from notifier.domain.vocabulary import FAILURE_REASONS, FaultCause, Phase

if TYPE_CHECKING:
    from notifier.domain.vocabulary import FailureReason

POLICY = RetryPolicy(
    max_attempts=8,
    backoff_initial=30,
    backoff_factor=2,
    backoff_max=3600,
    jitter=0.2,
    greylist_delay=300,
    ambiguous_delay=300,
    max_ambiguous=2,
    on_ambiguous="retry",
)
SETUP = (Phase.PREPARE, Phase.CONNECT, Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.AUTH)
ENVELOPE = (Phase.MAIL, Phase.RCPT, Phase.DATA)
OWN_CHECKS = (
    "invalid_recipient",
    "smtputf8_unsupported",
    "too_large",
    "render_error",
    "header_injection",
    "no_smtp_config",
    "smtp_disabled",
    "policy_host",
)
NONE, SOFT, CONFIG, STREAK, SUCCESS = (
    BreakerEffect.NONE,
    BreakerEffect.SOFT,
    BreakerEffect.OPEN_CONFIG,
    BreakerEffect.STREAK,
    BreakerEffect.SUCCESS,
)


def _middle() -> float:
    return 0.5


def _reply(text: str) -> Reply:
    return Reply.read(int(text[:3]), text[4:])


def _refused(phase: Phase, text: str) -> Verdict:
    return classify(
        SmtpFault(phase=phase, cause=FaultCause.REPLY, detail="the server refused", reply=_reply(text))
    )


def _broken(phase: Phase, cause: FaultCause) -> Verdict:
    return classify(SmtpFault(phase=phase, cause=cause, detail="it broke"))


def _settle(
    verdict: Verdict,
    *,
    attempts: int = 1,
    stamped: bool = True,
    ambiguous_count: int = 0,
    policy: RetryPolicy = POLICY,
) -> Settlement:
    return settle(
        verdict,
        attempts=attempts,
        stamped=stamped,
        ambiguous_count=ambiguous_count,
        policy=policy,
        chance=_middle,
    )


# -- the table, row by row ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [200, 250, 251, 252, 299])
def test_any_2yz_after_the_dot_is_sent(code: int) -> None:
    for verdict in (classify(_reply(f"{code} ok")), _refused(Phase.DOT, f"{code} ok")):
        assert (verdict.kind, verdict.breaker, verdict.counts_attempt) == (Kind.SENT, SUCCESS, True)
        assert _settle(verdict).status == "sent"


@pytest.mark.parametrize(
    ("phase", "text", "kind", "reason", "breaker"),
    [
        (Phase.RCPT, "451 4.3.0 later", Kind.TRANSIENT, None, NONE),
        (Phase.RCPT, "452 4.2.2 mailbox full", Kind.TRANSIENT, None, NONE),
        (Phase.MAIL, "451 4.3.0 later", Kind.TRANSIENT, None, SOFT),
        (Phase.MAIL, "452 4.3.1 no space", Kind.TRANSIENT, None, SOFT),
        (Phase.DATA, "451 4.3.0 later", Kind.TRANSIENT, None, SOFT),
        (Phase.DOT, "452 4.3.1 no space", Kind.TRANSIENT, None, SOFT),
        (Phase.RCPT, "550 5.1.1 no such user", Kind.PERMANENT, "permanent_smtp", NONE),
        (Phase.RCPT, "553 5.1.3 bad", Kind.PERMANENT, "permanent_smtp", NONE),
        (Phase.RCPT, "554 5.7.1 relay denied", Kind.PERMANENT, "permanent_smtp", STREAK),
        (Phase.RCPT, "550 relay not permitted", Kind.PERMANENT, "permanent_smtp", STREAK),
        (Phase.RCPT, "550 no such user", Kind.PERMANENT, "permanent_smtp", NONE),
        (Phase.DATA, "554 5.5.1 no", Kind.PERMANENT, "permanent_smtp", STREAK),
        (Phase.DOT, "552 5.3.4 too big", Kind.PERMANENT, "permanent_smtp", STREAK),
        (Phase.DOT, "554 5.7.1 spam", Kind.PERMANENT, "permanent_smtp", STREAK),
        (Phase.MAIL, "550 5.7.1 not you", Kind.TRANSIENT, "sender_refused", SOFT),
        (Phase.MAIL, "552 5.3.4 too big", Kind.PERMANENT, "permanent_smtp", NONE),
        (Phase.MAIL, "550 5.3.4 too big", Kind.PERMANENT, "permanent_smtp", NONE),
        (Phase.AUTH, "535 5.7.8 wrong", Kind.CONFIG, "auth", CONFIG),
        (Phase.AUTH, "534 5.7.9 too weak", Kind.CONFIG, "auth", CONFIG),
        (Phase.AUTH, "504 5.5.4 unknown mechanism", Kind.CONFIG, "auth", CONFIG),
        (Phase.AUTH, "538 5.7.11 encryption required", Kind.CONFIG, "tls", CONFIG),
        (Phase.MAIL, "530 5.7.0 authentication required", Kind.CONFIG, "auth", CONFIG),
        (Phase.MAIL, "530 5.7.0 Must issue a STARTTLS command first", Kind.CONFIG, "tls", CONFIG),
        (Phase.DOT, "530 5.7.0 authentication required", Kind.CONFIG, "auth", CONFIG),
        (Phase.AUTH, "454 4.7.0 temporary", Kind.TRANSIENT, None, SOFT),
        (Phase.STARTTLS, "454 4.7.0 not now", Kind.TRANSIENT, None, SOFT),
        (Phase.STARTTLS, "502 5.5.1 no", Kind.CONFIG, "tls", CONFIG),
        (Phase.BANNER, "554 5.7.1 go away", Kind.CONNECTION, None, SOFT),
        (Phase.EHLO, "550 go away", Kind.CONNECTION, None, SOFT),
        (Phase.MAIL, "354 what", Kind.TRANSIENT, None, SOFT),
        (Phase.DATA, "250 what", Kind.TRANSIENT, None, SOFT),
        (Phase.DOT, "354 what", Kind.AMBIGUOUS, "ambiguous", SOFT),
    ],
)
def test_a_reply_is_judged_by_phase_and_code(
    phase: Phase, text: str, kind: Kind, reason: FailureReason | None, breaker: BreakerEffect
) -> None:
    verdict = _refused(phase, text)
    assert (verdict.kind, verdict.failure_reason, verdict.breaker) == (kind, reason, breaker)
    assert verdict.reply == _reply(text)
    assert verdict.min_delay == 0
    assert not verdict.greylisted


@pytest.mark.parametrize("phase", list(Phase)[:11])
@pytest.mark.parametrize(
    "text", ["450 4.2.0 busy", "451 4.7.1 try later", "451 Greylisted", "452 gray-listing is on"]
)
def test_greylisting_in_any_phase_waits_for_the_greylist_delay(phase: Phase, text: str) -> None:
    verdict = _refused(phase, text)
    assert (verdict.kind, verdict.breaker, verdict.greylisted) == (Kind.TRANSIENT, NONE, True)
    assert _settle(verdict).delay == POLICY.greylist_delay


def test_greylisting_may_ask_for_longer() -> None:
    verdict = _refused(Phase.RCPT, "451 4.7.1 Greylisted, please try again in 20 minutes")
    assert _settle(verdict).delay == 1200


@pytest.mark.parametrize("phase", list(Phase)[:11])
def test_421_in_any_phase_is_transient_and_its_wish_is_heeded_up_to_an_hour(phase: Phase) -> None:
    verdict = _refused(phase, "421 4.3.2 busy, try again in 10 min")
    assert (verdict.kind, verdict.breaker, verdict.min_delay) == (Kind.TRANSIENT, SOFT, 600)
    assert _settle(verdict).delay == 600
    assert _refused(phase, "421 4.7.0 greylisted").greylisted


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("try again in 45 s", 45),
        ("Please retry after 5 minutes", 300),
        ("try again in 3 hours", 3600),
        ("TRY LATER, in 90 seconds", 90),
        ("try again in 99999 min", 3600),
        ("try again later", 0),
        ("entry 5 m", 0),
        ("", 0),
    ],
)
def test_a_wish_for_later_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert retry_hint(text) == seconds


@pytest.mark.parametrize("cause", [FaultCause.LOST, FaultCause.TIMEOUT, FaultCause.UNPARSABLE])
def test_a_break_is_ambiguous_from_the_dot_on_and_transient_before(cause: FaultCause) -> None:
    for phase in (Phase.DOT, Phase.DONE, Phase.QUIT):
        assert _broken(phase, cause).kind == Kind.AMBIGUOUS
    for phase in (Phase.BANNER, Phase.EHLO, Phase.STARTTLS, Phase.AUTH, *ENVELOPE, Phase.BODY):
        verdict = _broken(phase, cause)
        assert (verdict.kind, verdict.breaker) == (Kind.TRANSIENT, SOFT)


@pytest.mark.parametrize(
    "verdict",
    [
        _broken(Phase.CONNECT, FaultCause.REFUSED),
        _broken(Phase.CONNECT, FaultCause.DNS),
        _broken(Phase.CONNECT, FaultCause.UNREACHABLE),
        _broken(Phase.CONNECT, FaultCause.TIMEOUT),
        _broken(Phase.CONNECT, FaultCause.LOST),
    ],
)
def test_a_server_that_is_not_there_is_a_connection_fault(verdict: Verdict) -> None:
    assert (verdict.kind, verdict.breaker, verdict.failure_reason) == (Kind.CONNECTION, SOFT, None)
    assert not verdict.counts_attempt


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (FaultCause.CERTIFICATE, "tls"),
        (FaultCause.HANDSHAKE, "tls"),
        (FaultCause.STARTTLS_MISSING, "tls"),
        (FaultCause.PLAINTEXT_AUTH, "tls"),
        (FaultCause.NO_AUTH_MECHANISM, "auth"),
        (FaultCause.SECRET_UNREADABLE, "auth"),
    ],
)
def test_what_only_a_person_can_mend_opens_the_breaker_and_costs_no_attempt(
    cause: FaultCause, reason: FailureReason
) -> None:
    for phase in SETUP:
        verdict = _broken(phase, cause)
        assert (verdict.kind, verdict.failure_reason, verdict.breaker) == (Kind.CONFIG, reason, CONFIG)
        settled = _settle(verdict, attempts=0, stamped=False)
        assert (settled.status, settled.attempt_kept) == ("pending", True)
        # The breaker holds the mails back, so that a corrected setting sends them at once.
        assert settled.delay == 0
        assert settled.expiry_reason == reason


@pytest.mark.parametrize("reason", OWN_CHECKS)
def test_our_own_checks_fail_the_row_at_once_without_an_attempt(reason: str) -> None:
    verdict = _broken(Phase.PREPARE, FaultCause(reason))
    assert (verdict.kind, verdict.failure_reason, verdict.breaker) == (Kind.PERMANENT, reason, NONE)
    settled = _settle(verdict)
    assert (settled.status, settled.failure_reason, settled.attempt_kept) == ("failed", reason, False)


def test_a_row_that_was_not_begun_is_released_as_if_nothing_had_been() -> None:
    settled = _settle(_broken(Phase.MAIL, FaultCause.NOT_STARTED), attempts=8, ambiguous_count=2)
    assert (settled.status, settled.delay, settled.attempt_kept, settled.ambiguous) == (
        "pending",
        0.0,
        False,
        False,
    )
    assert settled.message == "it broke"


def test_a_final_reply_that_is_no_success_is_judged_at_the_dot() -> None:
    verdict = classify(_reply("554 5.7.1 spam"))
    assert verdict == _refused(Phase.DOT, "554 5.7.1 spam")._replace(message=verdict.message)
    assert verdict.message == "the server answered the mail with 554 5.7.1 spam"


# -- totality ------------------------------------------------------------------------------------------------


def test_every_code_in_every_phase_has_exactly_one_class() -> None:
    for phase in Phase:
        for code in range(-1, 1000):
            fault = SmtpFault(
                phase=phase,
                cause=FaultCause.REPLY,
                detail="x",
                reply=Reply(code=code, enhanced=None, text=""),
            )
            verdict = classify(fault)
            assert verdict.kind in Kind
            assert (verdict.kind == Kind.SENT) == (phase == Phase.DOT and 200 <= code <= 299)
            if phase in {Phase.DOT, Phase.DONE, Phase.QUIT} and not 400 <= code <= 599:
                assert verdict.kind in {Kind.SENT, Kind.AMBIGUOUS}
            if verdict.kind in {Kind.PERMANENT, Kind.CONFIG}:
                assert 500 <= code <= 599


def test_every_cause_in_every_phase_has_exactly_one_class() -> None:
    for phase in Phase:
        for cause in FaultCause:
            verdict = _broken(phase, cause)
            assert verdict.kind != Kind.SENT
            assert verdict.failure_reason in {None, *FAILURE_REASONS}
            if phase in SETUP:
                assert not verdict.counts_attempt


# -- the schedule --------------------------------------------------------------------------------------------


def test_the_schedule_is_half_a_minute_doubling_to_an_hour() -> None:
    delays = [backoff(n, POLICY, _middle) for n in range(1, 12)]
    assert delays == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]


@given(attempt=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_its_share(attempt: int, chance: float) -> None:
    middle = backoff(attempt, POLICY, _middle)
    assert middle * 0.8 <= backoff(attempt, POLICY, lambda: chance) <= middle * 1.2


# -- what becomes of the row ---------------------------------------------------------------------------------


def test_a_451_for_ever_ends_exhausted_after_the_last_attempt() -> None:
    """F27"""
    verdict = _refused(Phase.DATA, "451 4.3.0 later")
    settled = [_settle(verdict, attempts=n) for n in range(1, 9)]
    assert [s.status for s in settled] == ["pending"] * 7 + ["failed"]
    assert [s.delay for s in settled] == [30, 60, 120, 240, 480, 960, 1920, None]
    assert settled[-1].failure_reason == "attempts_exhausted"


def test_a_refused_sender_is_tried_twice() -> None:
    verdict = _refused(Phase.MAIL, "550 5.7.1 not you")
    first, second = (_settle(verdict, attempts=n) for n in (1, SENDER_REFUSED_TRIES))
    assert (first.status, first.delay) == ("pending", 30)
    assert (second.status, second.failure_reason) == ("failed", "sender_refused")


def test_an_ambiguous_row_is_sent_again_at_most_max_ambiguous_times() -> None:
    verdict = _broken(Phase.DOT, FaultCause.LOST)
    settled = [_settle(verdict, attempts=n + 1, ambiguous_count=n) for n in range(3)]
    assert [s.status for s in settled] == ["pending", "pending", "failed"]
    assert [s.delay for s in settled] == [300, 300, None]
    assert all(s.ambiguous and s.attempt_kept for s in settled)
    assert [s.expiry_reason for s in settled] == ["ambiguous", "ambiguous", None]
    assert settled[-1].failure_reason == "ambiguous"


def test_an_ambiguous_row_without_attempts_left_is_failed_as_ambiguous() -> None:
    settled = _settle(_broken(Phase.DOT, FaultCause.LOST), attempts=8)
    assert (settled.status, settled.failure_reason) == ("failed", "ambiguous")


def test_with_on_ambiguous_fail_there_is_no_second_copy() -> None:
    settled = _settle(_broken(Phase.DOT, FaultCause.TIMEOUT), policy=replace(POLICY, on_ambiguous="fail"))
    assert (settled.status, settled.failure_reason, settled.ambiguous) == ("failed", "ambiguous", True)


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (_broken(Phase.CONNECT, FaultCause.REFUSED), "attempts_exhausted"),
        (_broken(Phase.BANNER, FaultCause.TIMEOUT), "attempts_exhausted"),
        (_broken(Phase.STARTTLS, FaultCause.CERTIFICATE), "tls"),
        (_refused(Phase.AUTH, "535 5.7.8 wrong"), "auth"),
        (_refused(Phase.MAIL, "550 5.7.1 not you"), "sender_refused"),
        (_refused(Phase.RCPT, "450 4.2.0 busy"), "attempts_exhausted"),
        (_refused(Phase.RCPT, "550 5.1.1 who"), "permanent_smtp"),
        (_broken(Phase.DOT, FaultCause.LOST), "ambiguous"),
        (_broken(Phase.PREPARE, FaultCause.POLICY_HOST), "policy_host"),
    ],
)
@pytest.mark.parametrize("stamped", [True, False])
def test_sent_once_means_the_first_fault_ends_the_row(
    verdict: Verdict, reason: FailureReason, *, stamped: bool
) -> None:
    settled = _settle(verdict, attempts=int(stamped), stamped=stamped, policy=replace(POLICY, max_attempts=1))
    assert (settled.status, settled.failure_reason, settled.delay) == ("failed", reason, None)


@pytest.mark.parametrize(("stamped", "kept"), [(True, False), (False, True)])
def test_a_fault_before_mail_gives_back_the_attempt_of_the_stamp(*, stamped: bool, kept: bool) -> None:
    settled = _settle(_broken(Phase.EHLO, FaultCause.LOST), attempts=1, stamped=stamped)
    assert (settled.status, settled.attempt_kept, settled.delay) == ("pending", kept, 30)


@st.composite
def _verdicts(draw: st.DrawFn) -> Verdict:
    phase = draw(st.sampled_from(list(Phase)))
    cause = draw(st.sampled_from(list(FaultCause)))
    code = draw(st.integers(200, 599))
    text = draw(st.sampled_from(["", "5.7.1 relay", "4.7.1 x", "greylist", "try again in 9 min"]))
    reply = Reply.read(code, text) if cause == FaultCause.REPLY else None
    return classify(SmtpFault(phase=phase, cause=cause, detail="x", reply=reply))


@given(
    verdict=_verdicts(),
    attempts=st.integers(1, 20),
    ambiguous_count=st.integers(0, 5),
    max_attempts=st.integers(1, 10),
    stamped=st.booleans(),
)
def test_no_row_is_tried_beyond_its_limits(
    verdict: Verdict, attempts: int, ambiguous_count: int, max_attempts: int, *, stamped: bool
) -> None:
    policy = replace(POLICY, max_attempts=max_attempts)
    settled = _settle(
        verdict, attempts=attempts, stamped=stamped, ambiguous_count=ambiguous_count, policy=policy
    )
    assert (settled.status == "pending") == (settled.delay is not None)
    assert (settled.status == "failed") == (settled.failure_reason is not None)
    if verdict.kind == Kind.PERMANENT:
        assert settled.status == "failed"
    if settled.status == "pending" and verdict.kind != Kind.RELEASED:
        assert attempts - (not settled.attempt_kept) < max_attempts
        assert settled.delay is not None
        if verdict.kind != Kind.CONFIG:
            assert settled.delay >= max(verdict.min_delay, POLICY.backoff_initial * 0.8)
    if settled.status == "pending" and verdict.kind == Kind.AMBIGUOUS:
        assert ambiguous_count < policy.max_ambiguous


# -- the text of replies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "enhanced"),
    [
        ("5.1.1 no", "5.1.1"),
        ("4.7.1", "4.7.1"),
        ("2.0.0\nOk", "2.0.0"),
        ("no 5.1.1", None),
        ("1.2.3.4 x", None),
        ("4.1.2.3 blocked", None),
    ],
)
def test_the_enhanced_code_is_read_from_the_front_only(raw: str, enhanced: str | None) -> None:
    assert Reply.read(550, raw).enhanced == enhanced


def test_a_reply_becomes_one_printable_line_of_at_most_500_characters() -> None:
    """B56"""
    text = clean_text("\x1b[31mred\x1b[0m\r\nsecond\u2028third\u202e \x00" + "x" * 4000)
    assert text.startswith("red second third xxx")
    assert len(text) == 500
    assert text.endswith("…")


@given(st.text())
def test_no_text_survives_that_a_row_or_a_terminal_cannot_take(raw: str) -> None:
    text = clean_text(raw)
    assert text.isprintable()
    assert len(text) <= 500
    assert clean_text(text) == text


def test_a_password_is_masked_in_every_form_it_travels_in() -> None:
    """B55"""
    password = "s3cret pass"
    forms = secret_forms(username="user", password=password)
    for shown in (
        password,
        base64.b64encode(password.encode()).decode(),
        base64.b64encode(f"\0user\0{password}".encode()).decode(),
        base64.b64encode(f"\0user\0{password}".encode()).decode().rstrip("="),
        "s3cret\r\npass",
    ):
        assert clean_text(f"535 {shown} is wrong", secrets=forms) == "535 *** is wrong"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("4.3.0 upstream said token=ghp_0123456789abcdefghij", "4.3.0 upstream said token=********"),
        ("2.0.0 queued password=hunter2", "2.0.0 queued password=********"),
        ("5.7.8 \x1b[1mpassword:\x1b[0m hunter2\r\nwas wrong", "5.7.8 password: ******** was wrong"),
        ("5.7.8 see https://relay:hunter2@example.org/x", "5.7.8 see https://relay:********@example.org/x"),
    ],
)
def test_what_looks_like_a_secret_in_a_reply_is_masked_as_in_the_texts_of_jobs(raw: str, shown: str) -> None:
    assert clean_text(raw) == shown


@pytest.mark.parametrize(
    "raw",
    [
        "5.7.8 password authentication failed",
        "5.7.8 Username and Password not accepted. See https://mail.example.org/?p=BadCredentials 98e67ed59e1d1-2f",
        "5.7.139 Authentication unsuccessful, basic authentication is disabled. [AM0PR01.prod.example.net]",
        "5.7.3 Authentication credentials invalid",
        "2.0.0 Ok: queued as 4F2C61C0A7",
        "4.7.1 Greylisted (key 1732), try again in 300 seconds",
    ],
)
def test_the_usual_replies_are_kept_as_they_came(raw: str) -> None:
    assert clean_text(raw) == raw


def test_without_a_password_nothing_is_masked() -> None:
    assert secret_forms(username="user", password=None) == ()
    assert secret_forms(username=None, password="p")[-1] == "p"


def test_a_password_cut_in_half_by_the_limit_does_not_show_its_first_half() -> None:
    forms = secret_forms(username="u", password="longpassword")
    assert "longp" not in clean_text("x" * 494 + " longpassword", secrets=forms)


def test_a_reply_reads_as_the_server_wrote_it() -> None:
    assert str(_reply("550 5.1.1 No such user")) == "550 5.1.1 No such user"
    assert str(Reply(code=250, enhanced=None, text="")) == "250"
