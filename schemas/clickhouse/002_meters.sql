-- minimum server: 24.8
-- The registry: one row per installation and per state of knowledge of it; the newest knowledge counts.
CREATE TABLE meters /*on cluster*/
(
    meter_id String,
    meter_type LowCardinality(Nullable(String)),
    profile LowCardinality(Nullable(String)),
    system_title Nullable(String),
    security_min Nullable(UInt8),
    service_point_id Nullable(String),
    account_id Nullable(String),
    nmi Nullable(String),
    transformer_id Nullable(String),
    lateral_id Nullable(String),
    feeder_id LowCardinality(Nullable(String)),
    substation_id LowCardinality(Nullable(String)),
    phase LowCardinality(Nullable(String)),
    rate_class LowCardinality(Nullable(String)),
    tariff LowCardinality(Nullable(String)),
    timezone LowCardinality(Nullable(String)),
    interval_s Nullable(Int32),
    channels Array(LowCardinality(String)),
    multiplier Nullable(Int64),
    register_digits Nullable(Int32),
    register_resolution_milli Nullable(Int64),
    fuse_a Nullable(Int32),
    voltage_v Nullable(Int32),
    has_der Nullable(Bool),
    check_of Nullable(String),
    installed_at Nullable(DateTime64(6, 'UTC')),
    removed_at Nullable(DateTime64(6, 'UTC')),
    recorded_at Nullable(DateTime64(6, 'UTC'))
)
ENGINE = /*replicated*/ReplacingMergeTree
ORDER BY (meter_id, ifNull(installed_at, toDateTime64(0, 6, 'UTC')), ifNull(recorded_at, toDateTime64(0, 6, 'UTC')));
