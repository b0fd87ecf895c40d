-- minimum server: 24.8
-- States of billing batches; the last step of a batch is its state.
CREATE TABLE billing_batches /*on cluster*/
(
    batch_id String,
    step Int32,
    state LowCardinality(String),
    consumer LowCardinality(String),
    format LowCardinality(String),
    cycle LowCardinality(Nullable(String)),
    period_start DateTime64(6, 'UTC'),
    period_end DateTime64(6, 'UTC'),
    manifest String,
    reason LowCardinality(Nullable(String)),
    updated_at DateTime64(6, 'UTC')
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(period_start)
ORDER BY (batch_id, step, updated_at);
