"""Published architectures as they ship, at batch sizes that people use: does the check run, keep silent, and leave no trace?

::

    python -m benchmarks.shipped [transformers|timm] [--count 60] [--budget normal] [--only NAME ...]

Needs ``pip install transformers`` or ``pip install timm``, which no other benchmark does. Configurations are made small (two layers, 64 wide)
and drawn at random; timm's models of at most 12 million parameters
come as they are. The data can be learned: texts that count up, sentences
named by their first token, images with a pattern for each class. A model that cannot be built so, or whose own training step raises,
is left out and counted. ``!`` is an error, a warning or an exception of ours.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

import wellposed as wp

WORKERS, SECONDS = 2, 300
ROWS, LONGEST, VOCABULARY, CLASSES, BATCH = 256, 32, 128, 5, 16
PAD, MASK = 0, 1
_MOST_PARAMETERS = 12e6
SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "d_model": 64, "n_embd": 64, "dim": 64, "embedding_size": 64, "emb_dim": 64,
    "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2, "num_decoder_layers": 2,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 128, "ffn_dim": 128, "d_ff": 128, "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128, "n_inner": 128, "hidden_dim": 128, "num_labels": CLASSES, "pad_token_id": PAD, "eos_token_id": 2,
    "bos_token_id": 2, "decoder_start_token_id": 2, "max_position_embeddings": 64, "n_positions": 64, "num_experts": 4, "num_local_experts": 4,
    "num_experts_per_tok": 2, "image_size": 64, "use_cache": False,
}  # fmt: skip
"""What the fields of a configuration are set to, where it has them."""


@dataclass(frozen=True)
class Row:
    name: str
    outcome: str
    """The verdict; ``"left out"`` where the model does not train by itself, ``"raised"`` for an exception of the check."""
    codes: tuple[str, ...] = ()
    detail: str = ""
    seconds: float = 0.0


class Dicts(Dataset[dict[str, torch.Tensor]]):
    def __init__(self, columns: dict[str, torch.Tensor]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {name: column[row] for name, column in self.columns.items()}


def loader(columns: dict[str, torch.Tensor]) -> DataLoader[Any]:
    return DataLoader(Dicts(columns), BATCH, shuffle=True, generator=torch.Generator().manual_seed(0))


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids that count up by a step of their own, padded behind, and their mask."""
    draw = torch.Generator().manual_seed(0)
    start, step = (torch.randint(0, 60, (ROWS, 1), generator=draw) for _ in range(2))
    ids = (start + (1 + step % 4) * torch.arange(LONGEST)) % (VOCABULARY - 4) + 4
    lengths = torch.randint(LONGEST // 2, LONGEST + 1, (ROWS, 1), generator=draw)
    mask = torch.arange(LONGEST) < lengths
    return ids.masked_fill(~mask, PAD), mask.long()


def images(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (ROWS,), generator=draw)
    patterns = torch.nn.functional.interpolate(torch.randn(CLASSES, 3, 4, 4, generator=draw), size=size)
    pictures = patterns[labels] + torch.randn(ROWS, 3, size, size, generator=draw)
    return (pictures - pictures.mean((0, 2, 3), keepdim=True)) / pictures.std((0, 2, 3), keepdim=True), labels


# --- transformers

TASKS = {
    "causal": ("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "AutoModelForCausalLM"),
    "sentences": ("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES", "AutoModelForSequenceClassification"),
    "masked": ("MODEL_FOR_MASKED_LM_MAPPING_NAMES", "AutoModelForMaskedLM"),
    "images": ("MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES", "AutoModelForImageClassification"),
}


def transformers_names() -> list[str]:
    """Tasks in turn, the models of each in alphabetical order."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    of_task = [[f"{task}:{name}" for name in getattr(auto, table)] for task, (table, _) in TASKS.items()]
    longest = max(map(len, of_task))
    return [names[i] for i in range(longest) for names in of_task if i < len(names)]


def transformers_problem(name: str) -> dict[str, Any]:
    task, _, kind = name.partition(":")
    transformers: Any = importlib.import_module("transformers")
    config = transformers.AutoConfig.for_model(kind)
    for field, value in SMALL.items():
        if hasattr(config, field):
            setattr(config, field, value)
    torch.manual_seed(0)
    model = getattr(transformers, TASKS[task][1]).from_config(config)
    if task == "images":
        pictures, labels = images(64)
        columns = {"pixel_values": pictures, "labels": labels}
    else:
        ids, mask = texts()
        columns = {"input_ids": ids, "attention_mask": mask, "labels": ids % CLASSES}
        if task == "sentences":
            columns["labels"] = ids[:, 0] % CLASSES
        elif task == "causal":
            columns["labels"] = ids.masked_fill(mask == 0, -100)
        else:
            hidden = (torch.rand(ids.shape, generator=torch.Generator().manual_seed(1)) < 0.2) & (mask == 1)
            columns["input_ids"] = ids.masked_fill(hidden, MASK)
            columns["labels"] = ids.masked_fill(~hidden, -100)
    return {
        "model": model,
        "train": loader(columns),
        "optimizer": torch.optim.AdamW(model.parameters(), 5e-4),
    }


# --- timm


_SMALL_BY_NAME = re.compile("atto|femto|pico|nano|tiny|mini|small|xxs|xs|lite|_s($|_)|18|26|_050|_b0|_t($|_)")


def timm_names() -> list[str]:
    """A small model of each family as far as their names tell, in alphabetical order, then a second one."""
    timm: Any = importlib.import_module("timm")
    families: dict[str, list[str]] = {}
    for name in sorted(timm.list_models(), key=lambda n: (not _SMALL_BY_NAME.search(n), n)):
        families.setdefault(name.split("_")[0], []).append(name)
    longest = max(map(len, families.values()))
    return [names[i] for i in range(longest) for _, names in sorted(families.items()) if i < len(names)]


def timm_problem(name: str) -> dict[str, Any]:
    timm: Any = importlib.import_module("timm")
    with torch.device("meta"):
        count = sum(p.numel() for p in timm.create_model(name).parameters())
    if count > _MOST_PARAMETERS:
        raise ValueError(f"{count / 1e6:.0f} million parameters")
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=CLASSES)
    size = model.default_cfg["input_size"][-1]
    size = size if model.default_cfg.get("fixed_input_size") else min(size, 96)
    rows = TensorDataset(*images(size))
    return {
        "model": model,
        "loss": torch.nn.functional.cross_entropy,
        "train": DataLoader(rows, BATCH, shuffle=True, generator=torch.Generator().manual_seed(0)),
        "optimizer": torch.optim.AdamW(model.parameters(), 5e-4),
    }


FAMILIES: dict[str, tuple[Callable[[], list[str]], Callable[[str], dict[str, Any]]]] = {
    "transformers": (transformers_names, transformers_problem),
    "timm": (timm_names, timm_problem),
}

# --- one model


def own_step(problem: dict[str, Any]) -> None:
    """One training step as the user takes it."""
    model, loss = problem["model"], problem.get("loss")
    raw = next(iter(problem["train"]))
    value = model(**raw).loss if loss is None else loss(model(raw[0]), raw[1])
    value.backward()
    if not bool(value.isfinite()):
        raise ValueError("the loss is not finite")
    model.zero_grad()


def looked_at(family: str, name: str, budget: str) -> Row:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        problem = FAMILIES[family][1](name)
        own_step(problem)
    except Exception as error:  # whatever a published model raises when it is made small
        return Row(name, "left out", detail=f"{type(error).__name__}: {str(error)[:80]}")
    started = time.perf_counter()
    before = {k: v.clone() for k, v in problem["model"].state_dict().items() if isinstance(v, torch.Tensor)}
    state = torch.random.get_rng_state()
    try:
        report = wp.check(**problem, budget=budget)
    except Exception as error:  # any exception is what is looked for
        return Row(name, "raised", detail=f"{type(error).__name__}: {str(error)[:200]}")
    same = torch.equal(state, torch.random.get_rng_state()) and all(
        v.equal(before[k]) for k, v in problem["model"].state_dict().items() if k in before
    )
    counted = [f for f in report.findings if f.severity is not wp.Severity.NOTE]
    detail = "; ".join(f"{f.where}: {f.summary}" for f in counted[:2])
    return Row(
        name,
        report.verdict if same and not report.traces else "traces left",
        tuple(f.code for f in counted),
        detail[:240],
        time.perf_counter() - started,
    )


def rows_of(family: str, names: Sequence[str], budget: str) -> Iterator[Row]:
    """Each model in a process of its own, ended when it takes too long."""
    waiting, running = list(names), list[tuple[str, Any, Any, float]]()
    context = multiprocessing.get_context("spawn")
    while waiting or running:
        while waiting and len(running) < WORKERS:
            name, (reader, writer) = waiting.pop(0), context.Pipe(duplex=False)
            process = context.Process(target=_one, args=(family, name, budget, writer))
            process.start()
            running.append((name, process, reader, time.perf_counter()))
        for entry in list(running):
            name, process, reader, started = entry
            late = time.perf_counter() - started > SECONDS
            if not (reader.poll() or late):
                continue
            try:
                yield Row(name, "left out", detail="took too long") if late else reader.recv()
            except EOFError:  # killed, for its memory for one
                yield Row(name, "raised", detail="its process ended")
            process.kill()
            process.join()
            running.remove(entry)
        time.sleep(0.05)


def _one(family: str, name: str, budget: str, writer: Any) -> None:
    writer.send(looked_at(family, name, budget))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", choices=FAMILIES, nargs="?", default="transformers")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--budget", default="normal")
    parser.add_argument("--only", nargs="*", default=())
    options = parser.parse_args(arguments)
    names = list(options.only) or FAMILIES[options.family][0]()[: options.count]
    rows = []
    for row in rows_of(options.family, names, options.budget):
        rows.append(row)
        mark = "!" if row.codes or row.outcome in ("raised", "traces left") else " "
        print(
            f"{mark} {row.name:44} {row.outcome:12} {row.seconds:6.1f} s  {' '.join(row.codes)} {row.detail}",
            flush=True,
        )
    checked = [r for r in rows if r.outcome != "left out"]
    clean = sum(not r.codes and r.outcome != "raised" for r in checked)
    seconds = [r.seconds for r in checked if r.seconds] or [0.0]
    print(
        f"{clean} of {len(checked)} clean; {len(rows) - len(checked)} left out; median {median(seconds):.1f} s"
    )


if __name__ == "__main__":
    main()
