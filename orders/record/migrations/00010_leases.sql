-- +goose Up

-- What the record has granted the gate, per sale and shard: the generation of its
-- keys, and the server process that holds them. A sale that was armed before this
-- table was there has no rows until its servers are named or a shard is rebuilt.
CREATE TABLE gate_leases (
    sale_no    bigint      NOT NULL REFERENCES sales (no),
    shard      integer     NOT NULL CHECK (shard >= 0),
    epoch      bigint      NOT NULL CHECK (epoch > 0),
    server     text        NOT NULL DEFAULT '', -- '' any
    granted_at timestamptz,                     -- when the epoch began; null: with the sale
    state      text        NOT NULL DEFAULT 'open',
    reason     text        NOT NULL DEFAULT '', -- what was lost
    since      timestamptz NOT NULL DEFAULT now(), -- of the state
    took_ms    bigint      NOT NULL DEFAULT 0,  -- how long it was frozen the last time
    -- Who rebuilds it. The token rises each time somebody begins.
    holder     text        NOT NULL DEFAULT '',
    token      bigint      NOT NULL DEFAULT 0,
    until      timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (sale_no, shard),
    CONSTRAINT gate_leases_state CHECK (state IN ('open', 'frozen')),
    CONSTRAINT gate_leases_frozen_has_reason CHECK ((state = 'frozen') = (reason <> ''))
);

-- Every rebuild that succeeded, for ever.
CREATE TABLE gate_rebuilds (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    sale_no   bigint      NOT NULL,
    shard     integer     NOT NULL,
    cause     text        NOT NULL,
    actor     text        NOT NULL,
    was       bigint      NOT NULL, -- epoch
    epoch     bigint      NOT NULL,
    server    text        NOT NULL,
    frozen_ms bigint      NOT NULL,
    accepted  bigint      NOT NULL,
    paying    bigint      NOT NULL,
    kept      bigint      NOT NULL,
    lost      bigint      NOT NULL
);
CREATE INDEX gate_rebuilds_sale ON gate_rebuilds (sale_no, id);

-- What an attempt pays for, so that its hold can be made anew. An attempt that an
-- older program began has none.
ALTER TABLE payments ADD COLUMN lines jsonb; -- [{"no","quantity"}]
