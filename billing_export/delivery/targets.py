"""Where billing files go, as a file says it: one `[target]` of kind `folder`, `sftp` or `s3`."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from billing_export.delivery.courier import Parcel, Target
from billing_export.delivery.folder import place_file, stands_there
from billing_export.delivery.s3 import S3Settings, S3Target
from billing_export.delivery.sftp import SftpSettings, SftpTarget
from schemas.errors import ContractError, TransientError


class FolderSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="folder"):
    """A folder of this machine, a mounted share among them."""

    folder: str


Settings = FolderSettings | SftpSettings | S3Settings


class TargetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A TARGET.toml."""

    target: Settings


def parse_target(text: str, name: str) -> Settings:
    """The target in that TOML text.

    Raises:
        ContractError: Not TOML, an unknown kind or setting, a wrong type.
    """
    try:
        return msgspec.toml.decode(text, type=TargetFile).target
    except msgspec.MsgspecError as error:
        raise ContractError(f"{name}: {error}") from error


def open_target(settings: Settings, folder: str, now: Callable[[], datetime]) -> Target:
    """The target, connected, ready to take the files of one batch.

    Args:
        settings: Where to.
        folder: Name of the batch's own folder there.
        now: Clock, where requests carry their time.

    Raises:
        ContractError: A key cannot be read, or a package is not installed.
        TransientError: The target is away.
        TerminalError: It is not the one that is pinned, or refuses us.
    """
    match settings:
        case SftpSettings():
            return SftpTarget(settings, folder)
        case S3Settings():
            return S3Target(settings, folder, now)
        case _:
            return FolderTarget(Path(settings.folder) / folder)


class FolderTarget:
    """`courier.Target` on a file system. A file is copied under a temporary name; on a broken copy it is made again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TransientError(f"{folder}: {error.strerror or error}") from error

    def stands(self, parcel: Parcel) -> bool:
        """See `courier.Target`."""
        return stands_there(self._folder / parcel.name, parcel.size, parcel.sha256)

    def send(self, parcel: Parcel) -> None:
        """See `courier.Target`."""
        try:
            place_file(self._folder / parcel.name, parcel.path)
        except OSError as error:
            raise TransientError(f"{self._folder}: {error.strerror or error}") from error

    def withdraw(self, name: str) -> None:
        """See `courier.Target`."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise TransientError(f"{self._folder}: {error.strerror or error}") from error

    def close(self) -> None:
        """See `courier.Target`: there is nothing to give back."""
