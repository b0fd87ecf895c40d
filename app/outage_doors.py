"""The outage worker put together from its configuration."""

import polars as pl

from app import doors
from app.config import Config
from app.lane import LaneParams
from app.outage_lane import Doors, OutageParams, OutageWork
from app.outage_source import INPUT_TOPICS, JOURNAL_TOPIC, OutageSource, Pace
from outage.params import DetectParams
from outage.stream import Journal, Leadership
from outage.stream_fleet import read_fleet
from outage.stream_inputs import Inputs

POLL_S = 0.05
MOST_MESSAGES = 50_000


def open_outage(settings: Config, meters: pl.DataFrame) -> tuple[OutageSource, OutageWork, LaneParams]:
    """Source, work and pace of the outage worker. No database is among them.

    Raises:
        TransientError: The brokers are away.
    """
    options, group, outage = settings.kafka.client_options(), settings.group, settings.outage
    instance = None if group.instance is None else f"{group.instance}.outage"
    leadership = Leadership(options, JOURNAL_TOPIC, f"{group.prefix}.outage", instance, group.session_timeout_ms)
    inputs, pace = Inputs(options, INPUT_TOPICS), Pace()
    params = OutageParams(
        detect=DetectParams(
            sustained_s=outage.sustained_s,
            declaration_s=outage.declaration_s,
            share_tenths=outage.share_tenths,
            storm=outage.storm,
        ),
        missing_from_start=None if group.first_start is None else group.first_start == "earliest",
        snapshot_batches=outage.snapshot_batches,
    )
    reached = Doors(Journal(options, JOURNAL_TOPIC), inputs, doors.open_publisher(settings))
    work = OutageWork(reached, read_fleet(meters), params, pace)
    source = OutageSource(leadership, inputs, pace, outage.tick_seconds)
    return source, work, LaneParams(MOST_MESSAGES, outage.batch_seconds, settings.ingest.shutdown_seconds, POLL_S)
