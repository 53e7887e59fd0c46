-- What the demo leaves of its jobs 4811 and 4812, as far as the README's queries show it.

INSERT INTO customers (id, name) VALUES (1, 'Acme Networks');
INSERT INTO users (id, username, email, role) VALUES
    (1, 'anna', 'anna@acme.example', 'admin'), (2, 'dora', 'dora@acme.example', 'admin'),
    (3, 'oscar', 'oscar@acme.example', 'operator'), (4, 'george', 'george@acme.example', 'operator'),
    (5, 'grace', 'grace@acme.example', 'operator'), (6, 'vera', 'vera@acme.example', 'viewer');
INSERT INTO customer_users (customer_id, user_id) SELECT 1, id FROM users;

INSERT INTO job_events (customer_id, source, event_id, event_type, payload, payload_sha256, outcome, decisions) VALUES
    (1, 'webnet/jobs', 'a', 'job_success', '{"data": {"job": {"id": 4811}}}', sha256('a'), 'accepted', '{"users": [
        {"user_id": 3, "rule": "job_type_filtered", "selected": false},
        {"user_id": 5, "rule": "preference_enabled", "selected": true},
        {"user_id": 6, "rule": "preference_enabled", "selected": true}]}'),
    (1, 'webnet/jobs', 'b', 'job_failed', '{"data": {"job": {"id": 4812}}}', sha256('b'), 'accepted', '{"users": [
        {"user_id": 1, "rule": "role_default", "selected": true},
        {"user_id": 2, "rule": "preference_disabled", "selected": false},
        {"user_id": 3, "rule": "preference_enabled", "selected": true},
        {"user_id": 4, "rule": "preference_enabled", "selected": true}]}');

INSERT INTO notification_events (job_event_id, customer_id, user_id, recipient_email, recipient_key, event_type, rule, subject,
    status, failure_reason, job_id, message_id, attempts, expires_at, finished_at, sent_at, error_message, smtp_code)
SELECT e.id, 1, u.id, u.email, u.email, e.event_type, 'preference_enabled', 'About a job',
    CASE WHEN u.username = 'george' THEN 'failed' ELSE 'sent' END,
    CASE WHEN u.username = 'george' THEN 'permanent_smtp' END, e.job_id, format('<%s-%s@x.example>', e.id, u.id),
    CASE WHEN u.username = 'grace' THEN 2 ELSE 1 END, now() + interval '1 day', now(),
    CASE WHEN u.username <> 'george' THEN now() END,
    CASE WHEN u.username = 'george' THEN
        '127.0.0.1 answered RCPT TO with 550 5.1.1 <george@acme.example>: no such mailbox' END,
    CASE WHEN u.username = 'george' THEN 550 ELSE 250 END
FROM (VALUES (1, 'job_success', 'grace'), (2, 'job_success', 'vera'), (3, 'job_failed', 'anna'), (4, 'job_failed', 'oscar'),
    (5, 'job_failed', 'george')) AS wanted (n, event_type, username)
JOIN job_events e USING (event_type) JOIN users u USING (username) ORDER BY wanted.n;
