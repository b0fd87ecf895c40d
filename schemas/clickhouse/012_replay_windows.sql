-- minimum server: 24.8
-- Invocation counters seen, stored with the offset they belong to.
CREATE TABLE replay_windows /*on cluster*/
(
    topic LowCardinality(String),
    `partition` Int32,
    `offset` Int64,
    system_title String,
    counter Int64,
    window String,
    saved_at DateTime64(6, 'UTC')
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(saved_at)
ORDER BY (topic, `partition`, system_title, `offset`);
