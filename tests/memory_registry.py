"""The part of MLflow's registry client that moves champions, in memory; it can be killed between two calls."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from search.settings import Settings


class Killed(BaseException):
    """The process died."""


class Page(list[Any]):
    token = None


class MemoryRegistry:
    """One model. `left`: calls that change something before the process dies; None: it lives."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self.left: int | None = None
        self.seen: list[str] = []  # what changed

    def make(self, count: int) -> None:
        self.versions |= {str(number): {} for number in range(1, count + 1)}

    def _change(self, what: str) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Killed
            self.left -= 1
        self.seen.append(what)

    # reading

    def search_registered_models(self, page_token: str | None = None) -> Page:
        return Page([SimpleNamespace(name="m")])

    def search_model_versions(self, filter_string: str, page_token: str | None = None) -> Page:
        assert filter_string == "name = 'm'"
        return Page(
            SimpleNamespace(
                name="m",
                version=number,
                tags=tags,
                creation_timestamp=0,
                source=f"models:/m-{number}",
                run_id="r",
            )
            for number, tags in self.versions.items()
        )

    def get_registered_model(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(aliases=dict(self.aliases), tags=dict(self.tags))

    # changing

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        assert version in self.versions
        self._change(f"@{alias}={version}")
        self.aliases[alias] = version

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._change(f"@{alias}=")
        del self.aliases[alias]

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self._change(f"{key}={value}")
        self.tags[key] = value

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        self._change(f"{key}=")
        del self.tags[key]

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self._change(f"/{version} {key}={value}")
        self.versions[version][key] = value

    def state(self) -> tuple[Any, ...]:
        """All that a later reader can see."""
        return self.aliases, self.tags, self.versions


def connected(memory: MemoryRegistry) -> Callable[..., Any]:
    """In the place of `registry.connected`."""

    @contextmanager
    def connect(settings: Settings, *, create: bool = False) -> Iterator[MemoryRegistry]:
        yield memory

    return connect
