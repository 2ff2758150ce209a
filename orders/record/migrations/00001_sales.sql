-- +goose Up

-- A sale and its terms. no is short and unique: it begins every reservation id.
CREATE TABLE sales (
    no              bigint      GENERATED ALWAYS AS IDENTITY (MAXVALUE 4294967295) PRIMARY KEY,
    id              text        NOT NULL UNIQUE,
    name            text        NOT NULL,
    currency        text        NOT NULL,
    state           text        NOT NULL,
    epoch           bigint      NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    opens_at        timestamptz,
    closes_at       timestamptz,
    hold_ttl_ms     bigint      NOT NULL CHECK (hold_ttl_ms > 0),
    hold_cap_ms     bigint      NOT NULL CHECK (hold_cap_ms >= hold_ttl_ms),
    per_buyer_limit integer     NOT NULL CHECK (per_buyer_limit > 0),
    shards          integer     NOT NULL CHECK (shards > 0),
    secret          bytea       NOT NULL CHECK (octet_length(secret) = 16),
    version         bigint      NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sales_state CHECK (state IN ('draft', 'armed', 'open', 'paused', 'draining', 'closed'))
);

-- The stock of one SKU. skus_never_oversold is the last guard of the whole
-- engine: whatever any code above it believes, it refuses unit N+1.
CREATE TABLE skus (
    sale_no    bigint   NOT NULL REFERENCES sales (no),
    no         smallint NOT NULL,
    sku        text     NOT NULL,
    title      text     NOT NULL DEFAULT '',
    unit_price bigint   NOT NULL CHECK (unit_price >= 0), -- minor units
    stock      bigint   NOT NULL CHECK (stock >= 0),      -- units put up
    sold       bigint   NOT NULL DEFAULT 0 CHECK (sold >= 0),
    PRIMARY KEY (sale_no, no),
    -- deferred: the terms of a draft may swap two names
    CONSTRAINT skus_name UNIQUE (sale_no, sku) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT skus_never_oversold CHECK (sold <= stock)
) WITH (fillfactor = 50); -- hot rows: leave room for updates in the page

-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
-- +goose StatementEnd

-- Every movement of stock, for ever. Per SKU, sum(units) of kind stock is
-- skus.stock and sum(units) of kind sold is skus.sold.
CREATE TABLE stock_ledger (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    sale_no bigint      NOT NULL,
    sku_no  smallint    NOT NULL,
    kind    text        NOT NULL,
    units   bigint      NOT NULL CHECK (units <> 0),
    reason  text        NOT NULL,
    cause   text        NOT NULL, -- the order's public id, or the key of the operator's act
    actor   text        NOT NULL,
    CONSTRAINT stock_ledger_kind CHECK (kind IN ('stock', 'sold'))
);
CREATE INDEX stock_ledger_sku ON stock_ledger (sale_no, sku_no);
CREATE TRIGGER stock_ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON stock_ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Every act of an operator or of the clock that changed a sale.
CREATE TABLE audit_log (
    id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT now(),
    actor  text        NOT NULL,
    act    text        NOT NULL,
    target text        NOT NULL, -- the sale's id
    detail jsonb       NOT NULL DEFAULT '{}',
    key    text        NOT NULL DEFAULT '' -- idempotency key; '' has none
);
CREATE UNIQUE INDEX audit_log_once ON audit_log (act, target, key) WHERE key <> '';
CREATE INDEX audit_log_target ON audit_log (target, id);
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
