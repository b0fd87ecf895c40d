"""Door: Kafka. Messages come in as RAW_FRAMES with the offsets they belong to; rows go out acknowledged or fail.

`source` polls and commits, `publisher` sends and flushes, `topics` makes topics from their contracts; `records` cuts
messages into frames and is pure.
"""
