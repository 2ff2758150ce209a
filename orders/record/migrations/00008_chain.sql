-- +goose Up

-- Where a row of a ledger stands: after everything that was committed when its
-- transaction began to write. It is the transaction's own number, so it costs the
-- writer nothing, and all rows below pg_snapshot_xmin are there for good or never.
-- ledger_base is added to it: a database that was restored from a dump counts its
-- transactions from somewhere else, and is lifted above what it has brought along.
-- It is not called immutable: plans that sessions keep must notice when it changes.
-- +goose StatementBegin
CREATE FUNCTION ledger_base() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT 0::bigint';
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION ledger_place() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT ledger_base() + pg_current_xact_id()::text::bigint';
-- +goose StatementEnd

ALTER TABLE stock_ledger ADD COLUMN place bigint NOT NULL DEFAULT ledger_place();
ALTER TABLE stock_ledger DROP CONSTRAINT stock_ledger_pkey;
ALTER TABLE stock_ledger ADD PRIMARY KEY (place, id);
ALTER TABLE audit_log ADD COLUMN place bigint NOT NULL DEFAULT ledger_place();
CREATE INDEX audit_log_place ON audit_log (place, id);

-- Every movement of money that the record has noted, for ever. Per attempt,
-- authorised - captured - voided is what the provider holds for us, and
-- captured - refunded is what we have taken.
CREATE TABLE money_ledger (
    id           bigint      GENERATED ALWAYS AS IDENTITY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    sale_no      bigint      NOT NULL,
    reservation  bytea       NOT NULL,
    attempt      bytea       NOT NULL,
    kind         text        NOT NULL,
    amount       bigint      NOT NULL CHECK (amount >= 0), -- minor units
    currency     text        NOT NULL,
    provider     text        NOT NULL,
    provider_ref text        NOT NULL,
    reason       text        NOT NULL,
    cause        text        NOT NULL, -- the attempt's public id
    actor        text        NOT NULL,
    place        bigint      NOT NULL DEFAULT ledger_place(),
    PRIMARY KEY (place, id),
    CONSTRAINT money_ledger_kind CHECK (kind IN ('authorised', 'captured', 'voided', 'refunded'))
);
-- A reservation's movements; a sale's, because its number begins every id of it.
CREATE INDEX money_ledger_reservation ON money_ledger (reservation);
CREATE TRIGGER money_ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON money_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The movements are written by the database itself, in the statement that changes
-- a payment's state, whoever sends it: no code can forget them. The planner is
-- told to hash, because it would plan this once, for the first batch, of one row.
-- +goose StatementBegin
CREATE FUNCTION note_money() RETURNS trigger LANGUAGE plpgsql
    SET enable_hashjoin = on SET enable_nestloop = off AS $$
BEGIN
    INSERT INTO money_ledger (sale_no, reservation, attempt, kind, amount, currency, provider, provider_ref, reason, cause, actor)
    SELECT n.sale_no, n.reservation, n.id, n.state, n.amount, n.currency, n.provider, n.provider_ref,
        coalesce(nullif(current_setting('flashsale.reason', true), ''), nullif(n.reason, ''), 'none given'),
        'pay_' || encode(n.id, 'hex'), coalesce(nullif(current_setting('flashsale.actor', true), ''), 'sql: ' || session_user)
    FROM now_is n JOIN it_was w ON w.id = n.id
    WHERE n.state <> w.state AND (n.state IN ('authorised', 'captured', 'refunded') OR n.state = 'voided' AND w.state = 'authorised');
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER payments_move_money AFTER UPDATE ON payments
    REFERENCING OLD TABLE AS it_was NEW TABLE AS now_is FOR EACH STATEMENT EXECUTE FUNCTION note_money();

-- A payment that is born with money in it, which the engine never does.
-- +goose StatementBegin
CREATE FUNCTION note_born_money() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO money_ledger (sale_no, reservation, attempt, kind, amount, currency, provider, provider_ref, reason, cause, actor)
    VALUES (NEW.sale_no, NEW.reservation, NEW.id, NEW.state, NEW.amount, NEW.currency, NEW.provider, NEW.provider_ref,
        'inserted', 'pay_' || encode(NEW.id, 'hex'), coalesce(nullif(current_setting('flashsale.actor', true), ''), 'sql: ' || session_user));
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER payments_born_with_money AFTER INSERT ON payments FOR EACH ROW
    WHEN (NEW.state IN ('authorised', 'captured', 'refunded')) EXECUTE FUNCTION note_born_money();

-- What payments had come to before there was a ledger of it.
INSERT INTO money_ledger (at, sale_no, reservation, attempt, kind, amount, currency, provider, provider_ref, reason, cause, actor)
SELECT p.updated_at, p.sale_no, p.reservation, p.id, k.kind, p.amount, p.currency, p.provider, p.provider_ref, 'opening balance', 'pay_' || encode(p.id, 'hex'), 'migration'
FROM payments p JOIN (VALUES (1, 'authorised'), (2, 'captured'), (3, 'refunded')) AS k (step, kind)
    ON k.step <= CASE p.state WHEN 'authorised' THEN 1 WHEN 'captured' THEN 2 WHEN 'refunded' THEN 3 ELSE 0 END
ORDER BY p.created_at, p.id, k.step;

-- The chain over the ledgers: each seal has the digests of some rows and the hash
-- of the seal before it. A seal covers its ledger's rows above (from_place,
-- from_id), up to and with (to_place, to_id).
CREATE TABLE ledger_seals (
    no         bigint      PRIMARY KEY,
    ledger     text        NOT NULL,
    form       smallint    NOT NULL, -- how rows and seals are made into bytes
    from_place bigint      NOT NULL,
    from_id    bigint      NOT NULL,
    to_place   bigint      NOT NULL,
    to_id      bigint      NOT NULL,
    rows       bigint      NOT NULL,
    leaves     bytea       NOT NULL, -- per row: its id, 8 bytes, and its SHA-256
    prev       bytea       NOT NULL,
    hash       bytea       NOT NULL,
    at         timestamptz NOT NULL
);
ALTER TABLE ledger_seals ALTER COLUMN leaves SET STORAGE EXTERNAL; -- digests do not compress
CREATE INDEX ledger_seals_ledger ON ledger_seals (ledger, no);
CREATE TRIGGER ledger_seals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Running sums of what is sealed, so that a balance is known without adding up a
-- million rows. They can be computed anew from the ledgers, and verify does.
CREATE TABLE ledger_sums (
    ledger  text   NOT NULL,
    sale_no bigint NOT NULL,
    sku_no  int    NOT NULL, -- -1 in the money ledger
    kind    text   NOT NULL,
    amount  bigint NOT NULL, -- units, or minor units of the sale's currency
    PRIMARY KEY (ledger, sale_no, sku_no, kind)
);

CREATE INDEX orders_refused ON orders (sale_no) WHERE state = 'refused';
