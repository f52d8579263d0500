"""What a check before training found in a part of the data: each fault, how often, and where first."""

from dataclasses import dataclass, field
from typing import Any

_FIRST = 5  # places of a fault that are named


@dataclass
class Finding:
    """How often something odd was found, and where first."""

    what: str
    count: int = 0
    places: list[str] = field(default_factory=list)

    def first(self, short: bool = True) -> str:
        """Where first, for people; short: files without their folders."""
        places = [place.rsplit("/", 1)[-1] if short else place for place in self.places]
        return ", ".join([*places, "..."] if self.count > len(places) > 0 else places)


@dataclass
class Section:
    """A part, "train", "validation" or the name of a test set; each kind of data adds what it counts.

    findings: the faults by what they are
    """

    part: str
    findings: dict[str, Finding] = field(default_factory=dict, kw_only=True)

    def note(self, what: str, *places: str) -> None:
        """Count a fault at each of the places; one without a name is counted only."""
        for place in places:
            finding = self.findings.setdefault(what, Finding(what))
            finding.count += 1
            if place and len(finding.places) < _FIRST:
                finding.places.append(place)

    def told(self, short: bool = True) -> list[str]:
        """A line for each fault, for people; short: files without their folders."""
        return [
            f"{finding.count:,} {finding.what}" + (f": {first}" if (first := finding.first(short)) else "")
            for finding in self.findings.values()
        ]

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return vars(self) | {"findings": [vars(finding) for finding in self.findings.values()]}
