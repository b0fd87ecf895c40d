-- minimum server: 24.8
-- A finding that no longer holds is withdrawn: a row of the same identity says when. The key tells the two apart, so
-- that both stay.
ALTER TABLE exceptions /*on cluster*/
    ADD COLUMN resolved_at Nullable(DateTime64(6, 'UTC')),
    MODIFY ORDER BY (meter_id, ifNull(channel, ''), rule, ifNull(first_interval, toDateTime64(0, 6, 'UTC')), run_id, ifNull(resolved_at, toDateTime64(0, 6, 'UTC')));

-- Views name their columns when they are made.
DROP VIEW exceptions_current /*on cluster*/;

CREATE VIEW exceptions_current /*on cluster*/ AS
SELECT *
FROM exceptions FINAL
ORDER BY
    meter_id, ifNull(channel, ''), rule, first_interval, run_id,
    ifNull(resolved_at, toDateTime64(0, 6, 'UTC')) DESC, intervals DESC
LIMIT 1 BY meter_id, ifNull(channel, ''), rule, first_interval, run_id;

CREATE VIEW exceptions_open /*on cluster*/ AS
SELECT *
FROM exceptions_current
WHERE resolved_at IS NULL;
