"""The part of the configuration that speaks of outage systems: what each takes, where it is, and who we are to it."""

from typing import Annotated, Literal

import msgspec

from outage.breaker import RetryParams
from outage.messages.tables import DEFAULT_TABLE, code_table
from outage.oms import LOOPBACK, check_address
from schemas.bounds import ListenPort, Pause
from schemas.errors import ContractError


class Counterparty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An outage system: what it takes, where it is, and how we introduce ourselves. Files are PEM, or hold one line."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9_-]*$")]
    """Of its outbox, and of the path under which it asks us."""
    format: Literal["cim-json", "iec61968", "multispeak3", "multispeak41", "odin"]
    url: str
    timeout_s: Pause = 10.0
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    company: str = ""
    user: str = ""
    password_file: str | None = None
    """With company and user: the account in the MultiSpeak header of what we send."""
    asks_user: str | None = None
    asks_password_file: str | None = None
    """The account in the MultiSpeak header of what it asks us."""
    code_table: str = DEFAULT_TABLE
    code_tables_file: str | None = None
    """Tables of one's own; without it those of the package."""
    source: str = "HES"
    context: str = "PRODUCTION"
    communities: dict[str, str] = {}
    """ODIN: community (FIPS) by node."""
    disclaimer: str | None = None
    retry: RetryParams = RetryParams()


class OmsListen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where outage systems ask us; `POST /<name of the counterparty>`. Beyond this machine over TLS only."""

    bind: str = "127.0.0.1"
    port: ListenPort = 8443
    certificate_file: str | None = None
    key_file: str | None = None
    client_ca_file: str | None = None
    """Only clients whose certificates it signed are served."""


class Oms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Delivery to outage systems. The folder holds their outboxes: it must outlive the worker."""

    folder: str = "oms"
    counterparty: list[Counterparty] = []
    listen: OmsListen | None = None
    tick_seconds: Pause = 5.0
    """In silence, requests whose time is over are looked for this often."""


def check_oms(oms: Oms) -> None:
    """Each outage system is named once and reached as it says, and none that could be another is believed.

    Raises:
        ContractError: Settings that contradict each other, or lack what they need.
    """
    names = [party.name for party in oms.counterparty]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ContractError(f"oms.counterparty: {twice!r} stands there twice")
    for party in oms.counterparty:
        _check_party(party)
    listen = oms.listen
    if listen is None:
        return
    if (listen.certificate_file is None) != (listen.key_file is None):
        raise ContractError("oms.listen: certificate_file and key_file belong together")
    if listen.bind in LOOPBACK:
        return
    if listen.certificate_file is None:
        raise ContractError(f"oms.listen.bind {listen.bind!r}: beyond this machine a certificate_file is needed")
    open_to_all = next((p.name for p in oms.counterparty if _asks(p) and p.asks_password_file is None), None)
    if open_to_all is not None:
        raise ContractError(
            f"oms.counterparty {open_to_all!r}: what it says suppresses outages: asks_user and asks_password_file are"
            " needed where others can reach the listener"
        )


def _asks(party: Counterparty) -> bool:
    """MultiSpeak alone has requests that we serve."""
    return party.format.startswith("multispeak")


def _check_party(party: Counterparty) -> None:
    where = f"oms.counterparty {party.name!r}"
    try:
        check_address(party.url)
    except ContractError as error:
        raise ContractError(f"{where}: {error}") from error
    if (party.certificate_file is None) != (party.key_file is None):
        raise ContractError(f"{where}: certificate_file and key_file belong together")
    if _asks(party) and not (party.company and party.user and party.password_file):
        raise ContractError(f"{where}: company, user and password_file are needed for {party.format}")
    if (party.asks_user is None) != (party.asks_password_file is None):
        raise ContractError(f"{where}: asks_user and asks_password_file belong together")
    if party.code_tables_file is None:
        code_table(party.code_table)
