-- The rows whose answers are printed in docs/sql.md. Times are relative to the transaction: "yesterday" is yesterday.

INSERT INTO customers (id, name, timezone, locale) VALUES
    (1, 'Acme Networks', 'Europe/London', 'en'),
    (2, 'Nordwind Logistik', 'Europe/Berlin', 'de'),
    (3, 'Helios Energy', 'UTC', 'en');

INSERT INTO users (id, username, email, role, is_active) VALUES
    (1, 'anna', 'anna@acme.example', 'admin', true),
    (2, 'dora', 'dora@acme.example', 'admin', true),
    (3, 'oscar', 'oscar@acme.example', 'operator', true),
    (4, 'vera', 'vera@acme.example', 'viewer', true),
    (5, 'nora', 'nora@nordwind.example', 'admin', true),
    (6, 'hugo', 'hugo@helios.example', 'admin', true),
    (7, 'ivan', 'ivan@acme.example', 'admin', false),
    (8, 'paul', 'paul@nordwind.example', 'operator', true);
INSERT INTO customer_users (customer_id, user_id) VALUES (1, 1), (1, 2), (1, 3), (1, 4), (1, 7), (2, 5), (2, 8), (3, 6);

INSERT INTO smtp_configs (customer_id, host, port, use_ssl, from_email) VALUES
    (1, 'smtp.acme.example', 587, false, 'notifications@acme.example'),
    (2, 'mail.nordwind.example', 465, true, 'meldungen@nordwind.example');

INSERT INTO notification_preferences (user_id, customer_id, event_type, enabled, email_address, job_types) VALUES
    (1, 1, 'job_failed', false, NULL, NULL),
    (2, 1, 'job_partial', true, NULL, NULL),
    (3, 1, 'job_failed', true, 'night-shift@acme.example', '{config_backup}'),
    (4, 1, 'compliance_violation', true, NULL, NULL),
    (8, 2, 'job_failed', true, NULL, NULL);

CREATE FUNCTION pg_temp.event(
    job bigint, type text, customer bigint, at timestamptz, outcome text, decisions jsonb, result bigint DEFAULT NULL
) RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO job_events (customer_id, source, event_id, event_type, payload, payload_sha256, occurred_at, received_at,
        outcome, decisions)
    VALUES (customer, 'webnet/jobs', concat_ws('-', type, job, result), type,
        jsonb_build_object('data', jsonb_strip_nulls(jsonb_build_object('customer_id', customer,
            'job', CASE WHEN job IS NOT NULL THEN jsonb_build_object('id', job) END,
            'compliance_result', CASE WHEN result IS NOT NULL THEN jsonb_build_object('id', result) END))),
        sha256(concat(job, result)::bytea), at - interval '2 s', at, outcome, decisions)
    RETURNING id
$$;

CREATE FUNCTION pg_temp.mail(
    event bigint, user_id bigint, address text, rule text, took interval, reason text DEFAULT NULL,
    attempts integer DEFAULT 1, error text DEFAULT NULL, code integer DEFAULT 250, enhanced text DEFAULT '2.0.0',
    answer text DEFAULT NULL, ambiguous integer DEFAULT 0, generation integer DEFAULT 0, resent_by text DEFAULT NULL,
    later interval DEFAULT '0'
) RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO notification_events (job_event_id, customer_id, user_id, recipient_email, recipient_key, event_type, rule,
        subject, status, failure_reason, job_id, compliance_result_id, message_id, attempts, expires_at, created_at,
        finished_at, sent_at, error_message, smtp_code, smtp_enhanced_code, smtp_response, ambiguous_count, generation,
        resent_by, server_id)
    SELECT e.id, e.customer_id, $2, $3, $3, e.event_type, $4, 'About ' || e.event_id,
        CASE WHEN took IS NULL THEN 'pending' WHEN reason IS NULL THEN 'sent' ELSE 'failed' END, reason, e.job_id,
        e.compliance_result_id, concat_ws('-', '<m', e.id, $2, $13) || '@x.example>', attempts,
        e.received_at + later + interval '1 day', e.received_at + later, e.received_at + later + took,
        CASE WHEN reason IS NULL THEN e.received_at + later + took END, error, code, enhanced, answer, ambiguous, generation,
        resent_by, coalesce((SELECT s.id FROM smtp_configs s WHERE s.customer_id = e.customer_id), 0)
    FROM job_events e WHERE e.id = event
    RETURNING id
$$;

DO $$
DECLARE
    yesterday constant timestamptz := current_date - 1;
    e bigint;
BEGIN
    PERFORM pg_temp.event(4811, 'job_success', 1, yesterday + time '09:00', 'no_recipients',
        '{"users": [], "others": {"admin": 2, "operator": 1, "viewer": 1}}');

    e := pg_temp.event(4812, 'job_failed', 1, yesterday + time '09:30', 'accepted', '{"others": {"viewer": 1}, "users": [
        {"user_id": 1, "rule": "preference_disabled", "selected": false, "address": null},
        {"user_id": 2, "rule": "role_default", "selected": true, "address": "dora@acme.example"},
        {"user_id": 3, "rule": "preference_enabled", "selected": true, "address": "night-shift@acme.example"}]}');
    PERFORM pg_temp.mail(e, 2, 'dora@acme.example', 'role_default', '3 s');
    PERFORM pg_temp.mail(e, 3, 'night-shift@acme.example', 'preference_enabled', '1 s', 'permanent_smtp',
        error => 'smtp.acme.example answered RCPT TO with 550 5.1.1 no such mailbox', code => 550, enhanced => '5.1.1',
        answer => 'no such mailbox');
    PERFORM pg_temp.mail(e, 3, 'night-shift@acme.example', 'preference_enabled', '2 s', generation => 1,
        resent_by => 'dora', later => '2 h');

    e := pg_temp.event(4813, 'job_failed', 1, yesterday + time '14:10', 'accepted', '{"others": {"viewer": 1}, "users": [
        {"user_id": 1, "rule": "preference_disabled", "selected": false, "address": null},
        {"user_id": 2, "rule": "role_default", "selected": true, "address": "dora@acme.example"},
        {"user_id": 3, "rule": "job_type_filtered", "selected": false, "address": null}]}');
    PERFORM pg_temp.mail(e, 2, 'dora@acme.example', 'role_default', '2 s');

    e := pg_temp.event(4814, 'job_partial', 1, yesterday + time '18:00', 'accepted', '{"others": {"viewer": 1}, "users": [
        {"user_id": 2, "rule": "preference_enabled", "selected": true, "address": "dora@acme.example"}]}');
    PERFORM pg_temp.mail(e, 2, 'dora@acme.example', 'preference_enabled', '309 s', attempts => 2, ambiguous => 1);

    e := pg_temp.event(NULL, 'compliance_violation', 1, yesterday + time '16:05', 'accepted', '{"others": {}, "users": [
        {"user_id": 4, "rule": "preference_enabled", "selected": true, "address": "vera@acme.example"}]}', 9001);
    PERFORM pg_temp.mail(e, 4, 'vera@acme.example', 'preference_enabled', '4 s');

    -- A wrong password: these waited a day for a better one, and expired yesterday.
    FOR job IN 5001..5003 LOOP
        e := pg_temp.event(job, 'job_failed', 2, yesterday - interval '1 day' + time '14:20', 'accepted', '{}');
        PERFORM pg_temp.mail(e, 5, 'nora@nordwind.example', 'role_default', '24 h', 'auth', 0,
            'mail.nordwind.example answered AUTH with 535 5.7.8 authentication failed', 535, '5.7.8', 'authentication failed');
    END LOOP;
    e := pg_temp.event(5004, 'job_failed', 2, now() - interval '40 min', 'accepted', '{}');
    PERFORM pg_temp.mail(e, 5, 'nora@nordwind.example', 'role_default', NULL, NULL, 0,
        'mail.nordwind.example answered AUTH with 535 5.7.8 authentication failed', 535, '5.7.8');
    PERFORM pg_temp.mail(e, 8, 'paul@nordwind.example', 'preference_enabled', NULL, NULL, 0,
        'mail.nordwind.example answered AUTH with 535 5.7.8 authentication failed', 535, '5.7.8');
    INSERT INTO smtp_breakers (server_id, open_until, trips, last_error, last_reason, last_fault_at)
    SELECT id, now() + interval '10 min', 7, 'mail.nordwind.example answered AUTH with 535 5.7.8 authentication failed',
        'auth', now() FROM smtp_configs WHERE customer_id = 2
    ON CONFLICT (server_id) DO UPDATE SET open_until = EXCLUDED.open_until, trips = 7, last_error = EXCLUDED.last_error;

    e := pg_temp.event(7001, 'job_failed', 3, yesterday + time '11:00', 'accepted', '{"others": {}, "users": [
        {"user_id": 6, "rule": "role_default", "selected": true, "address": "hugo@helios.example"}]}');
    PERFORM pg_temp.mail(e, 6, 'hugo@helios.example', 'role_default', '0.1 s', 'no_smtp_config', 0,
        'the customer has no SMTP server, and [smtp] has no host', NULL, NULL);

    -- Twenty failed jobs in the evening, whose mails took 1, 2 … 20 seconds.
    FOR n IN 1..20 LOOP
        e := pg_temp.event(6000 + n, 'job_failed', 1, yesterday + time '20:00' + n * interval '1 min', 'accepted', '{}');
        PERFORM pg_temp.mail(e, 2, 'dora@acme.example', 'role_default', n * interval '1 s');
    END LOOP;

    INSERT INTO rejected_events (received_at, reason, detail, event_id, body_sha256, body_head) VALUES
        (yesterday + time '08:00', 'schema', 'data.job.id: Field required', 'e-1', sha256('1'), ''),
        (yesterday + time '08:01', 'schema', 'data.job.id: Field required', 'e-2', sha256('2'), ''),
        (yesterday + time '12:00', 'unknown_customer', 'customer 99 is not in customers', 'e-3', sha256('3'), '');
END $$;
