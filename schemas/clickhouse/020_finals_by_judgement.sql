-- minimum server: 24.8
-- Two judgements may take the same version at once: while a partition changes hands the old owner's batch is still in
-- flight. Both are kept, and the later one is current: its instant ends the key. Only a new column may join a key, and
-- only one without an expression; what it holds is said afterwards, and no writer names it.
ALTER TABLE finals /*on cluster*/
    ADD COLUMN judged_us Int64,
    MODIFY ORDER BY (meter_id, channel, interval_start, version, judged_us);
ALTER TABLE finals /*on cluster*/
    MODIFY COLUMN judged_us Int64 MATERIALIZED toUnixTimestamp64Micro(`judged_at`);
