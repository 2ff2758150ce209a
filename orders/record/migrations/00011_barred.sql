-- +goose Up
-- An attempt that is being cancelled makes no order any more, whichever event of
-- it may still come. It is set before its provider is asked to void.
ALTER TABLE payments ADD COLUMN barred boolean NOT NULL DEFAULT false;
