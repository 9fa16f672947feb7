"""What an invocation waits for, and what follows its end."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .errors import InvalidArgument
from .ids import check_id
from .names import task_ref

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The most that one invocation waits for, the most that follows its end, and the longest URL that is told of it.
MAX_PARENTS, MAX_CALLBACKS, MAX_URL = 1_000, 16, 2_048

#: The ends that may be waited for.
ENDS = ("success", "failure", "done")

#: The options that name what follows an end.
_FOLLOWS = (("success", "on_success"), ("failure", "on_failure"), ("done", "on_complete"))


class HasId(Protocol):
    """A handle."""

    @property
    def id(self) -> str:
        """The invocation's id."""


@dataclass(frozen=True)
class After:
    """An invocation that another waits for, and the end that it waits for."""

    parent: HasId | str
    #: `success`; `failure`: it fails or expires; `done`: any end.
    on: Literal["success", "failure", "done"] = "success"

    def wire(self) -> dict[str, str]:
        """As it stands in a header."""
        if self.on not in ENDS:
            raise InvalidArgument("on within after", repr(self.on), "`success`, `failure` or `done`")
        id: Any = self.parent if isinstance(self.parent, str) else getattr(self.parent, "id", self.parent)
        made = {"id": check_id(id, "after")}
        return made if self.on == "success" else made | {"on": self.on}


def several(name: str, given: Any) -> list[Any]:
    """The items of an option that takes one or several."""
    if given is None:
        return []
    if isinstance(given, str) or not isinstance(given, Iterable):
        return [given]
    if not isinstance(given, Collection):
        # Options hold for each call of a task, and are looked at before.
        raise InvalidArgument(name, repr(given), "a list: an iterator would be used up by the first call")
    return list(given)


def parents(given: Any) -> list[dict[str, str]]:
    """What the option `after` names, as it stands in a header."""
    made = [(one if isinstance(one, After) else After(one)).wire() for one in several("after", given)]
    if len(made) > MAX_PARENTS:
        expected = f"at most {MAX_PARENTS}: let some of them wait for parts of it, and this one for those"
        raise InvalidArgument("after", f"{len(made)} invocations", expected)
    seen: set[str] = set()
    for edge in made:
        if edge["id"] in seen:
            raise InvalidArgument("after", edge["id"], "each invocation at most once")
        seen.add(edge["id"])
    return made


def callbacks(options: Mapping[str, Any]) -> list[dict[str, str]]:
    """What follows an end, as it stands in a header."""
    made = [{"on": on, "to": _target(name, to)} for on, name in _FOLLOWS for to in several(name, options.get(name))]
    if len(made) > MAX_CALLBACKS:
        named = ", ".join(name for _, name in _FOLLOWS if options.get(name) is not None)
        raise InvalidArgument(named, f"{len(made)} callbacks", f"at most {MAX_CALLBACKS} together")
    return made


def _target(name: str, to: Any) -> str:
    """A task, or a URL. Whether there is such a task the broker knows."""
    try:
        if isinstance(to, str) and (_is_url(to) if "://" in to else task_ref(to)):
            return to
    except InvalidArgument:
        pass
    expected = (
        "MODULE/TASK such as `mail/send`, "
        f"or `https://HOST…` or `http://HOST…` of at most {MAX_URL} ASCII characters without spaces"
    )
    raise InvalidArgument(name, to if isinstance(to, str) else repr(to), expected)


def _is_url(text: str) -> bool:
    is_plain = all("!" <= char <= "~" for char in text)
    scheme, _, rest = text.partition("://")
    # The host stands behind a user's name and before a port.
    host = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    names_host = bool(host) and not host.startswith(":")
    return scheme in ("https", "http") and names_host and is_plain and len(text) <= MAX_URL
