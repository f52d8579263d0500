"""The README of a model folder: what the model is, what it was trained on, how good it is, how it is used."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heedful.tasks.model_folder import ModelConfig

SCORES = "scores"
"""The key of `trained` under which the scores of each test set are."""


def model_card(config: "ModelConfig", parameters: int) -> str:
    """Give the card in Markdown, of a model with that many parameters."""
    facts = {key: value for key, value in config.trained.items() if key != SCORES}
    parts = [
        f"# {config.model.architecture.capitalize()}, {config.title()}",
        f"A model for {config.task} with {parameters:,} parameters, made with heedful {config.heedful}.",
        _facts("Model", {**config.model.model_dump(mode="json"), **config.facts()}),
        _facts("Training", facts),
        _scores(config.trained.get(SCORES) or {}),
        _use(config),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _use(config: "ModelConfig") -> str:
    install = "With `PATH` the folder that this file is in:\n\n    pip install heedful"
    return f"## Use\n\n{install}\n{config.use} Loading runs no code from it."


def _facts(title: str, facts: Mapping[str, Any]) -> str:
    """A section with a line for each fact; those within facts follow, indented."""
    if not facts:
        return ""
    return "\n".join([f"## {title}\n", *_lines(facts, "")])


def _lines(facts: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in facts.items():
        if value is None:
            continue
        name = f"{indent}- {str(key).replace('_', ' ')}:"
        if isinstance(value, Mapping):
            lines += [name, *_lines(value, indent + "  ")]
        else:
            lines.append(f"{name} {_text(value)}")
    return lines


def _text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.6g}"
        case list() | tuple():
            return ", ".join(map(_text, value))
    return " ".join(str(value).split())


def _scores(tests: Mapping[str, Any]) -> str:
    """A table of scores, each as `Score.to_dict()` gives it, with signatures: without one a score means little."""
    if not tests:
        return ""
    rows = ["| test set | metric | score | 95% interval | signature |", "|---|---|---|---|---|"]
    for name, scores in tests.items():
        for score in scores:
            low, high = score.get("low"), score.get("high")
            interval = "" if low is None or high is None else f"{low:.1f} to {high:.1f}"
            cells = [name, score["label"], f"{score['value']:.2f}", interval, f"`{score['signature']}`"]
            # A bar would end the cell; signatures use it between their parts.
            rows.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(["## Scores\n", *rows])
