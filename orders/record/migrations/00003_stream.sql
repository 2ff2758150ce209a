-- +goose Up

-- How far the record has read the stream. It moves in the transaction that
-- writes the orders, so the two cannot disagree. topic_id is Kafka's own id of
-- the topic: one that was deleted and made again begins at zero.
CREATE TABLE stream_offsets (
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    topic_id    text        NOT NULL DEFAULT '',
    next_offset bigint      NOT NULL CHECK (next_offset >= 0),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);

-- Events that could not become orders, as they came.
CREATE TABLE dead_letters (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT now(),
    topic     text        NOT NULL,
    partition integer     NOT NULL,
    "offset"  bigint      NOT NULL,
    key       bytea       NOT NULL,
    headers   jsonb       NOT NULL,
    value     bytea       NOT NULL,
    reason    text        NOT NULL,
    detail    text        NOT NULL,
    UNIQUE (topic, partition, "offset")
);
