"""A call carried out beside its caller, by a thread that never holds the end of the process up."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


def beside(call: Callable[[], Result], name: str) -> Future[Result]:
    """What the call will have returned or raised. Its thread is a daemon: one that hangs in a call is left behind."""
    done: Future[Result] = Future()

    def carry() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  whatever it is, who asks for the result raises it
            done.set_exception(error)
        else:
            done.set_result(result)

    Thread(target=carry, name=name, daemon=True).start()
    return done
