"""Claim: heedful pre-trains a BERT faster than Hugging Face's Trainer, on the same model and tokens.

    python benchmarks/bert_speed.py [--sizes mini small] [--steps 20] [--rounds 3] [--threads 1] [--quick]

Tokens read a second, on tinyshakespeare in word pieces, 32 windows of 128 tokens, of which 15% are to be guessed. The
sizes are those of Turc et al. 2019: mini has 4 layers of 256, small 4 of 512. The sides:

- heedful: the published BERT (the recipe `bert-base`, but for sizes and the next sentence) as `heedful train` makes its
  steps, in bfloat16 where that is native; heedful-float32
- recipe: the recipe `bert-mlm` (rotary positions, pre-norm, whole words, Muon)
- trainer: `BertForMaskedLM` of transformers by `transformers.Trainer`, hiding by its `DataCollatorForLanguageModeling`;
  trainer-bfloat16: with its option bf16

Each runs in a process of its own (benchmarks/sides.py); printed are medians, the spread (range / median), and the
median of the ratios within a round. Needs $HEEDFUL_DATA or the network, and the extras bench and accelerate.
"""

import argparse
import json
import platform
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sides import Clock, clock, in_process, rounds, timed

WINDOW, BATCH, ENTRIES, RATE = 128, 32, 8000, 1e-4
SIDES = ("heedful", "heedful-float32", "recipe", "trainer", "trainer-bfloat16")
SIZES = {"mini": (4, 4, 256), "small": (4, 8, 512)}
WARM_UP = 5


def task_of(size: str, folder: Path, recipe: bool, precision: str) -> Any:
    from rich.console import Console

    from heedful.tasks.masked_language_modelling import MaskedLanguageModelling
    from heedful.training.progress import Progress
    from heedful.training.recipe import read

    layers, heads, width = SIZES[size]
    chosen: dict[str, Any] = {
        "data.name": "tinyshakespeare",
        "data.window": WINDOW,
        "data.batch": BATCH,
        "tokenizer.vocabulary_size": ENTRIES,
        "model.layers": layers,
        "model.heads": heads,
        "model.d_model": width,
        "model.d_ff": 4 * width,
        "training.precision": precision,
    }
    if not recipe:
        chosen |= {"data.masking.next_sentence": "false", "model.next_sentence": "false"}
        chosen |= {"metrics": '["perplexity"]'}
    settings: Any = read("bert-mlm" if recipe else "bert-base", [(key, str(chosen[key])) for key in chosen])
    task = MaskedLanguageModelling(settings, folder / "data", Progress(Console(quiet=True)))
    task.prepare()
    return task


def ours(task: Any, steps: int, time: Clock) -> float:
    from heedful.machine import prepare, resolve_precision
    from heedful.training.schedule import Schedule
    from heedful.training.step import Stepper, Totals

    prepare(torch.get_num_threads())
    torch.manual_seed(1)
    model, training = task.build(), task.settings.training
    loss: Any = partial(task.loss, model, objective=training)
    stepper = Stepper(model, loss, training, "cpu", resolve_precision(training.precision, "cpu"))
    schedule = Schedule(training.schedule, task.settings.model.d_model, training.steps)
    batches, totals = task.batches(1), Totals()

    def step(number: int) -> None:
        stepper.step(number, schedule.rate(number), [next(batches)], totals)

    return timed(step, steps, time, WARM_UP)


def theirs(task: Any, size: str, folder: Path, steps: int, time: Clock, bfloat16: bool) -> float:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from torch.utils.data import Dataset
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        DataCollatorForLanguageModeling,
        PreTrainedTokenizerFast,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    from heedful.text.special import MASK, PAD

    tokens = np.asarray(task.streams["train"].tokens).astype(np.int64)
    entries = len(task.tokenizer)

    class Windows(Dataset):
        def __len__(self) -> int:
            return len(tokens) // WINDOW

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {"input_ids": tokens[index * WINDOW : (index + 1) * WINDOW].tolist()}

    # The collator asks a tokenizer for the mask and how many entries there are; the text is tokens already.
    names = {f"<{number}>": number for number in range(entries)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(names, unk_token="<1>")),
        pad_token=f"<{PAD}>",
        mask_token=f"<{MASK}>",
    )
    times: list[float] = []

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time())

    set_seed(1)
    layers, heads, width = SIZES[size]
    config = BertConfig(
        vocab_size=entries,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        pad_token_id=PAD,
    )
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=BATCH,
        max_steps=steps + WARM_UP,
        learning_rate=RATE,
        weight_decay=0.01,
        save_strategy="no",
        logging_steps=100,
        report_to=[],
        use_cpu=True,
        bf16=bfloat16,
        disable_tqdm=True,
    )
    model = BertForMaskedLM(config)
    assert sum(each.numel() for each in model.parameters()) == sum(
        each.numel() for each in task.build().parameters()
    )
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    Trainer(
        model=model, args=arguments, train_dataset=Windows(), data_collator=collator, callbacks=[Watch()]
    ).train()
    return times[-1] - times[WARM_UP - 1]


def child(options: argparse.Namespace) -> dict[str, float]:
    torch.set_num_threads(options.threads)
    folder, size, steps, time = (
        Path(options.folder),
        options.sizes[0],
        options.steps,
        clock(options.threads),
    )
    precision = "float32" if options.side == "heedful-float32" else "auto"
    task = task_of(size, folder / options.side, options.side == "recipe", precision)
    if options.side.startswith("trainer"):
        took = theirs(task, size, folder, steps, time, options.side.endswith("bfloat16"))
    else:
        took = ours(task, steps, time)
    return {"rate": steps * BATCH * WINDOW / took}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", choices=SIZES, nargs="+", default=list(SIZES))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few steps, one round, the least size")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(child(options)))
        return
    if options.quick:
        options.sizes, options.steps, options.rounds = ["mini"], 3, 1
    by = "processor time" if options.threads == 1 else "the clock"
    print(f"{platform.machine()}, {options.threads} thread(s), by {by}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            told = {"folder": folder, "steps": options.steps, "sizes": size}
            rounds(
                SIDES,
                lambda side, told=told: in_process(__file__, options.threads, {"side": side, **told})["rate"],
                options.rounds,
                f"{size}, {options.steps} steps",
            )


if __name__ == "__main__":
    main()
