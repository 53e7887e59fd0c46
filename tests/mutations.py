"""Breaks the program on purpose, one promise at a time, and checks that the suite notices.

`make mutations` (or `python -m tests.mutations NAME…`) copies the tree, applies one mutation, runs the tests that guard
it, and expects them to fail. Exit code 1 names every mutation that stayed green. docs/reliability.md shows the table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT = 300.0  # seconds for the tests of one mutation
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", ".hypothesis", "build", "dist")


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A fault to seed: in each of `edits` (file, old text, new text), and the tests that must then fail."""

    name: str
    edits: tuple[tuple[str, str, str], ...]
    guard: str


_ACK_FIRST = """\
                link.settle([(one, Settle.ACK) for one in batch])
                verdicts = self._on_batch("""
_SETTLE = """\
            link.settle(settled)"""
_STAMP_FENCE = "WHERE n.id = ANY (p_ids) AND n.lock_token = p_token AND n.lease_until > now()"

MUTATIONS = (
    Mutation(
        name="an event has no unique key",
        edits=(
            ("schema.sql", "CONSTRAINT uq_job_event UNIQUE (customer_id, source, event_id), --", "--"),
            ("schema.sql", "ON CONFLICT ON CONSTRAINT uq_job_event DO NOTHING\n", ""),
        ),
        guard="tests/acceptance/test_way_of_a_mail.py::test_the_same_event_five_times_to_two_workers_makes_one_mail",
    ),
    Mutation(
        name="ack before commit",
        edits=(
            (
                "notifier/broker/consumer.py",
                "                verdicts = self._on_batch(",
                _ACK_FIRST,
            ),
            (
                "notifier/broker/consumer.py",
                _SETTLE,
                "            pass",
            ),
        ),
        guard="tests/acceptance/test_database_faults.py::test_sessions_ended_again_and_again_lose_nothing",
    ),
    Mutation(
        name="a bad goodbye after the 250 is a fault of the mail, as in `with smtplib.SMTP()`",
        edits=(
            (
                "notifier/smtp/session.py",
                'with suppress(SmtpFault):\n                self._smtp.docmd("QUIT")',
                'if True:\n                self._expect(221, self._smtp.docmd("QUIT"))',
            ),
            (
                "notifier/smtp/session.py",
                "            self.sent += 1\n            self.reused = True\n",
                "            self.sent += 1\n            self.reused = True\n            self.close()\n",
            ),
        ),
        guard="tests/acceptance/test_smtp_last_words.py::"
        "test_no_mail_arrives_twice_when_ambiguous_mails_fail_and_a_bad_goodbye_changes_nothing",
    ),
    Mutation(
        name="the hand-over is not noted before the mail leaves",
        edits=(("schema.sql", "SET handoff_at = now(), lease_until", "SET lease_until"),),
        guard="tests/acceptance/test_process_faults.py::test_killed_after_the_dot_costs_one_copy",
    ),
    Mutation(
        name="a stamp does not ask whether the rows are still ours",
        edits=(
            (
                "schema.sql",
                _STAMP_FENCE,
                "WHERE n.id = ANY (p_ids) AND p_token IS NOT NULL AND n.status = 'pending'",
            ),
        ),
        guard="tests/integration/test_delivery_loop.py::test_a_batch_that_was_taken_back_meanwhile_is_not_sent",
    ),
    Mutation(
        name="the claim ignores whose turn it is",
        edits=(
            (
                "schema.sql",
                "    ORDER BY l.next_due_at\n    LIMIT 1",
                "    ORDER BY l.customer_id\n    LIMIT 1",
            ),
        ),
        guard="tests/integration/test_claim_fairness.py",
    ),
    Mutation(
        name="the cap of connections is not asked again under the server's lock",
        edits=(("schema.sql", ">= (CASE WHEN v_breaker.proven THEN p_connections ELSE 1 END)", "< 0"),),
        guard="tests/integration/test_claim_fairness.py",
    ),
    Mutation(
        name="more of a claim leaves before the breaker hears of a fault",
        edits=(("notifier/delivery.py", " and worst(ledger.verdicts) is None", ""),),
        guard="tests/integration/test_delivery_loop.py",
    ),
    Mutation(
        name="a body keeps the dots that begin its lines, and nobody doubles them",
        edits=(
            (
                "notifier/domain/bodies.py",
                'if encoded.startswith(b".") or b"\\n." in encoded:',
                "if not encoded:",
            ),
        ),
        guard="tests/unit/test_mail.py",
    ),
    Mutation(
        name="a permanent refusal is tried again",
        edits=(
            (
                "notifier/domain/outcomes.py",
                "        case Kind.PERMANENT:\n            ends = True",
                "        case Kind.PERMANENT:\n            ends = no_attempt_left",
            ),
        ),
        guard="tests/unit/test_outcomes.py",
    ),
    Mutation(
        name="STARTTLS is taken when offered and done without when not",
        edits=(
            (
                "notifier/smtp/session.py",
                "            self._smtp.fail(FaultCause.STARTTLS_MISSING, ",
                "            return\n            self._smtp.fail(FaultCause.STARTTLS_MISSING, ",
            ),
        ),
        guard="tests/integration/test_smtp_tls.py",
    ),
)


def survives(mutation: Mutation) -> bool:
    """Tell whether the guarding tests stay green although the program is broken."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "notifier"
        shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
        for name, old, new in mutation.edits:
            path = tree / name
            text = path.read_text(encoding="utf-8")
            if text.count(old) != 1:
                msg = f"{mutation.name}: {name} does not hold this text once:\n{old}"
                raise SystemExit(msg)
            path.write_text(text.replace(old, new), encoding="utf-8")
        if any(name == "schema.sql" for name, _, _ in mutation.edits):
            shutil.copy(tree / "schema.sql", tree / "migrations" / "0001_initial.sql")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", mutation.guard]
        environ = {**os.environ, "PYTHONPATH": str(tree)}
        try:
            run = subprocess.run(
                command, cwd=tree, env=environ, capture_output=True, timeout=_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            return False  # a program that hangs is noticed, too
        if run.returncode not in {0, 1}:
            raise SystemExit(f"{mutation.name}: the tests did not run:\n{run.stdout.decode()[-2000:]}")
        return run.returncode == 0


def main(wanted: list[str]) -> int:
    """Try the mutations whose name contains one of the words, all without words."""
    green = []
    for mutation in MUTATIONS:
        if wanted and not any(word in mutation.name for word in wanted):
            continue
        alive = survives(mutation)
        sys.stdout.write(f"{'SURVIVED' if alive else 'caught'}: {mutation.name}  [{mutation.guard}]\n")
        sys.stdout.flush()
        green += [mutation.name] if alive else []
    return 1 if green else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
