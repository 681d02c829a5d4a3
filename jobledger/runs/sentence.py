"""Text that marks the parts which name a run or a schedule, so that pages can turn them into links."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of text, with the id of the run or schedule that it names."""

    text: str
    run_id: str = ""
    schedule_id: str = ""


@dataclass(frozen=True)
class Sentence:
    """Text made of parts."""

    parts: tuple[Part, ...] = ()

    def __add__(self, other: "Phrase") -> "Sentence":
        return Sentence(self.parts + _parts(other))

    def __radd__(self, other: str) -> "Sentence":
        return Sentence(_parts(other) + self.parts)

    def __str__(self) -> str:
        return "".join(part.text for part in self.parts)

    def __bool__(self) -> bool:
        return any(part.text for part in self.parts)


Phrase = Sentence | str


def named_run(run_id: str) -> Sentence:
    """A run's short id."""
    return Sentence((Part(text=run_id[:8], run_id=run_id),))


def named_schedule(name: str, schedule_id: int | None) -> Sentence:
    """A schedule's name."""
    return Sentence((Part(text=name, schedule_id=str(schedule_id or "")),))


def _parts(phrase: Phrase) -> tuple[Part, ...]:
    return phrase.parts if isinstance(phrase, Sentence) else (Part(text=phrase),)
