"""The worker that delivers to outage systems, put together from its configuration."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl

from app import doors
from app.config import Config
from app.files import read_text
from app.lane import LaneParams
from app.oms_config import Counterparty, Oms
from app.oms_lane import OMS_TOPICS, Couriers, OmsWork, Post
from app.oms_reception import Asker, Reception
from app.outage_source import Alone, OutageSource, Pace
from ingest.kafka.settings import read_secret
from outage.delivery import Delivery
from outage.letter import Letter
from outage.messages.iec61968 import Envelope
from outage.messages.letters import iec61968_letters, json_letters, multispeak_letters, odin_letters, soap_dress
from outage.messages.multispeak import Account, Version
from outage.messages.tables import CodeTable, code_table, parse_tables
from outage.oms import OmsClient, OmsListener, OmsParams, listener_tls
from outage.oms_outbox import Outbox, hold_folder
from outage.stream_inputs import Inputs
from outage.stream_said import said_steps
from schemas.errors import ContractError

POLL_S: Final = 0.05
BATCH_S: Final = 0.1
MOST_MESSAGES: Final = 5_000

Letters = Callable[[pl.DataFrame], Iterable[Letter]]


class OmsSource(OutageSource):
    """The topics, and with them everything that must end when reading does."""

    def __init__(self, inputs: Inputs, tick_s: float, owned: Iterable[Callable[[], None]]) -> None:
        super().__init__(Alone(), inputs, Pace(), tick_s)
        self._owned = tuple(owned)

    def close(self) -> None:
        """Listener, couriers and outboxes first, then the connection."""
        for give_back in self._owned:
            give_back()
        super().close()


def open_oms(settings: Config, meters: pl.DataFrame) -> tuple[OmsSource, OmsWork, LaneParams]:
    """Source, work and pace; couriers and the listener are at work when this returns.

    Raises:
        ContractError: No counterparty is configured, or a file that one names cannot be used.
        TerminalError: Another worker delivers from the folder.
        TransientError: The brokers are away.
    """
    oms = settings.oms
    if not oms.counterparty:
        raise ContractError("oms.counterparty: none is configured")
    folder = Path(oms.folder)
    held = hold_folder(folder)
    posts = [_post(party, folder) for party in oms.counterparty]
    inputs = Inputs(settings.kafka.client_options(), OMS_TOPICS)
    publisher = doors.open_publisher(settings)
    reception = Reception(_askers(settings.oms, posts), meters, publisher)
    closing = [*_listen(settings.oms, reception), publisher.close]
    couriers = Couriers(posts)
    first_start = settings.group.first_start
    work = OmsWork(
        inputs, posts, missing_from_start=None if first_start is None else first_start == "earliest",
        check=couriers.check, enrol=reception.enrol,
    )  # fmt: skip
    source = OmsSource(
        inputs, oms.tick_seconds, [*closing, couriers.close, *(post.outbox.close for post in posts), held.close]
    )
    return source, work, LaneParams(MOST_MESSAGES, BATCH_S, settings.ingest.shutdown_seconds, POLL_S)


def _post(party: Counterparty, folder: Path) -> Post:
    outbox = Outbox(folder / f"{party.name}.sqlite")
    account = Account(party.company, party.user, read_secret(party.password_file) or "")
    client = OmsClient(
        OmsParams(
            url=party.url,
            timeout_s=party.timeout_s,
            ca_file=_path(party.ca_file),
            certificate_file=_path(party.certificate_file),
            key_file=_path(party.key_file),
        ),
        soap_dress(account),
    )
    delivery = Delivery(outbox, client.send, party.retry)
    return Post(party.name, outbox, _letters(party, outbox), delivery, whole=party.format == "odin")


def _letters(party: Counterparty, outbox: Outbox) -> Letters:
    if party.format == "iec61968":
        return partial(iec61968_letters, envelope=Envelope(party.source, party.context), table=_table(party))
    if party.format == "odin":
        place = (party.communities, party.disclaimer)
        return partial(odin_letters, steps_of=lambda incident: said_steps(outbox.kept(incident)), place=place)
    if party.format == "cim-json":
        return json_letters
    return partial(multispeak_letters, version=Version.V3 if party.format == "multispeak3" else Version.V4)


def _table(party: Counterparty) -> CodeTable:
    if party.code_tables_file is None:
        return code_table(party.code_table)
    tables = parse_tables(read_text(Path(party.code_tables_file)))
    if party.code_table not in tables:
        raise ContractError(f"{party.code_tables_file}: {party.code_table!r} is not one of {', '.join(tables)}")
    return tables[party.code_table]


def _listen(oms: Oms, reception: Reception) -> list[Callable[[], None]]:
    """How to end what was begun: nothing where nobody may ask."""
    listen = oms.listen
    if listen is None:
        return []
    tls = None
    if listen.certificate_file is not None and listen.key_file is not None:
        tls = listener_tls(Path(listen.certificate_file), Path(listen.key_file), _path(listen.client_ca_file))
    return [OmsListener(listen.bind, listen.port, reception.answer, tls).close]


def _askers(oms: Oms, posts: list[Post]) -> dict[str, Asker]:
    askers = {}
    for party, post in zip(oms.counterparty, posts, strict=True):
        if not party.format.startswith("multispeak"):
            continue
        secret = read_secret(party.asks_password_file)
        account = None if party.asks_user is None or secret is None else (party.asks_user, secret)
        askers[party.name] = Asker(party.name, post.outbox, party.url, account)
    return askers


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)
