"""Looking into memory networks: a question looks at facts, hop after hop."""

from typing import Any

from heedful.data.babi import Fact, Question
from heedful.errors import DataError
from heedful.tasks.recall_folder import Answerer
from heedful.tasks.recalling import remembered
from heedful.viewing.looks.maps import maps_of
from heedful.viewing.looks.opened import Ask, Opened, run_of, watched
from heedful.viewing.looks.text import listed
from heedful.viewing.scene import Axis, Scene, Token

_STORY = "Mary moved to the bathroom.\nJohn went to the hallway.\nMary travelled to the office."


class OpenMemory(Opened):
    """A memory network, open to be looked into.

    Facts stand in the story one a line; with a tab between, what a fact is found by and what it tells.
    """

    title, task = "Answers over facts", "recall"

    def __init__(self, model: Answerer) -> None:
        self.model, self.network = model, model.model
        self.asks = (
            Ask("story", "Facts, one a line", example=_STORY),
            Ask("question", "Question", example="Where is Mary?"),
        )

    def _look(self, texts: dict[str, str], **_: Any) -> Scene:
        model, network = self.model, self.network
        facts = [_fact(line.strip(" ")) for line in texts["story"].splitlines() if line.strip()]
        question = Question(tuple(facts), texts["question"].strip())
        with watched(network) as noted:
            answer = model.predict(
                [(fact.key, fact.text) if fact.key else fact.text for fact in facts], question.text
            )
        (memories,) = noted.arguments
        kept = [facts[place] for place in remembered(question, network.settings)]
        chances = (answer.answer, answer.probability), *answer.others
        return Scene(
            model=self.title,
            texts=texts,
            axes={
                "question": Axis("question", "Question", (Token(question.text, 0),)),
                "facts": Axis(
                    "facts", "Facts", tuple(Token(_told(fact), place) for place, fact in enumerate(kept))
                ),
            },
            maps=maps_of(network, noted.seen, lambda _: ("memory", "question", "facts")),
            run=run_of(network, lambda rows: network(memories)[0][rows]),
            outputs=("question", [model.vocabulary.entries.index(answer.answer)]),
            answer=listed("Answer", *zip(*chances, strict=True)),
            facts={
                "taken": [answer.answer],
                "unknown": list(answer.unknown),
                "forgotten": len(facts) - len(kept),
            },
        )


def _fact(line: str) -> Fact:
    """Read a line: a fact, or how it is found and what it tells with a tab between; bAbI's number is passed over."""
    number, _, rest = line.partition(" ")
    line = rest if number.isdecimal() and rest else line
    key, tab, value = line.partition("\t")
    if tab and not (key.strip() and value.strip()):
        raise DataError(f"The fact {line!r} has a tab, but nothing on one side of it.")
    return Fact(value.strip(), key.strip()) if tab else Fact(line)


def _told(fact: Fact) -> str:
    return f"{fact.key} → {fact.text}" if fact.key else fact.text
