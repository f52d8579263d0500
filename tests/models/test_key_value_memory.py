"""The key-value memory network against the equations of Miller et al. 2016 written out."""

import torch

from heedful import observe
from heedful.models.key_value_memory import KeyValueMemory, KeyValueMemorySettings
from heedful.models.memories import Memories

VOCABULARY, WIDTH = 9, 4
SENTENCES = torch.tensor([[1, 2, 3], [4, 2, 0], [5, 0, 0], [6, 7, 8]])
MEMORIES = Memories(
    SENTENCES,
    torch.tensor([[0, 1, 0], [2, -1, -1]]),
    torch.tensor([3, 1]),
    torch.tensor([[2, 3, 1], [0, -1, -1]]),
)


def small(**choices) -> KeyValueMemory:
    model = KeyValueMemory(KeyValueMemorySettings(d_model=WIDTH, hops=2, **choices), VOCABULARY).double()
    torch.nn.init.normal_(model.maps)
    return model.eval()


@torch.no_grad()
def test_it_is_the_equations():
    model = small()
    logits = model(MEMORIES)
    for row, (keys, values, question) in enumerate((([0, 1, 0], [2, 3, 1], 3), ([2], [0], 1))):

        def bag(number: int) -> torch.Tensor:
            return sum(model.words[0, word] for word in SENTENCES[number].tolist() if word)

        q = bag(question)
        for hop in range(2):
            p = torch.stack([q @ bag(key) for key in keys]).softmax(0)
            o = sum(weight * bag(value) for weight, value in zip(p, values, strict=True))
            q = model.maps[0, hop] @ (q + o)
        torch.testing.assert_close(logits[0, row], model.answers[0] @ q, rtol=0, atol=1e-12)


@torch.no_grad()
def test_without_values_facts_are_their_own_keys():
    model = small()
    alone = Memories(SENTENCES, MEMORIES.keys, MEMORIES.questions)
    same = Memories(SENTENCES, MEMORIES.keys, MEMORIES.questions, MEMORIES.keys)
    torch.testing.assert_close(model(alone), model(same))


@torch.no_grad()
def test_each_hop_is_seen_and_starts_are_apart():
    model = small(starts=2)
    with observe(model) as seen:
        logits = model(MEMORIES)
    assert list(seen) == ["hops.0", "hops.1"]
    for start in range(2):
        torch.testing.assert_close(model.best(start)(MEMORIES)[0], logits[start], rtol=0, atol=1e-12)


def test_it_has_as_many_numbers_as_the_paper_says():
    numbers = sum(parameter.numel() for parameter in small().parameters())
    assert numbers == 2 * VOCABULARY * WIDTH + 2 * WIDTH**2  # A, B and R of each hop
