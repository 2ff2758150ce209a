-- +goose Up

-- The one place of buyers' contact data. Events and orders have none: who wants an
-- order's asks for its attempt's. A row is written in the statement that begins the
-- attempt, and it is apart from the payment, so that a payment's many versions do
-- not carry it, and new wrappings and erasures touch no money.
CREATE TABLE contacts (
    attempt   bytea PRIMARY KEY CHECK (octet_length(attempt) = 16),
    key       bytea,       -- its data key, wrapped; empty: there is no keyset, and it is in clear
    sealed    bytea,       -- {"email",…} under that key
    erased_at timestamptz,
    CONSTRAINT contacts_erased CHECK ((erased_at IS NULL) = (key IS NOT NULL) AND (key IS NULL) = (sealed IS NULL))
);
ALTER TABLE contacts ALTER COLUMN sealed SET STORAGE EXTERNAL; -- it does not compress

-- Written by earlier versions, in clear; flashsale data rewrap moves it.
ALTER TABLE payments ALTER COLUMN email SET DEFAULT '';
ALTER TABLE orders ALTER COLUMN email SET DEFAULT '';
