-- minimum server: 24.8
-- Lines billed and reversed, append only: the sum of a determinant is its latest value.
CREATE TABLE billing_ledger /*on cluster*/
(
    batch_id String,
    line_no Int32,
    account_id Nullable(String),
    service_point_id Nullable(String),
    meter_id String,
    channel LowCardinality(Nullable(String)),
    determinant LowCardinality(String),
    value_milli Nullable(Int64),
    ratio Nullable(Decimal(18, 6)),
    uom LowCardinality(String),
    period_start DateTime64(6, 'UTC'),
    period_end DateTime64(6, 'UTC'),
    timezone LowCardinality(String),
    tou_calendar LowCardinality(Nullable(String)),
    tou_version LowCardinality(Nullable(String)),
    occurred_at Nullable(DateTime64(6, 'UTC')),
    n_intervals Int32,
    n_actual Int32,
    n_estimated Int32,
    n_edited Int32,
    n_suspect Int32,
    n_outage Int32,
    n_missing Int32,
    quality_class LowCardinality(String),
    source_revision Nullable(Int64),
    determinant_revision Int32,
    supersedes Nullable(String),
    sign Int8
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(period_start)
ORDER BY (meter_id, determinant, period_start, batch_id, line_no);
