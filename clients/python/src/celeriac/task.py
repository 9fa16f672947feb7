"""One task with its options, ready to be called any number of times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar, Unpack

from .gather import gather
from .options import Options, merged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .client import AsyncClient
    from .decode import Decoder
    from .handle import Handle
    from .names import TaskRef

T = TypeVar("T", default=Any)


class NoInput:
    """Stands for an input that was not given; `None` is one."""


NO_INPUT = NoInput()


def one_input(task: str, input: Any, fields: dict[str, Any]) -> Any:
    """A task takes one input: the value itself, or an object made of keyword arguments. Without either it is null."""
    if input is NO_INPUT:
        return fields or None
    if fields:
        raise TypeError(f"{task} takes one input: pass a value or keyword arguments, not both")
    return input


class Task(Generic[T]):
    """A task to call: `await task(width=100)`. Made by `client.task`."""

    __slots__ = ("_client", "_decoder", "_options", "_ref")

    def __init__(self, client: AsyncClient, ref: TaskRef, decoder: Decoder, options: Options) -> None:
        self._client = client
        self._ref = ref
        self._decoder = decoder
        self._options = options

    @property
    def name(self) -> str:
        """The task as it was named."""
        return self._ref.text

    def __repr__(self) -> str:
        return f"Task({self.name!r})"

    def parts(self) -> tuple[TaskRef, Decoder, Options]:
        """What it is made of."""
        return self._ref, self._decoder, self._options

    def options(self, **options: Unpack[Options]) -> Task[T]:
        """The same task with other options."""
        return Task(self._client, self._ref, self._decoder, merged(self._options, options))

    async def __call__(self, input: Any = NO_INPUT, /, **fields: Any) -> T:
        """Runs the task and awaits its output. Keyword arguments are the fields of the input."""
        handle = await self.delay(input, **fields)
        return await handle.result()

    async def delay(self, input: Any = NO_INPUT, /, **fields: Any) -> Handle[T]:
        """Hands in an invocation. When this returns it is stored and will run, whatever happens to this process."""
        made = one_input(self.name, input, fields)
        return await self._client.hand_in(self._ref, made, self._decoder, self._options)

    async def apply_async(self, args: Any = None, **options: Unpack[Options]) -> Handle[T]:
        """As `delay`, with options of this call; `args` is the input."""
        return await self._client.hand_in(self._ref, args, self._decoder, merged(self._options, options))

    async def submit_all(self, inputs: Iterable[Any], **options: Unpack[Options]) -> list[Handle[T]]:
        """Hands in many invocations, in order. They travel in as few requests as fit."""
        return await self._client.hand_in_all(self._ref, inputs, self._decoder, merged(self._options, options))

    async def map(self, inputs: Iterable[Any], **options: Unpack[Options]) -> list[T]:
        """Runs the task on each input and awaits all outputs, in the order of the inputs."""
        return await gather(*await self.submit_all(inputs, **options))
