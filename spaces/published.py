"""What a preset says of the system that it reads: on which data, what was reported, by which protocol."""

from dataclasses import dataclass, fields

PROTOCOLS = ("random clips", "random windows", "best validation", "best on test", "last on test")


@dataclass(frozen=True)
class Published:
    """The published figure of a system. Raises ValueError for a protocol that is not known."""

    data: str  # the set that it was measured on
    protocol: str  # one of `PROTOCOLS`: what `run --as-published` does again
    reported: str = ""  # in the words of the source; "" where it gives none

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol {self.protocol!r}, known: {', '.join(PROTOCOLS)}")


KEYS = tuple(item.name for item in fields(Published))
NEEDED = ("data", "protocol")
