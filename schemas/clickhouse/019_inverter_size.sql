-- minimum server: 24.8
-- Power of the generator's inverter in W: more than that nobody can export (V14).
ALTER TABLE meters /*on cluster*/
    ADD COLUMN inverter_w Nullable(Int32) AFTER removed_at;

-- Views name their columns when they are made.
DROP VIEW meters_current /*on cluster*/;

CREATE VIEW meters_current /*on cluster*/ AS
SELECT *
FROM meters FINAL
ORDER BY
    meter_id, installed_at,
    recorded_at DESC
LIMIT 1 BY meter_id, installed_at;
