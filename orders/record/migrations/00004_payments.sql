-- +goose Up
ALTER TABLE payments DROP CONSTRAINT payments_state;
ALTER TABLE payments ADD CONSTRAINT payments_state CHECK (state IN
    ('none', 'authorising', 'authorised', 'action_required', 'captured', 'declined', 'unknown', 'voided', 'refunded'));
-- What the buyer has to do at the provider, in state action_required.
ALTER TABLE payments ADD COLUMN action_type text NOT NULL DEFAULT '';
ALTER TABLE payments ADD COLUMN action_url text NOT NULL DEFAULT '';
DROP INDEX payments_unfinished;
CREATE INDEX payments_unfinished ON payments (lease_until)
    WHERE state IN ('authorising', 'unknown', 'action_required', 'authorised');
