-- +goose Up
-- The trace in which a payment was begun: what is done for it later, by whoever, goes on with it.
ALTER TABLE payments ADD COLUMN traceparent text NOT NULL DEFAULT '' CHECK (length(traceparent) <= 256);
