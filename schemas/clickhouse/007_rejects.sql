-- minimum server: 24.8
-- Messages, or parts of one, that could not become rows, with their bytes. Each stays; a row of the same identity says
-- how it was resolved (reinserted, superseded, dropped) and when.
CREATE TABLE rejects /*on cluster*/
(
    topic LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    frame Int32,
    received_at Nullable(DateTime64(6, 'UTC')),
    payload String,
    reason LowCardinality(String),
    detail String,
    at Int32,
    system_title Nullable(String),
    key_id LowCardinality(Nullable(String)),
    code_version LowCardinality(String),
    resolution LowCardinality(Nullable(String)),
    resolved_at Nullable(DateTime64(6, 'UTC'))
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(ifNull(received_at, toDateTime64(0, 6, 'UTC')))
ORDER BY (topic, `partition`, `offset`, frame, at, reason, ifNull(resolved_at, toDateTime64(0, 6, 'UTC')));
