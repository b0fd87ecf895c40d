-- minimum server: 24.8
-- Raw interval values as sent. A redelivery has the same provenance and collapses; a later value of the same interval
-- has another and stays.
CREATE TABLE intervals /*on cluster*/
(
    topic LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    frame Int32,
    received_at DateTime64(6, 'UTC'),
    meter_id String,
    channel LowCardinality(String),
    obis LowCardinality(Nullable(String)),
    interval_start DateTime64(6, 'UTC'),
    interval_s Int32,
    value_milli Nullable(Int64),
    status UInt32
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(interval_start)
ORDER BY (meter_id, channel, interval_start, received_at, topic, `partition`, `offset`, frame, interval_s, ifNull(obis, ''));
