-- minimum server: 24.8
-- The newest of each thing. FINAL takes the copy of a redelivery away, LIMIT 1 BY what a later row supersedes.
-- A filter does not pass LIMIT BY: large questions filter inside, as storage/queries.py does.
CREATE VIEW meters_current /*on cluster*/ AS
SELECT *
FROM meters FINAL
ORDER BY
    meter_id, installed_at,
    recorded_at DESC
LIMIT 1 BY meter_id, installed_at;

CREATE VIEW frames_current /*on cluster*/ AS
SELECT *
FROM frames FINAL
ORDER BY
    topic, `partition`, `offset`, frame,
    received_at DESC
LIMIT 1 BY topic, `partition`, `offset`, frame;

CREATE VIEW intervals_current /*on cluster*/ AS
SELECT *
FROM intervals FINAL
ORDER BY
    meter_id, channel, interval_start, interval_s, if(channel = 'other', ifNull(obis, ''), ''),
    `received_at` DESC, `topic` DESC, `partition` DESC, `offset` DESC, `frame` DESC
LIMIT 1 BY meter_id, channel, interval_start, interval_s, if(channel = 'other', ifNull(obis, ''), '');

CREATE VIEW reads_current /*on cluster*/ AS
SELECT *
FROM reads FINAL
ORDER BY
    meter_id, channel, read_at, if(channel = 'other', ifNull(obis, ''), ''),
    `received_at` DESC, `topic` DESC, `partition` DESC, `offset` DESC, `frame` DESC
LIMIT 1 BY meter_id, channel, read_at, if(channel = 'other', ifNull(obis, ''), '');

CREATE VIEW events_current /*on cluster*/ AS
SELECT *
FROM events FINAL
ORDER BY
    meter_id, event, occurred_at, topic, `partition`, `offset`, frame, origin, ifNull(code, -1), ifNull(sequence, -1),
    received_at DESC
LIMIT 1 BY meter_id, event, occurred_at, topic, `partition`, `offset`, frame, origin, ifNull(code, -1), ifNull(sequence, -1);

CREATE VIEW rejects_current /*on cluster*/ AS
SELECT *
FROM rejects FINAL
ORDER BY
    topic, `partition`, `offset`, frame, at, reason,
    ifNull(resolved_at, toDateTime64(0, 6, 'UTC')) DESC
LIMIT 1 BY topic, `partition`, `offset`, frame, at, reason;

CREATE VIEW finals_current /*on cluster*/ AS
SELECT *
FROM finals FINAL
ORDER BY
    meter_id, channel, interval_start,
    version DESC
LIMIT 1 BY meter_id, channel, interval_start;

CREATE VIEW edits_current /*on cluster*/ AS
SELECT *
FROM edits FINAL
ORDER BY
    edit_id,
    made_at DESC, ifNull(approved_by, '') DESC
LIMIT 1 BY edit_id;

CREATE VIEW exceptions_current /*on cluster*/ AS
SELECT *
FROM exceptions FINAL
ORDER BY
    meter_id, ifNull(channel, ''), rule, first_interval, run_id,
    intervals DESC
LIMIT 1 BY meter_id, ifNull(channel, ''), rule, first_interval, run_id;

CREATE VIEW outages_current /*on cluster*/ AS
SELECT *
FROM outages FINAL
ORDER BY
    incident_id, step,
    updated_at DESC
LIMIT 1 BY incident_id, step;

CREATE VIEW replay_windows_current /*on cluster*/ AS
SELECT *
FROM replay_windows FINAL
ORDER BY
    topic, `partition`, system_title, key_id, counter, `offset`,
    saved_at DESC
LIMIT 1 BY topic, `partition`, system_title, key_id, counter, `offset`;

CREATE VIEW billing_ledger_current /*on cluster*/ AS
SELECT *
FROM billing_ledger FINAL
ORDER BY
    batch_id, line_no,
    determinant_revision DESC
LIMIT 1 BY batch_id, line_no;

CREATE VIEW billing_batches_current /*on cluster*/ AS
SELECT *
FROM billing_batches FINAL
ORDER BY
    batch_id,
    step DESC
LIMIT 1 BY batch_id;

-- The state of each incident: its last step.
CREATE VIEW outages_state /*on cluster*/ AS
SELECT *
FROM outages FINAL
ORDER BY incident_id, step DESC, updated_at DESC
LIMIT 1 BY incident_id;
