"""A stage: transformers' Trainer over accelerate, under one of the configurations a step."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from laser_tools.evaluation.visor.training.conversations import Example
from laser_tools.evaluation.visor.training.examples import Collator
from laser_tools.visor.config import Configuration
from laser_tools.visor.model import VisorForConditionalGeneration


@dataclass(frozen=True)
class Schedule:
    """Of every stage; `batch_size` examples a step on each device."""

    epochs: float = 1.0
    batch_size: int = 8
    accumulate: int = 1  # batches before the weights change
    learning_rate: float = 1e-5
    save_every: int = 200  # steps
    log_every: int = 10  # steps
    workers: int = 2  # processes that read images
    cpu: bool = False  # even where there is a GPU


@dataclass(frozen=True)
class Stage:
    """What is trained, under which configurations."""

    name: str
    trained: Sequence[nn.Parameter]
    options: Sequence[Configuration]
    faster: float = 1.0  # times the schedule's learning rate


class VisorTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped here
    """Each step under one of the configurations, the same on all devices."""

    def __init__(self, options: Sequence[Configuration], **given: object) -> None:
        super().__init__(**given)
        self._options = options
        self.model_accepts_loss_kwargs = False  # the loss is a batch's mean: accumulation divides

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:  # noqa: ANN401 (as the Trainer's)
        rng = np.random.default_rng((7, self.state.global_step))
        active = self._options[int(rng.integers(len(self._options)))]
        asked = {**inputs, "self_layers": active, "use_cache": False}
        return super().compute_loss(model, asked, return_outputs)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        """By `from_pretrained`, which knows the names that a model is saved under.

        The Trainer's own leaves out, with a warning, what is saved under others than the modules'.
        """
        saved = VisorForConditionalGeneration.from_pretrained(
            resume_from_checkpoint, dtype=self.model.dtype
        )
        self.model.load_state_dict(saved.state_dict())


class Bar(TrainerCallback):  # type: ignore[misc]
    """A progress bar on stderr; the Trainer's own writes losses to stdout."""

    def __init__(self, name: str) -> None:
        self._name = name

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        first = state.global_step
        hidden = not state.is_world_process_zero
        self._bar = tqdm(
            total=state.max_steps, initial=first, desc=self._name, file=sys.stderr, disable=hidden
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        if "loss" in state.log_history[-1]:
            self._bar.set_postfix(loss=state.log_history[-1]["loss"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._bar.close()


def run(
    stage: Stage,
    model: VisorForConditionalGeneration,
    collator: Collator,
    examples: Sequence[Example],
    schedule: Schedule,
    folder: Path,
) -> list[float]:
    """Train a stage to its end, from its checkpoint in `folder` if there is one; its losses."""
    model.requires_grad_(False)
    for weight in stage.trained:
        weight.requires_grad_(True)
    kept = folder / stage.name
    trainer = VisorTrainer(
        stage.options,
        model=model,
        args=_arguments(kept, stage, schedule),
        data_collator=collator,
        train_dataset=list(examples),
        callbacks=[Bar(stage.name)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(kept) if kept.is_dir() else None)
    return [record["loss"] for record in trainer.state.log_history if "loss" in record]


def _arguments(folder: Path, stage: Stage, schedule: Schedule) -> TrainingArguments:
    on_gpu = torch.cuda.is_available() and not schedule.cpu
    made = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=schedule.batch_size,
        gradient_accumulation_steps=schedule.accumulate,
        learning_rate=stage.faster * schedule.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        weight_decay=0.0,  # as in the paper
        logging_steps=schedule.log_every,
        logging_first_step=True,
        save_steps=schedule.save_every,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        dataloader_num_workers=schedule.workers,
        ddp_find_unused_parameters=True,  # a configuration may leave a layer's weights out
        use_cpu=schedule.cpu,
        bf16=on_gpu and torch.cuda.is_bf16_supported(),
    )
    made._n_gpu = min(
        made.n_gpu, 1
    )  # of several GPUs in one process, DataParallel splits no prompt
    return made
