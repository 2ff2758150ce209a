-- +goose Up

-- Breakers that an operator has forced. One that has no row decides by itself.
CREATE TABLE breaker_modes (
    name   text        PRIMARY KEY,
    mode   text        NOT NULL,
    reason text        NOT NULL,
    actor  text        NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT breaker_modes_mode CHECK (mode IN ('open', 'closed'))
);

-- One row per order that the storefront is to be told of. The rows are written
-- by the statement that writes the orders, so there is no order without one, and
-- deleted once the storefront has answered.
CREATE TABLE notices (
    reservation bytea       PRIMARY KEY CHECK (octet_length(reservation) = 25),
    tries       integer     NOT NULL DEFAULT 0,
    due_at      timestamptz NOT NULL DEFAULT now(), -- while a node works on it: when another one may
    last_error  text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notices_due ON notices (due_at);

-- Notices are made only once a node was set up to send them.
CREATE TABLE notices_wanted (
    one   boolean     PRIMARY KEY DEFAULT true CHECK (one),
    since timestamptz NOT NULL DEFAULT now()
);

-- +goose StatementBegin
CREATE FUNCTION note_new_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM notices_wanted) THEN
        INSERT INTO notices (reservation) SELECT id FROM added ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER orders_are_noticed AFTER INSERT ON orders
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note_new_orders();
