"""Invocations that wait for others, handed in together: chains, groups, chords, maps, and any other graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from .dependency import After, several
from .errors import CeleriacError
from .options import Options, wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .client import AsyncClient
    from .decode import Decoder
    from .handle import Handle
    from .names import TaskRef
    from .task import Task

T = TypeVar("T", default=Any)


def output_of(number: int) -> dict[str, int]:
    """What stands for the output of parent number `number`, from 0, anywhere in the input of a step that waits."""
    return {"$output": number}


def outputs() -> dict[str, bool]:
    """What stands for the outputs of all parents, in order."""
    return {"$outputs": True}


def outcome_of(number: int) -> dict[str, int]:
    """What stands for all that parent number `number` came to: `id`, `code`, `output` and `failure`."""
    return {"$outcome": number}


class Step(Generic[T]):
    """One invocation of a flow. It has a handle once the flow was submitted."""

    def __init__(self, task: Task[T], input: Any, after: Sequence[Step[Any] | After]) -> None:
        parts = task.parts()
        self.ref: TaskRef = parts[0]
        self.decoder: Decoder = parts[1]
        self.options: Options = parts[2]
        self.input = input
        self._after = after
        self._handle: Handle[T] | None = None

    @property
    def handle(self) -> Handle[T]:
        """The handle."""
        if self._handle is None:
            raise CeleriacError("the flow has not been submitted: `await flow.submit()` comes first")
        return self._handle

    @handle.setter
    def handle(self, handle: Handle[T]) -> None:
        self._handle = handle

    @property
    def id(self) -> str:
        """The id, once the flow was submitted."""
        return self.handle.id

    def wire(self) -> dict[str, Any]:
        """The options as they stand in the header, with the steps that it waits for; those have their ids by now.

        These come first: the numbers in its input, such as `output_of(0)`, count them, whatever its task waits for
        besides.
        """
        after = [*self._after, *several("after", self.options.get("after"))]
        return wire(self.options | {"after": after}) if after else wire(self.options)


class Flow:
    """Invocations that wait for others. Nothing is sent before `submit`.

    A step waits for steps that were added before it, or for any invocation with the option `after` of its task.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._steps: list[Step[Any]] = []

    def add(self, task: Task[T], input: Any = None, *, after: Sequence[Step[Any] | After] = ()) -> Step[T]:
        """Adds one step. Its input may refer to what it waits for: `output_of(0)`, `outputs()`, `outcome_of(0)`.

        The steps in `after` are counted first, and behind them what the option `after` of its task names.
        """
        step = Step(task, input, after)
        self._steps.append(step)
        return step

    def then(self, parent: Step[Any], task: Task[T]) -> Step[T]:
        """Adds a step that gets the output of `parent` as its input."""
        return self.add(task, output_of(0), after=[parent])

    def chain(self, input: Any, *tasks: Task[Any]) -> Step[Any]:
        """Adds a chain: the first task gets `input`, each other the output of the one before. The last step."""
        if not tasks:
            raise TypeError("a chain has one task at least")
        step = self.add(tasks[0], input)
        for task in tasks[1:]:
            step = self.then(step, task)
        return step

    def map(self, task: Task[T], inputs: Iterable[Any]) -> list[Step[T]]:
        """Adds one step for each input."""
        return [self.add(task, input) for input in inputs]

    def chord(self, members: Sequence[Step[Any]], task: Task[T]) -> Step[T]:
        """Adds a step that gets the outputs of all `members`, in order, as one list; of none it is `[]`."""
        # By their numbers: `outputs()` would add those of what the task waits for besides, and of none is no list.
        return self.add(task, [output_of(number) for number in range(len(members))], after=list(members))

    async def submit(self) -> list[Handle[Any]]:
        """Hands in all steps; their handles, in the order in which they were added."""
        steps, self._steps = self._steps, []
        await self._client.hand_in_steps(steps)
        return [step.handle for step in steps]
