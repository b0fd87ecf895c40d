-- minimum server: 24.8
-- Judged values. A new judgement is a new version; none is ever overwritten.
CREATE TABLE finals /*on cluster*/
(
    meter_id String,
    service_point_id Nullable(String),
    channel LowCardinality(String),
    interval_start DateTime64(6, 'UTC'),
    interval_s Int32,
    value_milli Nullable(Int64),
    quality LowCardinality(String),
    method LowCardinality(Nullable(String)),
    failed UInt64,
    unjudged UInt64,
    is_final_estimate Bool,
    version Int64,
    judged_at DateTime64(6, 'UTC'),
    author LowCardinality(Nullable(String)),
    run_id LowCardinality(String)
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(interval_start)
ORDER BY (meter_id, channel, interval_start, version);
