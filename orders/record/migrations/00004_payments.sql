-- +goose Up
ALTER TABLE payments DROP CONSTRAINT payments_state;
ALTER TABLE payments ADD CONSTRAINT payments_state CHECK (state IN
    ('none', 'authorising', 'authorised', 'action_required', 'captured', 'declined', 'unknown', 'voided', 'refunded'));
-- What the buyer has to do at the provider, in state action_required.
ALTER TABLE payments ADD COLUMN action_type text NOT NULL DEFAULT '';
ALTER TABLE payments ADD COLUMN action_url text NOT NULL DEFAULT '';
-- Set while it is certain that no provider has seen the attempt.
ALTER TABLE payments ADD COLUMN parked text NOT NULL DEFAULT '';
ALTER TABLE payments ADD CONSTRAINT payments_parked CHECK (parked IN ('', 'unsent', 'queued') AND (parked = '' OR state = 'authorising'));
-- Why the money goes back once it is captured; '' it does not.
ALTER TABLE payments ADD COLUMN refund_reason text NOT NULL DEFAULT '';
DROP INDEX payments_unfinished;
CREATE INDEX payments_unfinished ON payments (lease_until)
    WHERE state IN ('authorising', 'unknown', 'action_required', 'authorised');
CREATE INDEX payments_queued ON payments (created_at) WHERE parked = 'queued';
CREATE INDEX payments_owed ON payments (lease_until) WHERE state = 'captured' AND refund_reason <> '';

-- What payment providers have told us: each event once, however often it is
-- delivered, until somebody has acted on it and for some days after.
CREATE TABLE provider_events (
    provider    text        NOT NULL,
    id          text        NOT NULL, -- the provider's
    type        text        NOT NULL,
    attempt     bytea       CHECK (octet_length(attempt) = 16), -- null: none of ours
    at          timestamptz NOT NULL, -- when the provider made it
    received_at timestamptz NOT NULL DEFAULT now(),
    listed_at   timestamptz NOT NULL DEFAULT '-infinity', -- when a node last took it up
    done_at     timestamptz,
    PRIMARY KEY (provider, id)
);
CREATE INDEX provider_events_open ON provider_events (listed_at) WHERE done_at IS NULL;
CREATE INDEX provider_events_done ON provider_events (done_at) WHERE done_at IS NOT NULL;
