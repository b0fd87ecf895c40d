-- minimum server: 24.8
-- Steps of incidents; the last step of an incident is its state.
CREATE TABLE outages /*on cluster*/
(
    incident_id String,
    step Int32,
    state LowCardinality(String),
    scope LowCardinality(String),
    node_kind LowCardinality(String),
    node_id String,
    started_at DateTime64(6, 'UTC'),
    restored_at Nullable(DateTime64(6, 'UTC')),
    meters_out Int32,
    customers_out Int32,
    confidence Float64,
    nested_in Nullable(String),
    merged_into Nullable(String),
    updated_at DateTime64(6, 'UTC'),
    phases LowCardinality(Nullable(String)),
    meters_eligible Nullable(Int32),
    meters_heard Nullable(Int32),
    meters_alive Nullable(Int32),
    meters_silent Nullable(Int32),
    authenticated_share Nullable(Float64),
    predicted_device Nullable(String),
    planned Nullable(Bool),
    cause LowCardinality(Nullable(String)),
    run_id LowCardinality(Nullable(String))
)
ENGINE = /*replicated*/ReplacingMergeTree
PARTITION BY toYYYYMM(started_at)
ORDER BY (incident_id, step, updated_at);
