-- minimum server: 24.8
-- What has been done to this database: a row when a migration starts, another when it is done.
CREATE TABLE IF NOT EXISTS migrations /*on cluster*/
(
    number Int32,
    name String,
    checksum String,
    status LowCardinality(String),
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = /*replicated*/MergeTree
ORDER BY (number, at);
