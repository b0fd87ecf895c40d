"""Topics from their contracts: which are missing, which differ, and making the missing ones."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
from kafka import KafkaAdminClient, errors
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from ingest.kafka.opening import opening
from ingest.kafka.settings import KafkaSettings, typed_error
from schemas import errors as our_errors
from schemas.errors import ContractError

_TRIES: Final = 5
_AGAIN_S: Final = 0.5
"""Between two tries, while a topic that another run makes becomes known."""


class TopicContract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One topic: what it carries and how it is kept. `value` names a message schema, or says what the bytes are."""

    name: str
    key: str
    value: str
    partitions: int
    cleanup: Literal["delete", "compact"]
    retention_ms: int
    max_message_bytes: int

    def configuration(self, copies: int) -> dict[str, str]:
        """The broker's settings for the topic, where each partition has so many copies."""
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.max_message_bytes),
            # received_at is set by the gateway on reception; a broker's own clock would change it on a replay.
            "message.timestamp.type": "CreateTime",
            # Acknowledged by all in sync must mean more than a leader alone, and one broker may be away.
            "min.insync.replicas": str(max(1, copies - 1)),
        }


class _Contracts(msgspec.Struct, frozen=True):
    topics: tuple[TopicContract, ...]


class Difference(NamedTuple):
    """A topic is kept otherwise than its contract says."""

    topic: str
    setting: str
    has: str
    wanted: str


class TopicPlan(NamedTuple):
    """Contracts against what is there: `missing` will be made; `grow` needs more partitions; nothing ever shrinks.

    `differ`: settings of the broker that a person must change, or know of: a registry that is not compacted but deleted
    after a week is lost in silence.
    """

    missing: tuple[TopicContract, ...]
    grow: tuple[TopicContract, ...]
    differ: tuple[Difference, ...] = ()


def packaged_topics() -> tuple[TopicContract, ...]:
    """The topic contracts of this release."""
    file = Path(our_errors.__file__).with_name("kafka") / "topics.json"
    return msgspec.json.decode(file.read_bytes(), type=_Contracts).topics


def plan_topics(wanted: tuple[TopicContract, ...], partitions: dict[str, int]) -> TopicPlan:
    """What is to be done, given the number of partitions of each topic that exists."""
    return TopicPlan(
        missing=tuple(topic for topic in wanted if topic.name not in partitions),
        grow=tuple(topic for topic in wanted if 0 < partitions.get(topic.name, 0) < topic.partitions),
    )


def apply_topics(
    settings: KafkaSettings, wanted: tuple[TopicContract, ...], *, replication: int = 3, dry_run: bool = False
) -> TopicPlan:
    """Every wanted topic exists when this returns, unless it is a dry run; what was missing is returned.

    Topics with too few partitions are reported in `grow`, those that are kept otherwise in `differ`, and left alone:
    more partitions move keys, and with them the order of a meter's messages and its replay window, and another
    retention deletes; so a person decides when.

    Raises:
        TransientError: The brokers are away.
        ContractError: The brokers refuse a contract, for instance more replicas than there are brokers; or a topic is
            there and they do not show it to us.
    """
    for _ in range(_TRIES):
        try:
            return _applied(settings, wanted, replication, dry_run=dry_run)
        except errors.TopicAlreadyExistsError as error:
            # Another run has made it meanwhile: soon it is listed.
            told = " ".join(str(error.args[0]).split())[:200].rstrip(".")
            time.sleep(_AGAIN_S)
    raise ContractError(f"kafka topic {told}: it is there and not listed: give this user the right to DESCRIBE it")


def _applied(
    settings: KafkaSettings, wanted: tuple[TopicContract, ...], replication: int, *, dry_run: bool
) -> TopicPlan:
    admin: Any = None
    try:
        with opening(settings):
            admin = KafkaAdminClient(**settings.client_options())
        partitions, copies = _partitions(admin, wanted)
        there = tuple(topic for topic in wanted if topic.name in partitions)
        differ = differences(there, _settings(admin, there), copies)
        plan = plan_topics(wanted, partitions)._replace(differ=differ)
        if plan.missing and not dry_run:
            _create(admin, plan.missing, replication)
    except errors.TopicAlreadyExistsError:
        raise
    except errors.KafkaError as error:
        if isinstance(error, errors.BrokerResponseError) and not error.retriable:
            # The library's text holds the request and the response, nine kilobytes of them.
            raise ContractError(f"kafka topics: {type(error).__name__}: {str(error)[:200]}") from error
        raise typed_error(error, retriable=True) from error
    finally:
        if admin is not None:
            admin.close()
    return plan


def differences(
    wanted: tuple[TopicContract, ...], settings: Mapping[str, Mapping[str, str]], copies: Mapping[str, int]
) -> tuple[Difference, ...]:
    """What brokers say of topics (settings and copies by topic) against the contracts.

    What they do not say is no difference. Of a topic with fewer copies than a new one would have, that many are
    reckoned with: more in sync than there are copies would refuse every message.
    """
    return tuple(
        Difference(topic.name, name, has, value)
        for topic in wanted
        for name, value in topic.configuration(copies[topic.name]).items()
        if (has := settings.get(topic.name, {}).get(name, value)) != value
    )


def _settings(admin: Any, topics: tuple[TopicContract, ...]) -> dict[str, dict[str, str]]:
    if not topics:
        return {}
    asked = [
        ConfigResource(ConfigResourceType.TOPIC, topic.name, list(topic.configuration(copies=1))) for topic in topics
    ]
    told = admin.describe_configs(asked, config_filter="all").get("topic", {})
    return {name: {key: str(entry["value"]) for key, entry in settings.items()} for name, settings in told.items()}


def _partitions(admin: Any, wanted: tuple[TopicContract, ...]) -> tuple[dict[str, int], dict[str, int]]:
    """Of each topic that exists its partitions, and the copies of the one that has fewest."""
    there = set(admin.list_topics())
    names = [topic.name for topic in wanted if topic.name in there]
    described = admin.describe_topics(names) if names else []
    parts = {topic["name"]: topic["partitions"] for topic in described}
    copies = {name: min((len(part["replica_nodes"]) for part in found), default=1) for name, found in parts.items()}
    return {name: len(found) for name, found in parts.items()}, copies


def _create(admin: Any, topics: tuple[TopicContract, ...], replication: int) -> None:
    """All are made, or the first that is refused is told in the broker's words.

    Raises:
        ContractError: See `apply_topics`.
        KafkaError: The brokers are away, or another run has made one meanwhile.
    """
    told = admin.create_topics([_new(topic, replication) for topic in topics], raise_errors=False)["topics"]
    for one in told:
        if not one["error_code"]:
            continue
        kind = errors.for_code(one["error_code"])
        if kind is errors.TopicAlreadyExistsError or kind.retriable:
            raise kind(f"{one['name']}: {one['error_message'] or ''}")
        words = f"kafka topic {one['name']}: {' '.join((one['error_message'] or kind.__name__).split())}"
        if kind is errors.InvalidReplicationFactorError:
            words += f" {replication} copies were asked for: `--replication N` asks for fewer"
        raise ContractError(words)


def _new(topic: TopicContract, replication: int) -> NewTopic:
    return NewTopic(
        name=topic.name,
        num_partitions=topic.partitions,
        replication_factor=replication,
        topic_configs=topic.configuration(replication),
    )
