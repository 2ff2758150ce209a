-- +goose Up

-- The waiting room of a sale: its terms, and what became of them. A sale without a
-- row has none.
CREATE TABLE waiting_rooms (
    sale_no    bigint           PRIMARY KEY REFERENCES sales (no),
    lease_ms   bigint           NOT NULL CHECK (lease_ms > 0), -- to claim a place that was reached
    use_ms     bigint           NOT NULL CHECK (use_ms > 0),   -- to use an admission
    start_rate double precision NOT NULL CHECK (start_rate >= 0),
    max_rate   double precision NOT NULL CHECK (max_rate >= 0),
    answer_ms  bigint           NOT NULL CHECK (answer_ms >= 0),
    epoch      bigint           NOT NULL DEFAULT 0 CHECK (epoch >= 0 AND epoch < 4294967296), -- 0: the sale was never armed
    opens_at   timestamptz,     -- of this epoch; null: with the sale
    seed       bytea,           -- of this epoch; secret until the room opens
    rate_cap   double precision NOT NULL DEFAULT 0 CHECK (rate_cap >= 0), -- the operator's; 0: none
    paused     boolean          NOT NULL DEFAULT false,
    CONSTRAINT waiting_rooms_seed CHECK ((epoch > 0) = (seed IS NOT NULL) AND octet_length(seed) = 32)
);
