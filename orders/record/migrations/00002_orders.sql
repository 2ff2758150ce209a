-- +goose Up

-- One row per paid reservation: the primary key is the reservation, so a second
-- order of one reservation cannot be. The key sorts by sale and time, so inserts
-- fall into the same few pages. No foreign key points here, on purpose: whoever
-- deletes an order by hand may, and verify names it, because the ledger still does.
CREATE TABLE orders (
    id          bytea       PRIMARY KEY CHECK (octet_length(id) = 25),
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
    CONSTRAINT orders_state CHECK (state IN ('confirmed', 'refused')),
    CONSTRAINT orders_refused_has_reason CHECK ((state = 'refused') = (reason <> ''))
);

-- One row per payment attempt, written before the provider is called. It is the
-- only place that knows a payment's state.
CREATE TABLE payments (
    id           bytea       PRIMARY KEY CHECK (octet_length(id) = 16), -- its first 8 bytes are the gate's fence
    reservation  bytea       NOT NULL CHECK (octet_length(reservation) = 25),
    sale_no      bigint      NOT NULL,
    buyer        text        NOT NULL,
    amount       bigint      NOT NULL CHECK (amount >= 0), -- minor units
    currency     text        NOT NULL,
    method       text        NOT NULL, -- the provider's token, never a card number
    email        text        NOT NULL,
    state        text        NOT NULL,
    provider     text        NOT NULL DEFAULT '',
    provider_ref text        NOT NULL DEFAULT '',
    reason       text        NOT NULL DEFAULT '',
    lease_until  timestamptz NOT NULL, -- until then a node works on it
    listed_at    timestamptz NOT NULL DEFAULT '-infinity', -- when the second net last offered it
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payments_state CHECK (state IN
        ('none', 'authorising', 'authorised', 'captured', 'declined', 'unknown', 'voided', 'refunded'))
);
CREATE INDEX payments_reservation ON payments (reservation);
-- What somebody still has to do something about.
CREATE INDEX payments_unfinished ON payments (lease_until)
    WHERE state IN ('authorising', 'unknown', 'authorised');
