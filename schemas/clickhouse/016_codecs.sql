-- minimum server: 24.8
-- Storage hints: how columns are packed. Values are whole watt-hours more often than not (GCD, then the bits that vary),
-- reception has milliseconds, offsets grow by the size of the fleet from one push of a meter to its next.
ALTER TABLE intervals /*on cluster*/
    MODIFY COLUMN meter_id String CODEC(ZSTD(3)),
    MODIFY COLUMN interval_start DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(3)),
    MODIFY COLUMN received_at DateTime64(6, 'UTC') CODEC(GCD, Delta, ZSTD(6)),
    MODIFY COLUMN `offset` Int64 CODEC(GCD, Delta, ZSTD(6)),
    MODIFY COLUMN `partition` Int32 CODEC(ZSTD(3)),
    MODIFY COLUMN frame Int32 CODEC(T64, ZSTD(3)),
    MODIFY COLUMN interval_s Int32 CODEC(ZSTD(3)),
    MODIFY COLUMN status UInt32 CODEC(ZSTD(3)),
    MODIFY COLUMN value_milli Nullable(Int64) CODEC(GCD, T64('bit'), ZSTD(1));
ALTER TABLE reads /*on cluster*/
    MODIFY COLUMN meter_id String CODEC(ZSTD(3)),
    MODIFY COLUMN read_at DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(3)),
    MODIFY COLUMN received_at DateTime64(6, 'UTC') CODEC(GCD, Delta, ZSTD(6)),
    MODIFY COLUMN `offset` Int64 CODEC(GCD, Delta, ZSTD(6)),
    MODIFY COLUMN `partition` Int32 CODEC(ZSTD(3)),
    MODIFY COLUMN frame Int32 CODEC(T64, ZSTD(3)),
    MODIFY COLUMN status UInt32 CODEC(ZSTD(3)),
    MODIFY COLUMN value_milli Nullable(Int64) CODEC(GCD, Delta, ZSTD(3));
ALTER TABLE finals /*on cluster*/
    MODIFY COLUMN meter_id String CODEC(ZSTD(3)),
    MODIFY COLUMN interval_start DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(3)),
    MODIFY COLUMN interval_s Int32 CODEC(ZSTD(3)),
    MODIFY COLUMN value_milli Nullable(Int64) CODEC(GCD, T64('bit'), ZSTD(1)),
    MODIFY COLUMN failed UInt64 CODEC(ZSTD(3)),
    MODIFY COLUMN unjudged UInt64 CODEC(ZSTD(3)),
    MODIFY COLUMN version Int64 CODEC(T64, ZSTD(3)),
    MODIFY COLUMN judged_at DateTime64(6, 'UTC') CODEC(GCD, ZSTD(3));
ALTER TABLE intervals /*on cluster*/ MODIFY SETTING min_compress_block_size = 1048576, max_compress_block_size = 4194304;
