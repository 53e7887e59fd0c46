-- Least-privilege roles, applied by `notifier init-db --roles` or by hand, as a role that may create roles. Idempotent.
-- Roles belong to the whole cluster; they are made without login. Give each the login your site uses, for example
--   ALTER ROLE notifier_worker LOGIN PASSWORD '…';
-- The role that ran `notifier init-db` owns the tables; run it as notifier_owner to keep DDL and retention apart.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['notifier_owner', 'notifier_admin', 'notifier_worker', 'notifier_sync', 'notifier_reader', 'notifier_api']
    LOOP
        IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO notifier_owner, notifier_admin, notifier_worker, notifier_sync, notifier_reader, notifier_api', current_schema());
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO notifier_owner', current_schema());
END $$;

-- The worker: no DDL, no DELETE, and no write where people decide.
GRANT SELECT ON schema_migrations, customers, users, customer_users, customer_role_counts, smtp_configs,
    notification_preferences TO notifier_worker;
GRANT SELECT, INSERT, UPDATE ON job_events, notification_events, rejected_events, delivery_lanes, delivery_batches, smtp_breakers
    TO notifier_worker;

-- The commands: settings, tokens, resends and cancellations.
GRANT SELECT ON schema_migrations, customers, users, customer_users, customer_role_counts, job_events, rejected_events
    TO notifier_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON smtp_configs, notification_preferences, api_tokens TO notifier_admin;
GRANT SELECT, INSERT, UPDATE ON notification_events, delivery_lanes, smtp_breakers TO notifier_admin;

-- The platform keeps its customers, users and access rights here.
GRANT SELECT, INSERT, UPDATE, DELETE ON customers, users TO notifier_sync;
GRANT SELECT, DELETE, INSERT (customer_id, user_id), UPDATE (customer_id, user_id) ON customer_users TO notifier_sync;

-- People with questions: everything but passwords, tokens and what jobs printed. A long query keeps dead rows alive and
-- slows the worker, hence the limits; long reports belong on a standby.
GRANT SELECT ON schema_migrations, customers, users, notification_preferences, notification_events, delivery_lanes,
    delivery_batches, smtp_breakers, customer_role_counts, v_notification_daily, v_notification_failures, v_customer_delivery_health
    TO notifier_reader;
GRANT SELECT ON customer_users TO notifier_reader;
GRANT SELECT (id, customer_id, host, port, use_tls, use_ssl, username, from_email, reply_to_email, enabled, ca_certificate,
    allow_plaintext_auth, created_at, updated_at) ON smtp_configs TO notifier_reader;
GRANT SELECT (id, customer_id, source, event_id, event_type, payload_sha256, occurred_at, received_at, outcome, decisions,
    job_id, compliance_result_id) ON job_events TO notifier_reader;
GRANT SELECT (id, received_at, reason, detail, event_id, body_sha256) ON rejected_events TO notifier_reader;
ALTER ROLE notifier_reader SET statement_timeout = '60s';
ALTER ROLE notifier_reader SET idle_in_transaction_session_timeout = '15s';
ALTER ROLE notifier_reader SET default_transaction_read_only = on;

-- read_audience only reads, with its caller's rights: the commands and the API call it, too.
REVOKE ALL ON FUNCTION take_in(json), claim_batch(uuid, text, interval, integer, integer, boolean, boolean, jsonb),
    stamp_batch(uuid, bigint[], interval), record_batch(uuid, json), release_batch(uuid), end_batches(uuid[]),
    lower_lanes(bigint[], timestamptz[]), pass_over(bigint, timestamptz, integer, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_in(json), claim_batch(uuid, text, interval, integer, integer, boolean, boolean, jsonb),
    stamp_batch(uuid, bigint[], interval), record_batch(uuid, json), release_batch(uuid), end_batches(uuid[]),
    lower_lanes(bigint[], timestamptz[]), pass_over(bigint, timestamptz, integer, interval)
    TO notifier_worker;

-- The REST API: every transaction becomes this role and names its caller's customers in settings of that transaction
-- (store/scope.py), so that a query without its WHERE finds nothing of others. Its login must be a member:
--   GRANT notifier_api TO <the API's login>;
-- It is a guard against mistakes of the program; whoever logs in as this role can change the settings.
GRANT SELECT ON schema_migrations, customers, users, customer_users, job_events, notification_events, delivery_lanes,
    smtp_breakers TO notifier_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON smtp_configs, notification_preferences TO notifier_api;
GRANT INSERT, UPDATE (status, failure_reason, finished_at, error_message) ON notification_events TO notifier_api;
GRANT UPDATE (next_due_at) ON delivery_lanes TO notifier_api;
GRANT UPDATE (open_until, failures, refusals, trips, proven, last_error, last_reason, last_fault_at) ON smtp_breakers
    TO notifier_api;
GRANT SELECT, UPDATE (last_used_at) ON api_tokens TO notifier_api;

-- Row-level security, for this role alone. The first policy leaves everybody else as if there were none; the second
-- limits notifier_api, but not a login that is merely a member and also does other work. Owners, superusers and the
-- triggers of the schema are not subject to it.
DO $$
DECLARE
    customers constant text := $q$= ANY (coalesce(nullif(current_setting('notifier.customers', true), ''), '{}')::bigint[])$q$;
    caller constant text := $q$= nullif(current_setting('notifier.caller', true), '')::bigint$q$;
    token constant text := $q$= decode(coalesce(current_setting('notifier.token', true), ''), 'hex')$q$;
    rule record;
BEGIN
    FOR rule IN SELECT * FROM (VALUES
        ('customers', 'id ' || customers),
        ('customer_users', 'customer_id ' || customers || ' OR user_id ' || caller),
        ('users', 'id ' || caller || ' OR EXISTS (SELECT 1 FROM customer_users a WHERE a.user_id = users.id)'
            || ' OR EXISTS (SELECT 1 FROM notification_preferences p WHERE p.user_id = users.id)'),
        ('smtp_configs', 'customer_id ' || customers),
        ('notification_preferences', 'customer_id ' || customers),
        ('job_events', 'customer_id ' || customers),
        ('notification_events', 'customer_id ' || customers),
        ('delivery_lanes', 'customer_id ' || customers),
        ('smtp_breakers', 'server_id = 0 OR EXISTS (SELECT 1 FROM smtp_configs s WHERE s.id = smtp_breakers.server_id)'),
        ('api_tokens', 'token_hash ' || token)
    ) AS r (relation, condition)
    LOOP
        EXECUTE format('DROP POLICY IF EXISTS everybody ON %I', rule.relation);
        EXECUTE format('DROP POLICY IF EXISTS api_scope ON %I', rule.relation);
        EXECUTE format('CREATE POLICY everybody ON %I USING (true)', rule.relation);
        EXECUTE format('CREATE POLICY api_scope ON %I AS RESTRICTIVE TO notifier_api USING (current_user <> %L OR (%s))',
            rule.relation, 'notifier_api', rule.condition);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', rule.relation);
    END LOOP;
END $$;
