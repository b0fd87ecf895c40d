"""Faust as it is meant to be used: an agent counts messages by key in a table with a changelog, and says each count.

python faust_counter.py BROKER RUN FOLDER worker
"""

import json
import os
import sys

import faust

broker, run, folder = sys.argv[1:4]
app = faust.App(
    f"count-{run}", broker=f"kafka://{broker}", store="memory://", topic_partitions=4, topic_replication_factor=1,
    datadir=folder, web_enabled=False, consumer_auto_offset_reset="earliest",
    broker_session_timeout=10.0, broker_commit_interval=1.0,
    processing_guarantee=os.environ.get("FAUST_GUARANTEE", "at_least_once"),
)  # fmt: skip
RAW = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
told = app.topic(f"told-{run}", partitions=4, **RAW)
counted = app.topic(f"counted-{run}", partitions=1, **RAW)
seen = app.Table("seen", default=int, partitions=4, key_type=str)


@app.agent(told)
async def count(stream) -> None:
    async for key, value in stream.items():
        name = key.decode()
        seen[name] += 1
        await counted.send(key=key, value=json.dumps([name, int(value), seen[name]]).encode())


if __name__ == "__main__":
    sys.argv[1:4] = []
    app.main()
