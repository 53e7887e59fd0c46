from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import resources
from notifier.config import Settings, load
from notifier.config.environment import PRODUCT_VARIABLES, variable_names
from notifier.config.layers import defaults
from notifier.domain.errors import ConfigurationError
from notifier.encryption import generate_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Load = Callable[..., Settings]
    Problems = Callable[..., list[str]]

DJANGO = "django.core.mail.backends"


@pytest.fixture
def read(tmp_path: Path) -> Load:
    """Load `text` as the file, with these variables and flags."""

    def call(text: str = "", environ: Mapping[str, str] | None = None, **flags: object) -> Settings:
        file = tmp_path / "config.toml"
        file.write_text(text, encoding="utf-8")
        return load(file, environ or {}, {name.replace("__", "."): value for name, value in flags.items()})

    return call


@pytest.fixture
def problems(read: Load, tmp_path: Path) -> Problems:
    """Load as `read` does and return every problem, without the folder of the file."""

    def call(text: str = "", environ: Mapping[str, str] | None = None, **flags: object) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            read(text, environ, **flags)
        return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return call


def secret_file(folder: Path, name: str, content: str | bytes, mode: int = 0o600) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    file.chmod(mode)
    return file


# --- faults of the file


def test_all_faults_are_told_at_once_with_line_key_and_cure(problems: Problems) -> None:
    found = problems(
        '[rabbitmq]\nurl = "http://u:c4n4ry@h"\nprefetch = "50"\n\n[delivery]\nmax_attempts = 0\n'
        'on_ambiguous = "maybe"\nretries = 3\n[security]\nencryption_keys = [\n  "c4n4ry",\n]\n'
        "[loging]\nlevel = 1\n",
        {"NOTIFIER_HEALTH__PORT": "70000", "EMAIL_PORT": "many"},
        logging__level="loud",
    )
    assert sorted(found) == sorted(
        [
            "config.toml:13: loging: unknown section; did you mean logging?",
            "EMAIL_PORT: smtp.port: is not a number; write digits only",
            next(
                line for line in found if line.startswith("config.toml:2: rabbitmq.url: the URL must start")
            ),
            "config.toml:3: rabbitmq.prefetch: must be a whole number, not '50'",
            "config.toml:6: delivery.max_attempts: must be at least 1, not 0",
            "config.toml:7: delivery.on_ambiguous: must be 'retry' or 'fail', not 'maybe'",
            next(line for line in found if "delivery.retries" in line),
            "NOTIFIER_HEALTH__PORT: health.port: must be at most 65535, not 70000",
            next(
                line
                for line in found
                if line.startswith("config.toml:11: security.encryption_keys[0]: is no")
            ),
            "command line: logging.level: must be 'debug', 'info', 'warning' or 'error', not 'loud'",
        ]
    )
    assert "c4n4ry" not in "".join(found)
    assert "config.toml:8: delivery.retries: unknown key; there are max_attempts, " in "\n".join(found)


@pytest.mark.parametrize("section", list(Settings.model_fields))
def test_an_unknown_key_is_an_error_in_every_section(problems: Problems, section: str) -> None:
    (found,) = problems(f"[{section}]\nnonsense_key = 1\n")
    assert found.startswith(f"config.toml:2: {section}.nonsense_key: unknown key; there are ")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a = [", "config.toml:1: is not TOML: "),
        ("[app]\nproduct = 1\nproduct = 2\n", "config.toml:3: is not TOML: "),
        ("delivery = 3\n", "config.toml:1: delivery: is a section; write [delivery]"),
        (
            "delivery.max_atempts = 3\n",
            "config.toml:1: delivery.max_atempts: unknown key; did you mean max_attempts?",
        ),
        (
            "recipients = { role_defaults = { boss = [] } }\n",
            "config.toml:1: recipients.role_defaults.boss: unknown role",
        ),
        (
            '[recipients.role_defaults]\n\nviewer = [\n"job_success",\n"job_done"]\n',
            "config.toml:5: recipients.role_defaults.viewer[1]: must be 'job_success'",
        ),
        (
            "[delivery]\ndenied_networks = ['10.0.0.1/8']\n",
            "config.toml:2: delivery.denied_networks: '10.0.0.1/8'",
        ),
        (
            "[delivery]\ndenied_networks = 'loopback'\n",
            "config.toml:2: delivery.denied_networks: must be a list",
        ),
        (
            "[security]\nencryption_keys = ['ü!']\n",
            "config.toml:2: security.encryption_keys[0]: is no encryption key",
        ),
        (
            "[smtp]\nport = 2026-11-23\n",
            "config.toml:2: smtp.port: must be a whole number, not datetime.date(",
        ),
        (
            f"[app]\nproduct = '{'x' * 200}'\n",
            "config.toml:2: app.product: must have at most 127 characters, not 'xx",
        ),
        ("[delivery]\njitter = nan\n", "config.toml:2: delivery.jitter: must be "),
        ("[delivery]\nlease = inf\n", "config.toml:2: delivery.lease: must be "),
        ("[app]\nproduct = ''\n", "config.toml:2: app.product: must not be empty"),
        (
            "[app]\nbase_url = 'ftp://x'\n",
            "config.toml:2: app.base_url: the URL must start with http:// or https://",
        ),
        (
            "[app]\nbase_url = 'http://u:pw@x'\n",
            "config.toml:2: app.base_url: the URL may have a path but no user",
        ),
        (
            "[database]\nurl = 'mysql://u:pw@h/x'\n",
            "config.toml:2: database.url: the URL must start with postgresql://",
        ),
        ("[database]\nurl = 'host=db password=pw'\n", "config.toml:2: database.url: the URL must start with"),
        ("[rabbitmq]\nurl = 'amqp://'\n", "config.toml:2: rabbitmq.url: the URL names no host"),
        ("[rabbitmq]\nurl = 'amqp://u:p/w@h'\n", "config.toml:2: rabbitmq.url: not a URL; write it as"),
        (
            "[rabbitmq]\nbinding_keys = []\n",
            "config.toml:2: rabbitmq.binding_keys: must have at least 1 entry",
        ),
        (
            "[links]\njob = '{base_url}/{user}'\n",
            "config.toml:2: links.job: unknown placeholder {user}; it may use",
        ),
        (
            "[links]\njob = 'javascript:x'\n",
            "config.toml:2: links.job: must start with {base_url}, https:// or http://",
        ),
        ("[links]\njob = '{base_url'\n", "config.toml:2: links.job: not a pattern"),
        ("[smtp]\nfrom_email = 'Webnet <a@x.org>'\n", "config.toml:2: smtp.from_email: "),
        ("[recipients]\nallowed_domains = ['@x']\n", "config.toml:2: recipients.allowed_domains[0]: "),
        (
            "[security]\nsigning_keys = ['short']\n",
            "config.toml:2: security.signing_keys[0]: is shorter than 32",
        ),
    ],
)
def test_a_fault_names_its_line_and_key(problems: Problems, text: str, start: str) -> None:
    (found,) = problems(text)
    assert found.startswith(start)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (
            "[delivery]\nbackoff_initial = 7200\n",
            "config.toml:2: delivery.backoff_max: is 3600, less than backoff_initial (7200)",
        ),
        (
            "[delivery]\nbreaker_max = 1\n",
            "config.toml:2: delivery.breaker_max: is 1, less than breaker_initial (30)",
        ),
        (
            "[delivery]\nbreaker_config_max = 1\n",
            "config.toml:2: delivery.breaker_config_max: is 1, less than",
        ),
        (
            "[delivery]\nlease = 20\n",
            "config.toml:2: delivery.drain_timeout: is 25, not less than lease (20)",
        ),
        (
            '[recipients]\nrole_defaults = { viewer = ["job_failed"] }\n',
            "config.toml:2: recipients.role_defaults.viewer: job_failed may not be received by this",
        ),
        (
            "[recipients.role_event_types]\nadmin = []\n",
            "config.toml:2: recipients.role_defaults.admin: job_failed may not be received by this role",
        ),
        (
            "[rabbitmq]\nqueue = 'notifier.dead-letter.v1'\n",
            "config.toml:2: rabbitmq.dead_letter_queue: is the same",
        ),
        (
            "[rabbitmq]\ndead_letter_exchange = 'job.events'\n",
            "config.toml:2: rabbitmq.dead_letter_exchange: is the",
        ),
        (
            "[smtp]\nhost = 'mail'\n",
            "config.toml:2: smtp.from_email: is needed with host; set it (or DEFAULT_FROM_",
        ),
        (
            "[smtp]\nusername = 'u'\n",
            "config.toml:2: smtp.password: is needed with username; set NOTIFIER_SMTP__",
        ),
        ("[smtp]\npassword = 'p'\n", "config.toml:2: smtp.username: is needed with password"),
        ("[smtp]\n\ntransport = 'file'\n", "config.toml:3: smtp.file_path: is needed with transport"),
        ("[links]\nunsubscribe = 'https://x.org/u'\n", "config.toml:2: links.unsubscribe: lacks {token}"),
        (
            "[links]\nunsubscribe = 'https://x.org/{token}'\n",
            "config.toml:2: security.signing_keys: is needed with links",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_an_error_at_the_line_that_was_written(
    problems: Problems, text: str, start: str
) -> None:
    (found,) = problems(text)
    assert found.startswith(start)


def test_keys_that_contradict_each_other_are_told_beside_every_other_fault(problems: Problems) -> None:
    found = problems(
        "[rabbitmq]\nbinding_keys = [1, 2]\nqueue = 'q'\ndead_letter_queue = 'q'\nexchange = 'x'\n"
        "dead_letter_exchange = 'x'\n[smtp]\nhost = 'mail'\nport = 0\n"
        "[links]\nunsubscribe = 'https://x.org/{token}'\n[loging]\n",
        {"NOTIFIER_DELIVERY__SENDERS": "0", "NOTIFIER_DELIVERY__BACKOFF_INITIAL": "7200"},
    )
    assert sorted(line.partition(" is ")[0].partition(" must ")[0] for line in found) == sorted(
        [
            "config.toml:2: rabbitmq.binding_keys[0]:",
            "config.toml:2: rabbitmq.binding_keys[1]:",
            "config.toml:4: rabbitmq.dead_letter_queue:",
            "config.toml:6: rabbitmq.dead_letter_exchange:",
            "config.toml:8: smtp.from_email:",
            "config.toml:9: smtp.port:",
            "config.toml:11: security.signing_keys:",
            "config.toml:12: loging: unknown section; did you mean logging?",
            "NOTIFIER_DELIVERY__SENDERS: delivery.senders:",
            "NOTIFIER_DELIVERY__BACKOFF_INITIAL: delivery.backoff_max:",
        ]
    )


@pytest.mark.parametrize(
    "text",
    [
        "[smtp]\nhost = 'mail'\nfrom_email = 'nonsense'\n",
        "[smtp]\nhost = 5\nfrom_email = 'a@b.example'\n",
        "[smtp]\nusername = 'u'\npassword = 5\n",
        "[smtp]\ntransport = 'file'\nfile_path = 5\n",
        "[delivery]\nbackoff_initial = 'soon'\nbackoff_max = 10\n",
        "[delivery]\nlease = 'long'\ndrain_timeout = 3000\n",
        "[recipients.role_event_types]\nadmin = 5\n[recipients.role_defaults]\nviewer = ['job_failed']\n",
        "[links]\nunsubscribe = 'https://x.org/{token}'\n[security]\nsigning_keys = ['short']\n",
        "[links]\nunsubscribe = 'https://x.org/u'\n",
    ],
)
def test_a_faulty_key_is_told_once_and_not_as_missing_or_contradicting(problems: Problems, text: str) -> None:
    assert len(problems(text)) == 1


def test_a_contradiction_made_by_a_variable_names_the_variable(problems: Problems) -> None:
    (found,) = problems("", {"NOTIFIER_DELIVERY__BACKOFF_INITIAL": "7200"})
    assert found.startswith(
        "NOTIFIER_DELIVERY__BACKOFF_INITIAL: delivery.backoff_max: is 3600, less than backoff_initial"
    )


def test_a_file_that_is_named_must_exist(tmp_path: Path) -> None:
    for environ, path in (({}, tmp_path / "none"), ({"NOTIFIER_CONFIG": str(tmp_path / "none")}, None)):
        with pytest.raises(ConfigurationError, match="none: cannot be read"):
            load(path, environ)


def test_a_file_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"[app]\nproduct = '\xff'")
    with pytest.raises(ConfigurationError, match=r"config\.toml: is not UTF-8 \(byte 17\); save it as UTF-8"):
        load(file, {})


# --- which source wins


def test_the_file_is_found_in_the_order_of_the_contract(tmp_path: Path) -> None:
    files = []
    for name in ("flag", "variable", "here", "etc"):
        file = tmp_path / name
        file.write_text(f"[app]\nproduct = '{name}'\n", encoding="utf-8")
        files.append(file)
    flag, variable, here, etc = files

    def product(config: Path | None, environ: Mapping[str, str]) -> str:
        return load(config, environ, default_paths=(here, etc)).app.product

    assert product(flag, {"NOTIFIER_CONFIG": str(variable)}) == "flag"
    assert product(None, {"NOTIFIER_CONFIG": str(variable)}) == "variable"
    assert product(None, {}) == "here"
    here.unlink()
    assert product(None, {}) == "etc"
    etc.unlink()
    assert product(None, {}) == "Webnet"


def test_each_source_is_stronger_than_the_one_before(read: Load, tmp_path: Path) -> None:
    secret_file(tmp_path, "host", "from-secret-file\n")
    text = "[smtp]\nhost = 'from-file'\nfrom_email = 'a@x.org'\n"
    spec = {"EMAIL_HOST": "from-spec"}
    ours = {**spec, "NOTIFIER_SMTP__HOST": "from-environment"}
    filed = {**spec, "NOTIFIER_SMTP__HOST_FILE": str(tmp_path / "host")}
    assert read("").smtp.host is None
    assert read(text).smtp.host == "from-file"
    assert read(text, spec).smtp.host == "from-spec"
    assert read(text, ours).smtp.host == "from-environment"
    assert read(text, filed).smtp.host == "from-secret-file"
    assert read(text, filed, smtp__host="from-flag").smtp.host == "from-flag"


# --- the product's own variables


def test_the_variables_of_the_spec_work_as_they_are(read: Load) -> None:
    settings = read(
        "",
        {
            "EMAIL_BACKEND": f"{DJANGO}.smtp.EmailBackend",
            "EMAIL_HOST": "smtp.example.com",
            "EMAIL_PORT": "587",
            "EMAIL_USE_TLS": "true",
            "EMAIL_USE_SSL": "false",
            "EMAIL_HOST_USER": "webnet@example.com",
            "EMAIL_HOST_PASSWORD": "smtp_password",
            "DEFAULT_FROM_EMAIL": "webnet@example.com",
            "WEBNET_BASE_URL": "http://localhost:8000/",
        },
    )
    smtp = settings.smtp
    assert (smtp.transport, smtp.host, smtp.port, smtp.use_tls, smtp.use_ssl) == (
        "smtp",
        "smtp.example.com",
        587,
        True,
        False,
    )
    assert smtp.password is not None
    assert (smtp.username, smtp.password.get_secret_value()) == ("webnet@example.com", "smtp_password")
    assert smtp.from_email == "webnet@example.com"
    assert settings.app.base_url == "http://localhost:8000"


@pytest.mark.parametrize("name", list(PRODUCT_VARIABLES))
def test_an_empty_variable_of_the_spec_counts_as_not_set(read: Load, name: str) -> None:
    assert read("", {name: " "}) == read("")


@pytest.mark.parametrize(
    ("backend", "transport"),
    [("smtp", "smtp"), ("console", "console"), ("filebased", "file"), ("dummy", "dummy")],
)
def test_django_backends_choose_the_transport(read: Load, backend: str, transport: str) -> None:
    environ = {"EMAIL_BACKEND": f"{DJANGO}.{backend}.EmailBackend", "EMAIL_FILE_PATH": "/mails"}
    assert read("", environ).smtp.transport == transport


def test_an_unknown_backend_is_an_error_that_names_the_known_ones(problems: Problems) -> None:
    (found,) = problems("", {"EMAIL_BACKEND": f"{DJANGO}.locmem.EmailBackend"})
    assert found.startswith("EMAIL_BACKEND: smtp.transport: no such backend here")
    assert f"{DJANGO}.dummy.EmailBackend" in found


def test_a_display_name_in_default_from_email_is_taken_off(read: Load) -> None:
    assert read("", {"DEFAULT_FROM_EMAIL": "Webnet <webnet@bücher.example>"}).smtp.from_email == (
        "webnet@xn--bcher-kva.example"
    )


# --- one kind of TLS


@pytest.mark.parametrize(
    ("text", "environ", "flags"),
    [
        ("[smtp]\nuse_tls = true\nuse_ssl = true\n", {}, ("config.toml:3",)),
        ("", {"EMAIL_USE_TLS": "1", "EMAIL_USE_SSL": "1"}, ("EMAIL_USE_SSL",)),
        ("", {"NOTIFIER_SMTP__USE_TLS": "on", "NOTIFIER_SMTP__USE_SSL": "yes"}, ("NOTIFIER_SMTP__USE_SSL",)),
    ],
)
def test_both_kinds_of_tls_in_one_source_are_one_error(
    problems: Problems, text: str, environ: dict[str, str], flags: tuple[str]
) -> None:
    (found,) = problems(text, environ)
    assert found.startswith(
        f"{flags[0]}: smtp.use_ssl: use_tls and use_ssl cannot both be true; set use_tls to false"
    )


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("", {}, (True, False)),
        ("[smtp]\nuse_ssl = true\n", {}, (False, True)),
        ("[smtp]\nuse_tls = false\n", {}, (False, False)),
        ("[smtp]\nuse_tls = true\nuse_ssl = false\n", {"EMAIL_USE_SSL": "true"}, (False, True)),
        ("[smtp]\nuse_tls = false\nuse_ssl = true\n", {"EMAIL_USE_TLS": "true"}, (True, False)),
        ("", {"EMAIL_USE_SSL": "true", "NOTIFIER_SMTP__USE_TLS": "true"}, (True, False)),
        ("[smtp]\nuse_ssl = true\n", {"EMAIL_USE_TLS": "false", "EMAIL_USE_SSL": "false"}, (False, False)),
    ],
)
def test_a_stronger_source_chooses_the_kind_of_tls(
    read: Load, text: str, environ: dict[str, str], expected: tuple[bool, bool]
) -> None:
    smtp = read(text, environ).smtp
    assert (smtp.use_tls, smtp.use_ssl) == expected


# --- our variables


def test_every_key_has_a_variable() -> None:
    assert set(defaults()) <= set(variable_names().values())
    assert variable_names()["NOTIFIER_DELIVERY__MAX_ATTEMPTS"] == ("delivery", "max_attempts")


@pytest.mark.parametrize(
    ("name", "text", "get", "expected"),
    [
        ("NOTIFIER_DELIVERY__MAX_ATTEMPTS", "3", lambda s: s.delivery.max_attempts, 3),
        ("NOTIFIER_DELIVERY__JITTER", "0.5", lambda s: s.delivery.jitter, 0.5),
        ("NOTIFIER_RABBITMQ__DECLARE", "No", lambda s: s.rabbitmq.declare, False),
        ("NOTIFIER_RABBITMQ__BINDING_KEYS", "a.#, b", lambda s: s.rabbitmq.binding_keys, ("a.#", "b")),
        ("NOTIFIER_RABBITMQ__BINDING_KEYS", '["a,b"]', lambda s: s.rabbitmq.binding_keys, ("a,b",)),
        ("NOTIFIER_DELIVERY__DENIED_NETWORKS", "", lambda s: s.delivery.denied_networks, ()),
        ("NOTIFIER_SMTP__HOST", "", lambda s: s.smtp.host, None),
        (
            "NOTIFIER_RECIPIENTS__ROLE_DEFAULTS__VIEWER",
            "job_success",
            lambda s: (s.recipients.role_defaults["viewer"], s.recipients.role_defaults["admin"]),
            ({"job_success"}, {"job_failed"}),
        ),
        (
            "NOTIFIER_RECIPIENTS__ROLE_DEFAULTS",
            '{"operator": ["job_failed"]}',
            lambda s: s.recipients.role_defaults["operator"],
            {"job_failed"},
        ),
        (
            "NOTIFIER_RECIPIENTS__ALLOWED_DOMAINS",
            "Bücher.example",
            lambda s: s.recipients.allowed_domains,
            ("xn--bcher-kva.example",),
        ),
    ],
)
def test_a_variable_is_read_as_the_type_of_its_key(
    read: Load, name: str, text: str, get: Callable[[Settings], object], expected: object
) -> None:
    assert get(read("", {name: text})) == expected


@pytest.mark.parametrize(
    ("name", "text", "end"),
    [
        (
            "NOTIFIER_RABBITMQ__DECLARE",
            "perhaps",
            "rabbitmq.declare: is neither true nor false; write true or false",
        ),
        ("NOTIFIER_DELIVERY__JITTER", "much", "delivery.jitter: is not a number"),
        (
            "NOTIFIER_RABBITMQ__BINDING_KEYS",
            "[a",
            "rabbitmq.binding_keys: is not JSON; write a JSON value, or a list",
        ),
        (
            "NOTIFIER_RECIPIENTS__ROLE_DEFAULTS",
            "admin",
            "recipients.role_defaults: must be a table with a list",
        ),
        (
            "NOTIFIER_DELIVERY__MAX_ATEMPTS",
            "1",
            "unknown variable; did you mean NOTIFIER_DELIVERY__MAX_ATTEMPTS?",
        ),
        ("NOTIFIER_delivery__max_attempts", "1", "unknown variable; the names are NOTIFIER_<SECTION>__<KEY>"),
        ("NOTIFIER_SMTP__PASWORD_FILE", "/x", "unknown variable; did you mean NOTIFIER_SMTP__PASSWORD?"),
        ("NOTIFIER_API_PORT", "8081", "unknown variable; did you mean NOTIFIER_API__PORT?"),
        (
            "NOTIFIER_FOO",
            "3",
            "unknown variable; the names are NOTIFIER_<SECTION>__<KEY>, as in NOTIFIER_SMTP__HOST",
        ),
        ("NOTIFIER_", "", "unknown variable; "),
    ],
)
def test_a_wrong_variable_is_an_error_that_names_it(
    problems: Problems, name: str, text: str, end: str
) -> None:
    (found,) = problems("", {name: text})
    assert found.startswith(f"{name}: {end}")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NOTIFIER_TEST_AMQP_URL", "amqp://x"),
        ("NOTIFIER_CRASHPOINT", "after_250"),
        ("NOTIFIER_SERVICE_HOST", "10.0.0.1"),
        ("NOTIFIER_PORT", "tcp://10.0.0.1:8080"),
        ("NOTIFIER_API_PORT_8081_TCP_ADDR", "10.0.0.1"),
        ("NOTIFIER_API_PORT", "tcp://10.0.0.1:8081"),
        ("NOTIFIER_API_SERVICE_PORT_HTTP", "8081"),
    ],
)
def test_names_of_the_tests_and_of_kubernetes_services_are_no_settings(
    read: Load, name: str, text: str
) -> None:
    assert read("", {name: text}) == read("")


# --- secret files


def test_a_secret_file_loses_one_line_end_and_nothing_else(read: Load, tmp_path: Path) -> None:
    file = secret_file(tmp_path, "password", " p4ss \n\n")
    smtp = read("", {"NOTIFIER_SMTP__PASSWORD_FILE": str(file), "NOTIFIER_SMTP__USERNAME": "u"}).smtp
    assert smtp.password is not None
    assert smtp.password.get_secret_value() == " p4ss \n"


def test_keys_in_a_secret_file_stand_one_a_line(read: Load, tmp_path: Path) -> None:
    keys = [generate_key(), generate_key()]
    file = secret_file(tmp_path, "keys", "\n".join(keys) + "\n")
    security = read("", {"NOTIFIER_SECURITY__ENCRYPTION_KEYS_FILE": str(file)}).security
    assert [key.get_secret_value() for key in security.encryption_keys] == keys


@pytest.mark.parametrize(
    ("content", "mode", "end"),
    [
        ("c4n4ry", 0o644, "is readable by everybody (mode 644); run chmod o-rwx on it"),
        ("", 0o600, "is empty; write the secret into it"),
        (b"\xff\xfe", 0o600, "is not UTF-8 text"),
        ("x" * 70000, 0o600, "is larger than 65536 bytes"),
    ],
)
def test_a_bad_secret_file_is_refused(
    problems: Problems, tmp_path: Path, content: str | bytes, mode: int, end: str
) -> None:
    file = secret_file(tmp_path, "secret", content, mode)
    (found,) = problems("", {"NOTIFIER_DATABASE__URL_FILE": str(file)})
    assert found.startswith(f"NOTIFIER_DATABASE__URL_FILE: database.url: the file secret {end}")
    assert "c4n4ry" not in found


def test_a_missing_secret_file_is_named(problems: Problems, tmp_path: Path) -> None:
    (found,) = problems("", {"NOTIFIER_DATABASE__URL_FILE": str(tmp_path / "none")})
    start = (
        "NOTIFIER_DATABASE__URL_FILE: database.url: the file none cannot be read (No such file or directory)"
    )
    assert found == f"{start}; check the name and its permissions"


def test_a_value_and_its_file_together_are_an_error(problems: Problems, tmp_path: Path) -> None:
    file = secret_file(tmp_path, "secret", "amqp://h/")
    found = problems("", {"NOTIFIER_RABBITMQ__URL": "amqp://x/", "NOTIFIER_RABBITMQ__URL_FILE": str(file)})
    cure = "is also given as NOTIFIER_RABBITMQ__URL; unset one of the two"
    assert found == [f"NOTIFIER_RABBITMQ__URL_FILE: rabbitmq.url: {cure}"]


def test_a_key_that_ends_in_file_is_itself_and_has_a_file_form(read: Load, tmp_path: Path) -> None:
    file = secret_file(tmp_path, "name", "/ca.pem")
    assert str(read("", {"NOTIFIER_SMTP__CA_FILE": "/a.pem"}).smtp.ca_file) == "/a.pem"
    assert str(read("", {"NOTIFIER_SMTP__CA_FILE_FILE": str(file)}).smtp.ca_file) == "/ca.pem"


def test_systemd_credentials_are_read_by_their_name(read: Load, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    secret_file(folder, "NOTIFIER_DATABASE__URL", "postgresql://u:pw@db/x\n", 0o400)
    secret_file(folder, "something-else", "")
    environ = {"CREDENTIALS_DIRECTORY": str(folder), "NOTIFIER_DATABASE__URL": "postgresql://weaker/x"}
    assert read("", environ).database.url.get_secret_value() == "postgresql+psycopg2://u:pw@db/x"
    assert read("", {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}) == read("")


def test_a_misspelt_credential_and_one_given_twice_are_errors(problems: Problems, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    secret_file(folder, "NOTIFIER_DATABASE__URI", "x", 0o400)
    twice = secret_file(folder, "NOTIFIER_RABBITMQ__URL", "amqp://h/", 0o400)
    found = problems("", {"CREDENTIALS_DIRECTORY": str(folder), "NOTIFIER_RABBITMQ__URL_FILE": str(twice)})
    place = "$CREDENTIALS_DIRECTORY/NOTIFIER"
    cure = "is also given as NOTIFIER_RABBITMQ__URL_FILE; remove one of the two"
    assert found == [
        f"{place}_DATABASE__URI: unknown credential; did you mean NOTIFIER_DATABASE__URL?",
        f"{place}_RABBITMQ__URL: rabbitmq.url: {cure}",
    ]


# --- values


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_every_form_of_the_database_url_names_the_driver(read: Load, scheme: str) -> None:
    url = read(f"[database]\nurl = '{scheme}://u:p%40w@db:5433/x?sslmode=require'\n").database.url
    assert url.get_secret_value() == "postgresql+psycopg2://u:p%40w@db:5433/x?sslmode=require"


def test_a_url_without_slashes_is_refused_instead_of_meaning_some_other_server(problems: Problems) -> None:
    (problem,) = problems("[database]\nurl = 'postgresql:u:c4n4ry@db/x'\n")
    cure = "write it as postgresql://USER:PASSWORD@HOST:5432/DATABASE"
    assert problem.endswith(f"database.url: the URL lacks the // after postgresql:; {cure}")


def test_no_secret_shows_in_the_settings(read: Load) -> None:
    key = generate_key()
    settings = read(
        "[smtp]\nusername = 'u'\npassword = 'c4n4ry'\n",
        {
            "NOTIFIER_RABBITMQ__URL": "amqp://u:c4n4ry%2Fx@h/",
            "NOTIFIER_DATABASE__URL": "postgresql://u:c4n4ry@h/",
            "NOTIFIER_SECURITY__ENCRYPTION_KEYS": key,
            "NOTIFIER_SECURITY__SIGNING_KEYS": "c4n4ry-" * 8,
        },
    )
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "c4n4ry" not in text
        assert key not in text
    assert {key, "c4n4ry", "c4n4ry%2Fx", "c4n4ry/x", "c4n4ry-" * 8} == set(settings.secrets())


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.app.product = "Other"
    with pytest.raises(TypeError):
        settings.recipients.role_defaults["viewer"] = frozenset()  # type: ignore[index]


def test_names_of_networks_stand_for_their_ranges(read: Load) -> None:
    networks = read("[delivery]\ndenied_networks = ['private', '192.0.2.0/24']\n").delivery.denied_networks
    assert [str(network) for network in networks] == [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
        "192.0.2.0/24",
    ]


def test_paths_in_the_file_count_from_its_folder(read: Load, tmp_path: Path) -> None:
    settings = read("[smtp]\nca_file = 'relay.pem'\n[templates]\ndirectory = 'mine'\n")
    assert settings.smtp.ca_file == tmp_path / "relay.pem"
    assert settings.templates.folder() == tmp_path / "mine"


def test_the_shipped_templates_are_used_where_no_folder_lies_beside_the_file(
    read: Load, tmp_path: Path
) -> None:
    text = "[templates]\ndirectory = 'templates'\n"
    assert read(text).templates.folder() == resources.path("templates")
    (tmp_path / "templates").mkdir()
    assert read(text).templates.folder() == tmp_path / "templates"


def test_the_process_environment_itself_is_never_read(monkeypatch: pytest.MonkeyPatch, read: Load) -> None:
    monkeypatch.setitem(os.environ, "EMAIL_HOST", "elsewhere")
    assert read("").smtp.host is None


@given(st.dictionaries(st.sampled_from(sorted(variable_names())), st.text(max_size=12), max_size=6))
def test_whatever_the_variables_hold_the_answer_is_settings_or_named_faults(environ: dict[str, str]) -> None:
    problems: tuple[str, ...] = ()
    try:
        load(None, environ, default_paths=())
    except ConfigurationError as error:
        problems = error.problems
    assert {problem.split(": ")[0] for problem in problems} <= {*environ, "configuration"}
