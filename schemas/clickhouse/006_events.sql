-- minimum server: 24.8
-- What meters, radios and concentrators reported.
CREATE TABLE events /*on cluster*/
(
    topic LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    frame Int32,
    received_at DateTime64(6, 'UTC'),
    meter_id String,
    event LowCardinality(String),
    code Nullable(Int32),
    origin LowCardinality(String),
    occurred_at DateTime64(6, 'UTC'),
    sequence Nullable(Int64),
    authenticated Bool
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (meter_id, event, occurred_at, received_at, topic, `partition`, `offset`, frame, origin, ifNull(code, -1), ifNull(sequence, -1));
