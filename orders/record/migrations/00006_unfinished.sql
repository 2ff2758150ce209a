-- +goose Up

-- What waits to be captured may be many, and what is in nobody's hands is few:
-- each has its own index, so that a look for the few does not read the many.
DROP INDEX payments_unfinished;
CREATE INDEX payments_open ON payments (lease_until)
    WHERE state IN ('authorising', 'unknown', 'action_required');
CREATE INDEX payments_authorised ON payments (lease_until)
    WHERE state = 'authorised';
