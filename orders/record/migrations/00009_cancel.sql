-- +goose Up
-- Why somebody has begun to end the attempt at its provider; '' nobody has.
-- From then on nobody takes units for it.
ALTER TABLE payments ADD COLUMN cancelled text NOT NULL DEFAULT '';
