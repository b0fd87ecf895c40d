"""Delivery by SFTP: one pinned host key, a temporary name, the bytes read back, one atomic rename.

Needs the extra `sftp` (the package `asyncssh`).
"""

import asyncio
import contextlib
import hashlib
import importlib
import posixpath
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from billing_export.delivery.courier import BLOCK, Parcel
from schemas.errors import ContractError, TerminalError, TransientError

T = TypeVar("T")
_DIGEST_IN_NAME: Final = 16
"""Characters of the SHA-256 in a temporary name: the beginning of another content is never continued."""


class SftpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="sftp"):
    """Where to, and as whom. Keys are files, never values.

    Args:
        host: Name or address of the server.
        user: Account.
        key_file: Private key of the account (OpenSSH or PEM, not encrypted).
        host_key_file: Public key of the server, one line as `ssh-keyscan` or its `.pub` file has it: any other key is
            refused, whoever vouches for it.
        folder: Folder on the server; each batch gets a folder of its own in it.
        port: TCP port.
        timeout_s: Limit for the connection, and for silence on it.
    """

    host: str
    user: str
    key_file: str
    host_key_file: str
    folder: str = "."
    port: int = 22
    timeout_s: float = 30.0


class SftpTarget:
    """`courier.Target` over SFTP. Blocking from outside; one connection, opened at once."""

    def __init__(self, settings: SftpSettings, folder: str) -> None:
        self._ssh: Any = _asyncssh()
        self._settings = settings
        self._folder = posixpath.join(settings.folder, folder)
        self._runner = asyncio.Runner()
        self._connection: Any = None
        self._sftp: Any = None
        try:
            self._run(self._open())
        except BaseException:
            self.close()
            raise

    def stands(self, parcel: Parcel) -> bool:
        """See `courier.Target`: the size, then every byte, read back."""
        return self._run(self._same(self._path(parcel.name), parcel))

    def send(self, parcel: Parcel) -> None:
        """See `courier.Target`."""
        self._run(self._send(parcel))

    def withdraw(self, name: str) -> None:
        """See `courier.Target`."""
        self._run(self._remove(self._path(name)))

    def close(self) -> None:
        """See `courier.Target`."""
        if self._connection is not None:
            self._connection.abort()
        self._runner.close()

    def _path(self, name: str) -> str:
        return posixpath.join(self._folder, name)

    async def _open(self) -> None:
        settings = self._settings
        self._connection = await self._ssh.connect(
            settings.host, settings.port, username=settings.user, client_keys=[_read_private(self._ssh, settings)],
            known_hosts=([_read_pinned(self._ssh, settings)], [], []), agent_path=None, config=(),
            preferred_auth="publickey", connect_timeout=settings.timeout_s, login_timeout=settings.timeout_s,
            keepalive_interval=settings.timeout_s / 2, keepalive_count_max=2,
        )  # fmt: skip
        self._sftp = await self._connection.start_sftp_client()
        await self._sftp.makedirs(self._folder, exist_ok=True)

    async def _send(self, parcel: Parcel) -> None:
        part = self._path(f".{parcel.name}.{parcel.sha256[:_DIGEST_IN_NAME]}.part")
        await self._upload(part, parcel)
        if not await self._same(part, parcel):
            # What an earlier attempt left was not the beginning of this file.
            await self._remove(part)
            await self._upload(part, parcel)
            if not await self._same(part, parcel):
                raise TransientError(f"{parcel.name}: read back from {self._settings.host}, it is not what was sent")
        await self._rename(part, self._path(parcel.name))
        await self._sweep(parcel.name)

    async def _upload(self, part: str, parcel: Parcel) -> None:
        size = await self._size(part)
        at = size if size is not None and size <= parcel.size else 0
        flags = self._ssh.FXF_WRITE | self._ssh.FXF_CREAT | (0 if at else self._ssh.FXF_TRUNC)
        async with self._sftp.open(part, flags, encoding=None) as there:
            with parcel.path.open("rb") as here:
                here.seek(at)
                while block := here.read(BLOCK):
                    await there.write(block, at)
                    at += len(block)
            with contextlib.suppress(self._ssh.SFTPOpUnsupported):  # a server without fsync@openssh.com syncs by itself
                await there.fsync()

    async def _same(self, path: str, parcel: Parcel) -> bool:
        if await self._size(path) != parcel.size:
            return False
        seen = hashlib.sha256()
        async with self._sftp.open(path, "rb") as there:
            while block := await there.read(BLOCK):
                seen.update(block)
        return seen.hexdigest() == parcel.sha256

    async def _size(self, path: str) -> int | None:
        try:
            size: int | None = (await self._sftp.stat(path)).size
        except self._ssh.SFTPNoSuchFile:
            return None
        return size

    async def _remove(self, path: str) -> None:
        with contextlib.suppress(self._ssh.SFTPNoSuchFile):
            await self._sftp.remove(path)

    async def _rename(self, part: str, target: str) -> None:
        try:
            await self._sftp.posix_rename(part, target)
        except self._ssh.SFTPOpUnsupported:
            # Plain SFTP never renames over a file. There is no manifest now, so nobody may look yet.
            await self._remove(target)
            await self._sftp.rename(part, target)

    async def _sweep(self, name: str) -> None:
        for left in await self._sftp.listdir(self._folder):
            if left.startswith(f".{name}.") and left.endswith(".part"):
                await self._remove(self._path(left))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        ssh, host = self._ssh, self._settings.host
        try:
            return self._runner.run(work)
        except ssh.HostKeyNotVerifiable as error:
            raise TerminalError(
                f"{host}: its host key is not the one in {self._settings.host_key_file}: nothing was sent. Ask its "
                "operator whether the key was changed before you change the pin"
            ) from error
        except ssh.PermissionDenied as error:
            raise TerminalError(f"{host}: user {self._settings.user!r} is refused: {error.reason}") from error
        except (ssh.SFTPPermissionDenied, ssh.SFTPNoSuchFile, ssh.SFTPNoSuchPath) as error:
            raise TerminalError(f"{host}: {self._folder}: {error.reason}") from error
        except (ssh.Error, OSError, TimeoutError) as error:
            raise TransientError(f"{host}: {type(error).__name__}: {error}") from error


def _asyncssh() -> Any:
    try:
        return importlib.import_module("asyncssh")
    except ModuleNotFoundError as error:
        raise ContractError("delivery by SFTP needs the extra: pip install 'ami-headend[sftp]'") from error


def _read_private(ssh: Any, settings: SftpSettings) -> Any:
    try:
        return ssh.read_private_key(settings.key_file)
    except (OSError, ssh.KeyImportError) as error:
        raise ContractError(f"key_file {settings.key_file}: {error}") from error


def _read_pinned(ssh: Any, settings: SftpSettings) -> Any:
    try:
        words = Path(settings.host_key_file).read_text().split()
        start = next(place for place, word in enumerate(words) if word.startswith(("ssh-", "ecdsa-")))
        return ssh.import_public_key(" ".join(words[start : start + 2]))
    except (OSError, StopIteration, ssh.KeyImportError) as error:
        raise ContractError(f"host_key_file {settings.host_key_file}: no public key in it ({error})") from error
