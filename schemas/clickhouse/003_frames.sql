-- minimum server: 24.8
-- Messages as they came: what a trace ends at and replay windows are rebuilt from. Kept as long as configured.
CREATE TABLE frames /*on cluster*/
(
    topic LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    frame Int32,
    received_at Nullable(DateTime64(6, 'UTC')),
    payload String,
    system_title Nullable(String),
    counter Nullable(Int64)
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(ifNull(received_at, toDateTime64(0, 6, 'UTC')))
ORDER BY (topic, `partition`, `offset`, frame);
