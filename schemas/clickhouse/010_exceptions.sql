-- minimum server: 24.8
-- Findings for a person or a queue.
CREATE TABLE exceptions /*on cluster*/
(
    meter_id String,
    channel LowCardinality(Nullable(String)),
    rule LowCardinality(String),
    severity LowCardinality(String),
    first_interval Nullable(DateTime64(6, 'UTC')),
    intervals Int32,
    measured_milli Nullable(Int64),
    limit_milli Nullable(Int64),
    run_id LowCardinality(String)
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(ifNull(first_interval, toDateTime64(0, 6, 'UTC')))
ORDER BY (meter_id, ifNull(channel, ''), rule, ifNull(first_interval, toDateTime64(0, 6, 'UTC')), run_id);
