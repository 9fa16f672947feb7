"""The functions of this project that run elsewhere, declared as they are called here."""

from results.background import async_function

from celeriac import SyncHandle


def tell(handle: SyncHandle) -> None:
    """The default callback of `nap`."""
    print(f"{handle.id} has ended")


@async_function("basics/sleep", callback=tell)
def nap(seconds: float, steps: int = 1) -> dict[str, object]:
    """Sleeps. The body is a task of the module `basics`; this is its signature."""
    raise NotImplementedError


@async_function("basics/fail")
def fail(message: str) -> None:
    """Fails."""
    raise NotImplementedError
