-- minimum server: 24.8
-- The last thousand inserts of a table are remembered by their token: a repeated one is not stored twice in the first
-- place. A help only, it forgets; the sort keys are the guarantee. Replicated tables do so of themselves.
ALTER TABLE meters /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE frames /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE intervals /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE reads /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE events /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE rejects /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE finals /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE edits /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE exceptions /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE outages /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE replay_windows /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE billing_ledger /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
ALTER TABLE billing_batches /*on cluster*/ MODIFY SETTING non_replicated_deduplication_window = 1000;
