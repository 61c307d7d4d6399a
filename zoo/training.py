"""One training loop for every task."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import timm
import torch
from accelerate import Accelerator
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import CosineLRScheduler
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import nn

from zoo.checkpoint import BEST, RunFolder
from zoo.class_matching import match_classes
from zoo.data import Dataset, OnError
from zoo.errors import Fault, InputError, UnknownNameError, ZooError
from zoo.evaluation import evaluate
from zoo.hardware import autocast, pick_device, pick_training_precision, pick_workers, place
from zoo.images import MAX_PIXELS, Decoding
from zoo.loader import Batch, TrainingPlan, training_loader
from zoo.model import Model, save
from zoo.progress import Progress
from zoo.recipe import Recipe
from zoo.schemes import open_data
from zoo.scores import Scores
from zoo.task import Task, get_task


class Interrupted(ZooError):
    """Training was stopped by Ctrl-C; the run can be resumed."""

    exit_status = 130


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        model: the trained model, in evaluation mode (with validation data, that of the best epoch).
        folder: where everything was written.
        history: one entry per epoch, as in metrics.jsonl.
        scores: of this model on the validation data; None without.
        skipped: pictures and annotations that were left out on the caller's word.
        seconds: wall-clock time of this call.
    """

    model: Model
    folder: Path
    history: list[dict[str, Any]]
    scores: Scores | None
    skipped: tuple[Fault, ...]
    seconds: float


def train(
    model: Model,
    data: object,
    val: object = None,
    recipe: Recipe | None = None,
    out: str | Path = "runs/last",
    *,
    resume: bool = False,
    device: str = "auto",
    on_error: OnError = "raise",
    exact: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> Run:
    """Fine-tune a model, in place.

    Args:
        model: from `zoo.build` or `zoo.load`.
        data: what to train on: a dataset string, a path, or a sequence of samples.
        val: what to score on after every epoch.
        recipe: the settings; None for the task's defaults.
        out: the run's folder, which must be new unless `resume` is true.
        resume: continue the run in `out` from its last checkpoint.
        device: "auto" or a torch device.
        on_error: "skip" leaves out what can't be read, and says so.
        exact: decode every picture whole; otherwise a JPEG much larger than the model's input is decoded at a reduced scale.
        max_pixels: larger pictures are refused before they are decoded.
        progress: where bars and lines are drawn; None for nowhere.

    Returns:
        The run; its model is saved in `out`/model.

    Raises:
        InputError: an option or the data is wrong.
        Interrupted: Ctrl-C; a checkpoint was written.
    """
    task, progress = get_task(model.task), progress or Progress(enabled=False)
    recipe = recipe if recipe is not None else task.recipe()
    if not isinstance(recipe, task.recipe):
        raise InputError(f"recipe is a {type(recipe).__name__}; the task {task.name} takes a {task.recipe.__name__}")
    dataset = _open(task, data, model, on_error, progress)
    validation = None if val is None else _open(task, val, model, on_error, progress, closed=not task.open_set)
    recipe = settle(recipe, len(dataset))
    start = time.perf_counter()
    training = _Training(model, task, dataset, validation, recipe, pick_device(device), on_error, exact, max_pixels, progress)
    folder = RunFolder(Path(out), training.describe(), recipe, resume, writes=training.accelerator.is_main_process)
    training.run(folder)
    model.metadata["training"] = training.summary()
    model.eval()
    if training.accelerator.is_main_process:
        save(model, folder.path / "model")
    skipped = (*dataset.skipped, *training.skipped.values())
    return Run(model, folder.path, training.history, training.scores, skipped, time.perf_counter() - start)


def _open(task: Task, data: object, model: Model, on_error: OnError, progress: Progress, closed: bool = True) -> Dataset:
    opened = open_data(data, task.schemes, task.name, on_error, progress.say)
    for fault in opened.skipped:
        progress.say(f"left out: {fault}")
    if not closed:
        return opened
    if task.open_set and opened.classes and len(opened.classes) != len(model.classes):
        raise InputError(
            f"data {opened.name!r} has {len(opened.classes)} classes and the model was built for {len(model.classes)}; "
            "build it with classes= of the data"
        )
    return match_classes(task, opened, model.classes)[0]


def settle(recipe: Recipe, samples: int) -> Recipe:
    """Return the recipe with the number of epochs fixed for a data set of this size."""
    if recipe.epochs is not None:
        return recipe
    per_epoch = max(1, samples / (recipe.batch_size * recipe.grad_accumulation))
    return replace(recipe, epochs=min(100, max(2, math.ceil(recipe.steps / per_epoch))))


def _scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> Scheduler:
    warmup = round(recipe.warmup * steps)
    # a constant rate is a cosine whose lowest value is its highest
    lowest = 0.0 if recipe.scheduler == "cosine" else recipe.lr
    return CosineLRScheduler(
        optimizer,
        t_initial=max(1, steps - warmup),
        lr_min=lowest,
        warmup_t=warmup,
        warmup_prefix=True,
        warmup_lr_init=0.0,
        t_in_epochs=False,
    )


@dataclass
class _Training:
    """The state of one run: what a checkpoint holds, and the loop that moves it."""

    model: Model
    task: Task
    dataset: Dataset
    validation: Dataset | None
    recipe: Recipe
    device: torch.device
    on_error: OnError
    exact: bool
    max_pixels: int
    progress: Progress
    history: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, Fault] = field(default_factory=dict)
    scores: Scores | None = None
    batches_done: int = 0
    _sums: dict[str, float] = field(default_factory=dict)
    _best: float = -math.inf

    def __post_init__(self) -> None:
        """Set up model, optimiser, schedule and processes."""
        assert self.recipe.epochs is not None, "settle() has fixed the epochs"
        self.accelerator = Accelerator(cpu=self.device.type == "cpu")
        self.precision = pick_training_precision(self.recipe.precision, self.device)
        place(self.model, self.device)
        state = self.accelerator.state
        self.plan = TrainingPlan(
            len(self.dataset), self.recipe.epochs, self.recipe.batch_size, self.recipe.seed, state.process_index, state.num_processes
        )
        if len(self.dataset) < 2 * state.num_processes:
            raise InputError(f"data {self.dataset.name!r} has {len(self.dataset)} samples; training needs at least 2 per process")
        if self.recipe.optimizer not in list_optimizers():
            raise UnknownNameError("optimizer", self.recipe.optimizer, list_optimizers())
        self.optimizer = create_optimizer_v2(
            self.model, opt=self.recipe.optimizer, lr=self.recipe.lr, weight_decay=self.recipe.weight_decay
        )
        steps = math.ceil(self.plan.batches_per_epoch / self.recipe.grad_accumulation) * self.plan.epochs
        self.scheduler = _scheduler(self.optimizer, self.recipe, steps)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.ema = ModelEmaV3(self.model, decay=self.recipe.ema, use_warmup=True) if self.recipe.ema else None
        self.wrapped = self.accelerator.prepare_model(self.model)

    def describe(self) -> dict[str, Any]:
        """Return what makes this run this run, for run.json."""
        return {
            "model": self.model.config.to_dict(),
            "data": self.dataset.name,
            "samples": len(self.dataset),
            "val": self.validation.name if self.validation is not None else None,
            "versions": {"torch": torch.__version__, "timm": timm.__version__},
        }

    def summary(self) -> dict[str, Any]:
        """Return what a saved model says of its training."""
        last = self.history[-1] if self.history else {}
        return {"data": self.dataset.name, "samples": len(self.dataset), "recipe": asdict(self.recipe), "precision": self.precision, **last}

    # -- the loop ------------------------------------------------------------------------------------------------------

    def run(self, folder: RunFolder) -> None:
        """Train to the end, from wherever the folder's checkpoint is."""
        self._restore(folder)
        loader = training_loader(
            self.dataset,
            self.model.preprocess,
            self.plan,
            pick_workers(self.recipe.workers, len(self.dataset) * self.plan.epochs),
            self.on_error,
            self.task.augment(self.recipe, self.model.preprocess),
            self.batches_done,
            Decoding(None if self.exact else self.task.training_min_size_hw(self.recipe, self.model.preprocess), self.max_pixels),
        )
        per_epoch = self.plan.batches_per_epoch
        with _graceful_interrupt() as interrupt:
            self.model.train()
            self._begin_epoch()
            for batch in loader:
                self._batch(batch)
                if self.batches_done % per_epoch == 0:
                    self._end_epoch(folder)
                    self._begin_epoch()
                # not between two steps: a checkpoint holds no half-accumulated gradients
                if interrupt.is_set() and self._at_step():
                    folder.save(self._state(), self.history)
                    raise Interrupted(f"interrupted after {self.batches_done} batches; continue with the same command and --resume")
        self._finish(folder)

    def _begin_epoch(self) -> None:
        per_epoch = self.plan.batches_per_epoch
        epoch, done = divmod(self.batches_done, per_epoch)
        self._epoch_start = time.perf_counter()
        if epoch < self.plan.epochs:
            self.progress.begin(f"epoch {epoch + 1}/{self.plan.epochs}", per_epoch, done)

    def _batch(self, batch: Batch) -> None:
        self.batches_done += 1
        for fault in batch.skipped:
            self._leave_out(fault)
        if batch.images is not None and len(batch.keys) > 1:
            losses = self._forward_backward(batch)
            for name, value in losses.items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self._sums["batches"] = self._sums.get("batches", 0.0) + 1
        if self._at_step():
            self._step()
        self.progress.advance(f"loss {self._mean_loss():.3f}")

    def _forward_backward(self, batch: Batch) -> dict[str, float]:
        targets = move(self.task.collate_targets(batch.targets), self.device)
        with autocast(self.precision, self.device):
            losses = self.wrapped(batch.images, targets)
        total = sum(losses.values())
        if not torch.isfinite(total):
            raise ZooError(
                f"the loss became {float(total.detach())} at batch {self.batches_done} ({', '.join(batch.keys[:8])}); "
                "lower --lr, set --clip-grad, or use --precision fp32"
            )
        self.scaler.scale(total / self.recipe.grad_accumulation).backward()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _step(self) -> None:
        if self.recipe.clip_grad:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_grad)
        self.scheduler.step_update(self._steps_done())
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.model, step=self._steps_done())

    def _at_step(self) -> bool:
        """Tell whether the last batch completes an optimiser step."""
        in_epoch = self.batches_done % self.plan.batches_per_epoch
        return in_epoch % self.recipe.grad_accumulation == 0

    def _steps_done(self) -> int:
        epochs, rest = divmod(self.batches_done, self.plan.batches_per_epoch)
        accumulation = self.recipe.grad_accumulation
        return epochs * math.ceil(self.plan.batches_per_epoch / accumulation) + math.ceil(rest / accumulation)

    def _mean_loss(self) -> float:
        total = sum(value for name, value in self._sums.items() if name != "batches")
        return total / max(1.0, self._sums.get("batches", 0.0))

    def _leave_out(self, fault: Fault) -> None:
        if fault.key not in self.skipped:
            self.progress.say(f"left out: {fault}")
        self.skipped[fault.key] = fault

    def _end_epoch(self, folder: RunFolder) -> None:
        batches = max(1.0, self._sums.pop("batches", 0.0))
        losses = {name: value / batches for name, value in self._sums.items()}
        entry: dict[str, Any] = {
            "epoch": self.batches_done // self.plan.batches_per_epoch,
            "step": self._steps_done(),
            "lr": self.optimizer.param_groups[0]["lr"],
            "loss": sum(losses.values()),
            "losses": losses,
            "skipped": len(self.skipped),
        }
        self._sums = {}
        self._validate(folder, entry)
        self.history.append(entry)
        folder.save(self._state(), self.history)
        score = f"  {self.task.primary_score} {entry['val'][self.task.primary_score]:.4f}" if self._has_score(entry) else ""
        seconds = time.perf_counter() - self._epoch_start
        self.progress.say(
            f"epoch {entry['epoch']}/{self.plan.epochs}  loss {entry['loss']:.4f}{score}  lr {entry['lr']:.2e}  {seconds:.1f} s"
        )

    def _has_score(self, entry: Mapping[str, Any]) -> bool:
        return entry.get("val", {}).get(self.task.primary_score) is not None

    def _validate(self, folder: RunFolder, entry: dict[str, Any]) -> None:
        if self.validation is None:
            return
        model = self._averaged()
        scores = self._score(model, self.validation)
        entry["val"] = dict(scores)
        value = scores[self.task.primary_score]
        if value is not None and value > self._best:
            self._best, self.scores = value, scores
            folder.save_best(model.state_dict())

    def _score(self, model: Model, data: Dataset) -> Scores:
        return evaluate(
            model,
            data,
            device=str(self.device),
            on_error=self.on_error,
            exact=self.exact,
            max_pixels=self.max_pixels,
            replicates=0,
            progress=self.progress,
        )

    def _averaged(self) -> Model:
        return self.model if self.ema is None else self.ema.module

    def _finish(self, folder: RunFolder) -> None:
        best = folder.load(BEST) if self.validation is not None else None
        self.model.load_state_dict(best if best is not None else copy.deepcopy(self._averaged().state_dict()))
        if self.validation is not None and self.scores is None:  # the best epoch was before the run was resumed
            self.scores = self._score(self.model, self.validation)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "batches_done": self.batches_done,
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sums": self._sums,
            "best": self._best,
            "history": self.history,
            "skipped": [fault.to_dict() for fault in self.skipped.values()],
            "random": torch.get_rng_state(),
        }

    def _restore(self, folder: RunFolder) -> None:
        state = folder.load()
        if state is None:
            torch.manual_seed(self.recipe.seed)
            return
        self.batches_done, self._sums, self._best = state["batches_done"], state["sums"], state["best"]
        self.history = state["history"]
        self.skipped = {entry["key"]: Fault(**entry, whole=True) for entry in state["skipped"]}
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        torch.set_rng_state(state["random"])
        folder.write_metrics(self.history)
        self.progress.say(f"resumed after {self.batches_done} of {self.plan.epochs * self.plan.batches_per_epoch} batches")


def move(targets: Any, device: torch.device) -> Any:
    """Move tensors inside lists and dicts to a device."""
    if isinstance(targets, torch.Tensor):
        return targets.to(device)
    if isinstance(targets, dict):
        return {name: move(value, device) for name, value in targets.items()}
    if isinstance(targets, list | tuple):
        return [move(value, device) for value in targets]
    return targets


@contextmanager
def _graceful_interrupt() -> Iterator[threading.Event]:
    """Let the first Ctrl-C finish the step in hand; the second one stops at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
