-- minimum server: 24.8
-- Instructions of people.
CREATE TABLE edits /*on cluster*/
(
    edit_id String,
    meter_id String,
    channel LowCardinality(String),
    `from` DateTime64(6, 'UTC'),
    `to` DateTime64(6, 'UTC'),
    action LowCardinality(String),
    value_milli Nullable(Int64),
    reason LowCardinality(String),
    author LowCardinality(String),
    approved_by LowCardinality(Nullable(String)),
    made_at DateTime64(6, 'UTC')
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(`from`)
ORDER BY (meter_id, channel, `from`, edit_id, made_at, ifNull(approved_by, ''));
