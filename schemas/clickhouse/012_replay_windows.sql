-- minimum server: 24.8
-- Invocation counters seen, each with the message that carried it: windows are rebuilt as of any offset.
CREATE TABLE replay_windows /*on cluster*/
(
    topic LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    system_title String,
    key_id LowCardinality(String),
    counter Int64,
    digest UInt64,
    saved_at DateTime64(6, 'UTC')
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(saved_at)
ORDER BY (topic, `partition`, system_title, key_id, counter, `offset`);
