"""The command `ami`: finds the verb, and turns every failure into one line and an exit code.

0: done. 1: the work itself failed. 2: unusable arguments, files or configuration; nothing was written.
"""

import resource
import sys
from collections.abc import Sequence

import typer
import typer.exceptions

from app.allocator import keep_freed_memory
from app.commands import REGISTER
from schemas.errors import AmiError, ContractError

ami = typer.Typer(
    name="ami",
    help="Head end and meter data management: DLMS/COSEM pushes to validated intervals, outages and billing files.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@ami.callback()
def _ami() -> None:
    """Head end and meter data management: DLMS/COSEM pushes to validated intervals, outages and billing files."""


for _register in REGISTER:
    _register(ami)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code.

    Args:
        arguments: Without the program's name; those of the process where None.
    """
    keep_freed_memory()
    _leave_no_core()
    try:
        code = ami(args=list(sys.argv[1:] if arguments is None else arguments), standalone_mode=False)
    except typer.exceptions.TyperException as error:
        return _fail(" ".join(error.format_message().split()), 2)
    except ContractError as error:
        return _fail(str(error), 2)
    except AmiError as error:
        return _fail(f"{type(error).__name__}: {error}", 1)
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return _fail("interrupted", 1)
    return code if isinstance(code, int) else 0


def _leave_no_core() -> None:
    """A process that dies leaves no file of its memory: meter keys lie in it.

    One byte is less than any core has, and the one limit that a program which collects cores heeds as well (core(5)).
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (1 if hard else 0, hard))


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"ami: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
