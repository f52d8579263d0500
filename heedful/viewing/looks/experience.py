"""Looking into SNAIL: at each step of an episode, which earlier steps it looks back at.

Of bandits and decision processes a step is what was told before an action: the last action and its reward, and the
state. Of few-shot tasks a step is an image with its label, the last one without.
"""

from pathlib import Path
from typing import Any

from heedful.tasks.bandits_folder import Agent
from heedful.tasks.few_shot_folder import Namer
from heedful.viewing.looks.maps import maps_of
from heedful.viewing.looks.opened import Ask, Opened, run_of, watched
from heedful.viewing.looks.text import listed
from heedful.viewing.scene import Axis, Scene, Token


class OpenAgent(Opened):
    """An agent that learnt to explore, open to be looked into."""

    title, task = "An agent that explores", "bandits"

    def __init__(self, model: Agent) -> None:
        self.model, self.network = model, model.model
        form, example = "action:reward ...", "2:1 0:0 2:1 2:0"
        if model.states:
            form, example = "state:action:reward ... state", "0:1:0 0:0:1 0"
        self.asks = (Ask("history", f"What was done so far, {form}", example=example),)

    def _look(self, texts: dict[str, str], **_: Any) -> Scene:
        model, network = self.model, self.network
        words = texts["history"].split()
        with watched(network) as noted:
            (advice,) = model.stream([" ".join(words)])
        (read,) = noted.arguments
        done = [word for word in words if ":" in word]
        actions = [int(word.split(":")[-2]) for word in done]
        steps = [Token("start", 0), *(Token(word, place) for place, word in enumerate(done, 1))]
        chances = sorted(enumerate(advice.probabilities), key=lambda one: -one[1])
        return Scene(
            model=self.title,
            texts=texts,
            axes={"steps": Axis("steps", "Steps, action and reward", tuple(steps))},
            maps=maps_of(network, noted.seen, lambda _: ("decoder", "steps", "steps")),
            run=run_of(network, lambda rows: network(read)[0][0, rows]),
            inputs={"steps": network.input},
            outputs=("steps", [*actions, advice.action]),
            facts={"taken": [f"action {action}" for action in (*actions, advice.action)]},
            answer=listed(
                "Next action", [str(action) for action, _ in chances], [chance for _, chance in chances]
            ),
        )


class OpenNamer(Opened):
    """A few-shot model that names images, open to be looked into."""

    title, task = "Names of images after a few examples", "few-shot"

    def __init__(self, model: Namer) -> None:
        self.model, self.network = model, model.model
        self.asks = (
            Ask("examples", "Folder with a folder of images for each class"),
            Ask("image", "Image to name"),
        )

    def _look(self, texts: dict[str, str], **_: Any) -> Scene:
        model, network = self.model, self.network
        examples, image = texts["examples"].strip(), texts["image"].strip()
        with watched(network) as noted:
            (answer,) = model.predict(examples, [image])
        images, labels, asked = noted.arguments
        names = list(answer.probabilities)
        steps = [Token(names[label], place) for place, label in enumerate(labels[0].tolist())]
        steps.append(Token(f"{Path(image).name}?", len(steps)))
        chances = sorted(answer.probabilities.items(), key=lambda one: -one[1])
        return Scene(
            model=self.title,
            texts=texts,
            axes={
                "steps": Axis("steps", "Images and their labels", tuple(steps)),
                "image": Axis("image", "Image to name", (steps[-1],)),
            },
            maps=maps_of(network, noted.seen, lambda _: ("decoder", "steps", "steps")),
            run=run_of(network, lambda rows: network(images, labels, asked)[0, rows]),
            outputs=("image", [names.index(answer.name)]),
            facts={"taken": [answer.name]},
            answer=listed("Name", *zip(*chances, strict=True)),
        )
