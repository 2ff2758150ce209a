-- +goose Up

-- When the reservation with this id was made: bytes 5 to 9 are milliseconds since
-- 2025-01-01, see engine.ReservationID.
-- +goose StatementBegin
CREATE FUNCTION reserved_at(id bytea) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT to_timestamp(1735689600 + (get_byte(id, 4) * 4294967296.0::float8 + get_byte(id, 5) * 16777216.0::float8
        + get_byte(id, 6) * 65536.0::float8 + get_byte(id, 7) * 256.0::float8 + get_byte(id, 8)) / 1000)
$$;
-- +goose StatementEnd

-- Orders by month. A partition's key must hold the time it is chosen by, and a
-- key of two columns alone would let one reservation have two orders at two times.
-- So the time is the one in the id, and a CHECK sees to it: one id, one time.
ALTER TABLE orders RENAME TO orders_before;
ALTER INDEX orders_pkey RENAME TO orders_before_pkey;
CREATE TABLE orders (
    id          bytea       NOT NULL CHECK (octet_length(id) = 25),
    order_id    text        NOT NULL, -- the same id as people read it: ord_…
    sale_no     bigint      NOT NULL,
    sale_id     text        NOT NULL,
    buyer       text        NOT NULL,
    state       text        NOT NULL,
    lines       jsonb       NOT NULL, -- [{"no","sku","quantity","unit_price"}]
    total       bigint      NOT NULL CHECK (total >= 0), -- minor units
    currency    text        NOT NULL,
    email       text        NOT NULL,
    attempt     bytea       NOT NULL CHECK (octet_length(attempt) = 16),
    provider    text        NOT NULL,
    epoch       bigint      NOT NULL,
    seq         bigint      NOT NULL,
    reason      text        NOT NULL DEFAULT '', -- why it was refused
    reserved_at timestamptz NOT NULL,
    accepted_at timestamptz NOT NULL,
    placed_at   timestamptz NOT NULL,
    PRIMARY KEY (id, reserved_at),
    CONSTRAINT orders_state CHECK (state IN ('confirmed', 'refused')),
    CONSTRAINT orders_refused_has_reason CHECK ((state = 'refused') = (reason <> '')),
    CONSTRAINT orders_time_is_the_ids CHECK (reserved_at = reserved_at(id))
) PARTITION BY RANGE (reserved_at);
-- The net: a month for which nobody has made a partition.
CREATE TABLE orders_default PARTITION OF orders DEFAULT;

-- Makes the partition of the month that begins at from_, if it is not there. What
-- the net has caught of that month moves over. It is attached, not created in
-- place, so that writers wait for nothing but the net.
-- +goose StatementBegin
CREATE FUNCTION make_orders_partition(from_ timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    name text := 'orders_' || to_char(from_ AT TIME ZONE 'UTC', 'YYYY_MM');
    to_  timestamptz := (from_ AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- One at a time; whoever waited finds it made.
    PERFORM pg_advisory_xact_lock(hashtext('make_orders_partition'));
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE orders INCLUDING ALL)', name);
    LOCK TABLE orders_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('WITH caught AS (DELETE FROM orders_default WHERE reserved_at >= %L AND reserved_at < %L RETURNING *) INSERT INTO %I SELECT * FROM caught', from_, to_, name);
    EXECUTE format('ALTER TABLE orders ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, from_, to_);
    RETURN true;
END $$;
-- +goose StatementEnd

-- Makes this month's partition and the next n, and gives how many were missing.
-- +goose StatementBegin
CREATE FUNCTION make_orders_partitions(n integer) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*) FILTER (WHERE make_orders_partition((m + i * interval '1 month') AT TIME ZONE 'UTC'))
    FROM date_trunc('month', now() AT TIME ZONE 'UTC') m, generate_series(0, n) i
$$;
-- +goose StatementEnd

SELECT make_orders_partition(month AT TIME ZONE 'UTC')
FROM (SELECT DISTINCT date_trunc('month', reserved_at(id) AT TIME ZONE 'UTC') AS month FROM orders_before) months ORDER BY month;
SELECT make_orders_partitions(2);
INSERT INTO orders (id, order_id, sale_no, sale_id, buyer, state, lines, total, currency, email, attempt, provider, epoch, seq, reason, reserved_at, accepted_at, placed_at)
SELECT id, order_id, sale_no, sale_id, buyer, state, lines, total, currency, email, attempt, provider, epoch, seq, reason, reserved_at(id), accepted_at, placed_at
FROM orders_before ORDER BY id;
-- Notices are written by the order writer, in its transaction: a trigger that
-- reads the new rows of a partitioned table makes COPY insert them one by one.
DROP TABLE orders_before;
DROP FUNCTION note_new_orders();

-- What became of a dead letter. The row stays, whatever becomes of it.
ALTER TABLE dead_letters
    ADD COLUMN reservation bytea CHECK (octet_length(reservation) = 25), -- null: none can be read from it
    ADD COLUMN sale_no     bigint,
    ADD COLUMN state       text        NOT NULL DEFAULT 'open',
    ADD COLUMN settled_at  timestamptz,
    ADD COLUMN settled_by  text        NOT NULL DEFAULT '',
    ADD COLUMN settled_why text        NOT NULL DEFAULT '', -- why it was dropped, or what the retry made of it
    ADD COLUMN tries       integer     NOT NULL DEFAULT 0,  -- by operators
    ADD CONSTRAINT dead_letters_state CHECK (state IN ('open', 'retried', 'dropped')),
    ADD CONSTRAINT dead_letters_settled CHECK ((state = 'open') = (settled_at IS NULL) AND (state = 'open' OR settled_by <> '' AND settled_why <> ''));
CREATE INDEX dead_letters_open ON dead_letters (at) WHERE state = 'open';
CREATE INDEX dead_letters_sale ON dead_letters (sale_no);
