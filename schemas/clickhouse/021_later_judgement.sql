-- minimum server: 24.8
-- Of two judgements of one version the later one is current.
DROP VIEW finals_current /*on cluster*/;

CREATE VIEW finals_current /*on cluster*/ AS
SELECT *
FROM finals FINAL
ORDER BY
    meter_id, channel, interval_start,
    version DESC, judged_at DESC
LIMIT 1 BY meter_id, channel, interval_start;
