-- +goose Up

-- What is to be done is found by reminders, not by an index over what changes:
-- an update of a payment that touches no index stays within its page. So leave
-- room there for the versions that a payment goes through.
LOCK TABLE payments IN ACCESS EXCLUSIVE MODE;
DROP INDEX payments_open;
DROP INDEX payments_authorised;
DROP INDEX payments_owed;
ALTER TABLE payments SET (fillfactor = 50);

-- A look at these attempts is due. Every payment that is not at its end is in at
-- least one reminder of its kind; whoever looks takes the reminder away, and in
-- the same transaction leaves another for what is still not at its end.
CREATE TABLE payment_work (
    kind     text        NOT NULL,
    due      timestamptz NOT NULL,
    attempts bytea[]     NOT NULL, -- up to 64, which fit a row in its page
    CONSTRAINT payment_work_kind CHECK (kind IN
        ('open',    -- with its provider, or nobody knows: see Unfinished
         'settle',  -- authorised, and its order decides: see Authorised
         'lost',    -- authorised, and there was no order when somebody looked
         'owed'))   -- captured, and the money goes back: see Owed
);
ALTER TABLE payment_work ALTER COLUMN attempts SET STORAGE EXTERNAL; -- ids do not compress
CREATE INDEX payment_work_due ON payment_work (kind, due);

-- The kind of a payment's reminder; null: it is at its end. The writer of orders
-- says so of itself, see byIndexSQL; whoever else authorises has no order yet.
-- +goose StatementBegin
CREATE FUNCTION work_of(state text, refund_reason text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN state IN ('authorising', 'unknown', 'action_required') THEN 'open'
        WHEN state = 'authorised' THEN CASE WHEN current_setting('flashsale.reason', true) = 'order' THEN 'settle' ELSE 'lost' END
        WHEN state = 'captured' AND refund_reason <> '' THEN 'owed' END
$$;
-- +goose StatementEnd

-- Takes reminders that are due, the oldest first, until they name as many
-- attempts. What another session has in hand is passed over. It goes along the
-- index: a plan that is kept from when the table was empty would not.
-- +goose StatementBegin
CREATE FUNCTION take_due(what text, at_most integer) RETURNS bytea[] LANGUAGE plpgsql
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE
    work  CURSOR FOR SELECT attempts FROM payment_work WHERE kind = what AND due <= now() ORDER BY due FOR UPDATE SKIP LOCKED;
    taken bytea[] := '{}';
    piece bytea[];
BEGIN
    OPEN work;
    WHILE cardinality(taken) < at_most LOOP
        FETCH work INTO piece;
        EXIT WHEN NOT FOUND;
        DELETE FROM payment_work WHERE CURRENT OF work;
        taken := taken || piece;
    END LOOP;
    CLOSE work;
    RETURN taken;
END $$;
-- +goose StatementEnd

-- Reminders are left by the database itself, in the statement that begins or
-- changes payments, whoever sends it: no code can forget them. A lease that is
-- renewed leaves none: the look that comes too early leaves one for later.
-- Movements of money are noted in the same go, as before: see migration 8.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION note_money() RETURNS trigger LANGUAGE plpgsql
    SET enable_hashjoin = on SET enable_nestloop = off AS $$
BEGIN
    WITH changed AS MATERIALIZED (
        SELECT n.id, n.sale_no, n.reservation, n.state, n.amount, n.currency, n.provider, n.provider_ref, n.reason, n.lease_until,
            n.state <> w.state AND (n.state IN ('authorised', 'captured', 'refunded') OR n.state = 'voided' AND w.state = 'authorised') AS moved,
            work_of(n.state, n.refund_reason) AS kind, work_of(w.state, w.refund_reason) AS was, n.listed_at = w.listed_at AND n.lease_until <= clock_timestamp() AS free
        FROM now_is n JOIN it_was w ON w.id = n.id
    ), money AS (
        INSERT INTO money_ledger (sale_no, reservation, attempt, kind, amount, currency, provider, provider_ref, reason, cause, actor)
        SELECT c.sale_no, c.reservation, c.id, c.state, c.amount, c.currency, c.provider, c.provider_ref,
            coalesce(nullif(current_setting('flashsale.reason', true), ''), nullif(c.reason, ''), 'none given'),
            'pay_' || encode(c.id, 'hex'), coalesce(nullif(current_setting('flashsale.actor', true), ''), 'sql: ' || session_user)
        FROM changed c WHERE c.moved
    )
    INSERT INTO payment_work (kind, due, attempts)
    SELECT kind, min(lease_until), array_agg(id)
    FROM (SELECT kind, lease_until, id, row_number() OVER () / 64 AS piece FROM changed WHERE kind IS NOT NULL AND (kind IS DISTINCT FROM was OR free)) c
    GROUP BY kind, piece;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION note_begun() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO payment_work (kind, due, attempts)
    SELECT kind, min(lease_until), array_agg(id)
    FROM (SELECT work_of(state, refund_reason) AS kind, lease_until, id, row_number() OVER () / 64 AS piece FROM begun) b
    WHERE kind IS NOT NULL GROUP BY kind, piece;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER payments_leave_reminders AFTER INSERT ON payments
    REFERENCING NEW TABLE AS begun FOR EACH STATEMENT EXECUTE FUNCTION note_begun();

-- What is not at its end already.
INSERT INTO payment_work (kind, due, attempts)
SELECT kind, min(lease_until), array_agg(id)
FROM (SELECT kind, lease_until, id, row_number() OVER (PARTITION BY kind ORDER BY lease_until) / 64 AS piece
    FROM (SELECT work_of(state, refund_reason) AS kind, lease_until, id FROM payments) p WHERE kind IS NOT NULL) p
GROUP BY kind, piece;
