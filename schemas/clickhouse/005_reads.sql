-- minimum server: 24.8
-- Raw register reads and instantaneous values as sent.
CREATE TABLE reads /*on cluster*/
(
    topic LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    frame Int32,
    received_at DateTime64(6, 'UTC'),
    meter_id String,
    channel LowCardinality(String),
    obis LowCardinality(Nullable(String)),
    read_at DateTime64(6, 'UTC'),
    value_milli Nullable(Int64),
    status UInt32
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(read_at)
ORDER BY (meter_id, channel, read_at, received_at, topic, `partition`, `offset`, frame, ifNull(obis, ''));
