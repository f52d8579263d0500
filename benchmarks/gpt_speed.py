"""Claim: heedful trains a GPT faster than Hugging Face's Trainer and a loop written by hand, and writes text faster.

    python benchmarks/gpt_speed.py [--steps 100] [--rounds 3] [--threads 1] [--quick]
    python benchmarks/gpt_speed.py --writing [--sizes char small gpt2] [--tokens 200] [--samples 1 8] [--rounds 3]
    python benchmarks/gpt_speed.py --quality [--threads 2]

Training: tokens a second on tinyshakespeare, character by character, with nanoGPT's configuration for a CPU (4 layers,
4 heads, 128 channels, windows of 64, batches of 12, no dropout, AdamW, gradients clipped at 1). The sides:

- heedful: as `heedful train` makes its steps (in bfloat16 where that is native), the same model
- recipe: the same with the recipe `tinyshakespeare` (rotary positions, a higher rate)
- loop: the model and the loop that nanoGPT is known for, written out below in plain PyTorch, with its fused attention
- trainer: `GPT2LMHeadModel` of transformers by `transformers.Trainer`, loss and batches as it makes them

Generation (--writing): tokens a second of what `heedful generate` does, by its lean engine in float32 (lean) and in
int8, by the model in PyTorch (plain), and of transformers' `generate` with its cache: GPT-2 with 256 positions,
from a prompt of 16, top-k 50. Of three sizes: char (4 layers of 128, 65 entries), small (4 of 256, 10,000 entries), and
gpt2 (12 of 768, 50,257 entries: the smallest GPT-2).

Each side runs in a process of its own, since heedful sets up the allocator for its process; in each round all run one
after the other, their order turned from round to round. With one thread all is timed by the processor's time, which
other work on the machine disturbs less; else by the clock. Printed are medians, the spread (range / median), and the
median of the ratios to the first side within a round.

--quality trains `recipe` and `loop` to the end, 2,000 steps, and prints the loss of the whole validation text, in
windows side by side, as each side reads it, and the time. Needs $HEEDFUL_DATA or the network, and the extras bench and
accelerate.
"""

import argparse
import json
import math
import platform
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sides import Clock, clock, in_process, rounds, timed
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

LAYERS, HEADS, WIDTH, WINDOW, BATCH, STEPS = 4, 4, 128, 64, 12, 2000
ENTRIES, PROMPT, PLACES = 65, 16, 256
RATE, LEAST, WARMUP = 1e-3, 1e-4, 100  # nanoGPT's
TRAINING, WRITING = ("heedful", "recipe", "loop", "trainer"), ("lean", "int8", "plain", "transformers")
SIZES = {"char": (LAYERS, HEADS, WIDTH, ENTRIES), "small": (4, 4, 256, 10_000), "gpt2": (12, 12, 768, 50_257)}
Result = dict[str, float]


# --- heedful


def heedful_training(folder: Path, steps: int, clock: Clock, recipe: bool) -> Result:
    from heedful.machine import prepare, resolve_precision

    prepare(torch.get_num_threads())
    from rich.console import Console

    from heedful.tasks.language_modelling import LanguageModelling, surprise
    from heedful.training.progress import Progress
    from heedful.training.recipe import read
    from heedful.training.schedule import Schedule
    from heedful.training.step import Stepper, Totals

    plain = [
        ("model.positions", "learned"),
        ("model.attention_bias", "true"),
        ("training.schedule.rate", str(RATE)),
    ]
    settings: Any = read("tinyshakespeare", [] if recipe else plain)
    task = LanguageModelling(settings, folder, Progress(Console(quiet=True)))
    task.prepare()
    torch.manual_seed(1)
    model, training = task.build(), settings.training
    loss: Any = partial(task.loss, model, objective=training)
    stepper = Stepper(model, loss, training, "cpu", resolve_precision(training.precision, "cpu"))
    schedule, batches, totals = Schedule(training.schedule, WIDTH, training.steps), task.batches(1), Totals()

    def step(number: int) -> None:
        stepper.step(number, schedule.rate(number), [next(batches)], totals)

    found = trained(step, steps, clock)
    nats, tokens = (
        surprise(model.eval(), task.validation_batches()) if steps == STEPS else (np.ones(1), np.ones(1))
    )
    return {**found, "loss": nats.sum() / tokens.sum()}


# --- the loop by hand


class Block(nn.Module):
    """Pre-norm attention and feed-forward network."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.project, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.inner, self.outer = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        heads = self.project(self.norms[0](x)).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.outer(gelu(self.inner(self.norms[1](x))))


class GPT(nn.Module):
    """The whole model, its output tied to its table."""

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(entries, WIDTH), nn.Embedding(WINDOW, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.output = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, entries, bias=False)
        self.output.weight = self.table.weight
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim > 1:
                added = name.endswith(("out.weight", "outer.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * LAYERS) if added else 0.02)

    def forward(self, tokens: Tensor, following: Tensor) -> Tensor:
        x = self.table(tokens) + self.places(torch.arange(tokens.shape[1]))
        logits = self.output(self.norm(self.blocks(x)))
        return cross_entropy(logits.flatten(0, 1), following.flatten())


def loop_training(folder: Path, steps: int, clock: Clock) -> Result:
    torch.manual_seed(1)
    train, validation = texts()
    model = GPT(ENTRIES)
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=RATE,
        betas=(0.9, 0.99),
        fused=True,
    )

    def step(number: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate(number)
        starts = torch.randint(len(train) - WINDOW - 1, (BATCH,)).tolist()
        tokens = torch.stack([torch.from_numpy(train[start : start + WINDOW]) for start in starts])
        following = torch.stack([torch.from_numpy(train[start + 1 : start + WINDOW + 1]) for start in starts])
        loss = model(tokens, following)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    found = trained(step, steps, clock)
    return {**found, "loss": whole_loss(model, validation) if steps == STEPS else 0.0}


def rate(step: int) -> float:
    """Linear to the peak, half a cosine down to the least."""
    if step <= WARMUP:
        return RATE * step / WARMUP
    return LEAST + 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) * (RATE - LEAST)


@torch.no_grad()
def whole_loss(model: GPT, text: np.ndarray) -> float:
    """Nats a character of all of a text, in windows side by side."""
    total, count = 0.0, 0
    for start in range(0, len(text) - 1, WINDOW):
        window = torch.from_numpy(text[start : start + WINDOW + 1])[None]
        size = window.shape[1] - 1
        total, count = total + size * float(model(window[:, :-1], window[:, 1:])), count + size
    return total / count


def texts() -> tuple[np.ndarray, np.ndarray]:
    """The characters of train and validation as numbers (count,) int64."""
    from heedful.data.documents import read_documents
    from heedful.data.named_texts import named_text

    parts = [next(read_documents(text)).text for text in named_text("tinyshakespeare").values()]
    number = {character: place for place, character in enumerate(sorted(set("".join(parts))))}
    train, validation = (np.array([number[character] for character in part]) for part in parts)
    return train, validation


# --- transformers


def trainer_training(folder: Path, steps: int, clock: Clock) -> Result:
    from torch.utils.data import Dataset
    from transformers import Trainer, TrainerCallback, TrainingArguments

    train, _ = texts()

    class Windows(Dataset):
        def __len__(self) -> int:
            return (len(train) - 1) // WINDOW

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            tokens = torch.from_numpy(train[index * WINDOW : (index + 1) * WINDOW])
            return {"input_ids": tokens, "labels": tokens}

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(clock())

    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=BATCH,
        max_steps=steps + warm(steps),
        learning_rate=RATE,
        lr_scheduler_type="cosine",
        weight_decay=0.1,
        adam_beta2=0.99,
        save_strategy="no",
        logging_steps=100,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(model=gpt2(WINDOW, "char"), args=arguments, train_dataset=Windows(), callbacks=[Clock()]).train()
    return {"rate": steps * BATCH * WINDOW / (times[-1] - times[warm(steps) - 1]), "loss": 0.0}


def gpt2(places: int, size: str) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel, set_seed

    set_seed(1)
    layers, heads, width, entries = SIZES[size]
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=entries,
            n_positions=places,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=None,
            pad_token_id=0,
        )
    )


# --- writing


def writing(side: str, size: str, samples: int, count: int, clock: Clock) -> Result:
    torch.manual_seed(1)
    prompt = [5 + place for place in range(PROMPT)]
    if side == "transformers":
        model = gpt2(PLACES, size).eval()
        given = torch.tensor([prompt] * samples)

        def write(number: int) -> None:
            options = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": True, "top_k": 50}
            with torch.inference_mode():
                written = model.generate(given, attention_mask=torch.ones_like(given), **options)
            assert written.shape == (samples, PROMPT + count)
    else:
        from heedful.machine import prepare

        prepare(torch.get_num_threads())
        from heedful.decoding import SearchSettings
        from heedful.models.decoder_only import DecoderOnlyTransformer, gpt2_settings
        from heedful.tasks.continuing import continuations
        from heedful.tasks.engine import Engine

        layers, heads, width, entries = SIZES[size]
        sizes = {"d_model": width, "d_ff": 4 * width, "heads": heads, "layers": layers}
        own = gpt2_settings(**sizes, maximum_length=PLACES // 2)
        engine = (
            Engine("plain") if side == "plain" else Engine("lean", "int8" if side == "int8" else "float32")
        )
        ours = engine.of_texts(DecoderOnlyTransformer(own, entries, entries).eval())
        settings = SearchSettings(method="sample", top_k=50, minimum_length=count + 1)

        def write(number: int) -> None:
            found = continuations(ours, prompt, settings, count, PLACES, range(samples))
            assert all(len(each.tokens) == count for each in found)

    repeats = 3
    took = timed(write, repeats, clock, warm_up=1)
    return {"rate": repeats * samples * count / took, "loss": 0.0}


# --- both


def warm(steps: int) -> int:
    """Steps before the clock is started; none where a training is run to its end."""
    return 1 if steps == STEPS else 10


def trained(step: Callable[[int], None], steps: int, clock: Clock) -> Result:
    took = timed(step, steps, clock, 0 if steps == STEPS else warm(steps))
    return {"rate": steps * BATCH * WINDOW / took, "seconds": took}


def child(options: argparse.Namespace) -> Result:
    torch.set_num_threads(options.threads)
    folder = Path(options.folder)
    time = clock(options.threads)
    if options.side in WRITING:
        return writing(options.side, options.sizes[0], options.samples[0], options.tokens, time)
    if options.side == "loop":
        return loop_training(folder, options.steps, time)
    if options.side == "trainer":
        return trainer_training(folder, options.steps, time)
    return heedful_training(folder, options.steps, time, options.side == "recipe")


def run(
    side: str, options: argparse.Namespace, folder: str, steps: int, samples: int = 1, size: str = "char"
) -> Result:
    told = {"steps": steps, "tokens": options.tokens, "samples": samples, "sizes": size}
    return in_process(__file__, options.threads, {"side": side, "folder": folder, **told})


def quality(options: argparse.Namespace, folder: str) -> None:
    print(
        f"\n{STEPS:,} steps of {BATCH} windows of {WINDOW}; loss of the whole validation text, windows side by side"
    )
    for side in ("recipe", "loop"):
        result = run(side, options, folder, STEPS)
        print(
            f"  {side:8} {result['loss']:.4f} nats a character in {result['seconds'] / 60:.2f} minutes",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=200, help="that are written")
    parser.add_argument("--samples", type=int, nargs="+", default=[1, 8], help="that are written together")
    parser.add_argument("--sizes", choices=SIZES, nargs="+", default=["char", "small"], help="of what writes")
    parser.add_argument("--writing", action="store_true", help="only generation")
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--quick", action="store_true", help="few steps, one round")
    parser.add_argument("--side", choices=(*TRAINING, *WRITING), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(child(options)))
        return
    if options.quick:
        options.steps, options.rounds, options.tokens = 10, 1, 50
        options.samples, options.sizes = [1], ["char"]
    by = "processor time" if options.threads == 1 else "the clock"
    print(f"{platform.machine()}, {options.threads} thread(s), by {by}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        if options.quality:
            quality(options, folder)
            return
        if not options.writing:
            rounds(
                TRAINING,
                lambda side: run(side, options, folder, options.steps)["rate"],
                options.rounds,
                f"Training, {options.steps} steps",
            )
        for size, samples in product(options.sizes, options.samples):
            rounds(
                WRITING,
                lambda side, size=size, samples=samples: run(side, options, folder, 1, samples, size)["rate"],
                options.rounds,
                f"Generation, {size}, {options.tokens} tokens, {samples} sample(s)",
            )


if __name__ == "__main__":
    main()
