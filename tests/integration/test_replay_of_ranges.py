"""`ami replay range` on a broker: only topics of frames, only what is there, and a mistake is one line at once."""

from pathlib import Path

import polars as pl
import pytest
from fleet import fresh_topics, on_topics

from app.cli import main
from ingest.dlms.framing import wrap_wpdu
from ingest.kafka.publisher import KafkaPublisher
from ingest.kafka.ranges import read_range
from ingest.kafka.settings import KafkaSettings
from ingest.kafka.source import Span
from ingest.lanes import FRAMES_TOPIC
from schemas.errors import ContractError

HEARD_TOPIC = "ami.heard.v1"


@pytest.fixture(scope="module")
def filled(kafka_settings: KafkaSettings) -> KafkaSettings:
    """Three messages on a topic of frames, and on one of other things."""
    fresh_topics(kafka_settings)
    publisher = KafkaPublisher(kafka_settings)
    for topic, message in ((HEARD_TOPIC, b"{}"), (FRAMES_TOPIC, wrap_wpdu(b"\x0f" * 20))):
        values = pl.DataFrame({"value": [message] * 3}).with_columns(partition=pl.lit(0, dtype=pl.Int32))
        publisher.publish(topic, values)
    publisher.flush()
    publisher.close()
    return kafka_settings


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((HEARD_TOPIC, 0, 0, 3), f"--topic {HEARD_TOPIC}: holds no frames: one of {FRAMES_TOPIC}, "),
        ((FRAMES_TOPIC, 0, 7, 2), "--first 7 --after 2: no message lies between"),
        ((FRAMES_TOPIC, 0, 2, 2), "--first 2 --after 2: no message lies between"),
        ((FRAMES_TOPIC, 99, 0, 2), f"topic {FRAMES_TOPIC} has no partition 99"),
        ((FRAMES_TOPIC, 0, 10, 20), f"{FRAMES_TOPIC}/0: no message of offsets 10 up to 20 is there"),
    ],
)
def test_a_range_that_holds_no_frames_is_one_line_and_changes_nothing(
    filled: KafkaSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, int, int, int],
    said: str,
) -> None:
    for name, text in (("keys.csv", "system_title,ek,ak\n"), ("meters.csv", "")):
        (tmp_path / name).write_text(text)
    config = tmp_path / "ami.toml"
    config.write_text(
        f'[kafka]\nbrokers = ["{filled.brokers[0]}"]\n[embedded]\npath = "{tmp_path / "store"}"\n'
    )
    assert main(["migrate", "--config", str(config)]) == 0
    capsys.readouterr()
    names = ("--topic", "--partition", "--first", "--after")
    words = [word for pair in zip(names, map(str, arguments), strict=True) for word in pair]
    assert main(["replay", "range", *words, "--config", str(config)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert told.err.count("\n") == 1
    assert on_topics(filled, "ami.rejects.v1").is_empty()


def test_a_topic_that_is_not_there_is_said_at_once(kafka_settings: KafkaSettings) -> None:
    with pytest.raises(ContractError, match=r"topic nobody\.made\.it: there is none"):
        next(read_range(kafka_settings, Span("nobody.made.it", 0, 0, 3, 0)))
