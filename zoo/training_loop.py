"""The loop that every task is trained by: what a checkpoint holds, and what moves it."""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import timm
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from timm.layers import convert_sync_batchnorm
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.checkpoint import BEST, RunFolder
from zoo.data import Dataset, OnError
from zoo.errors import Fault, InputError, ZooError
from zoo.evaluation import evaluate
from zoo.feature_cache import FeatureCache
from zoo.freezing import freeze, unfreeze
from zoo.frozen_trunk import learns_from_features, pooled_data, why_not
from zoo.hardware import autocast, pick_inference_precision, pick_training_precision, pick_workers, place
from zoo.images import Decoding
from zoo.interruption import Interrupted, graceful_interrupt
from zoo.loader import TrainingPlan, training_loader
from zoo.loss_record import LossRecord
from zoo.model import Model
from zoo.optimization import Optimization
from zoo.pooled_data import AnyBatch, PooledData
from zoo.pooling import AnyImages, PooledBatch
from zoo.progress import Progress
from zoo.recipe import Precision, Recipe
from zoo.scores import Scores
from zoo.seeding import derived_seed, seed_torch
from zoo.task import Task
from zoo.tracking import Tracking
from zoo.training_progress import TrainingProgress


@dataclass(frozen=True)
class Reading:
    """How pictures are read.

    Attributes:
        on_error: "skip" leaves out what can't be read, and says so.
        exact: decode every picture whole.
        max_pixels: larger pictures are refused before they are decoded.
    """

    on_error: OnError
    exact: bool
    max_pixels: int


@dataclass
class TrainingLoop:
    """The state of one run.

    Attributes:
        model: it is trained in place.
        task: the model's.
        dataset: what to train on, relabelled.
        validation: what to score on after every epoch, relabelled; None for nothing.
        recipe: the settings; its epochs are settled.
        accelerator: the processes.
        device: where to train; of several processes each has its own.
        reading: how pictures are read.
        progress: where bars and lines are drawn.
        history: one entry per finished epoch, as in metrics.jsonl.
        skipped: what was left out, by key.
        scores: of the best epoch of this call.
        batches_done: of this process, in all epochs.
        track: the trackers that are told how it goes, of `zoo.tracking.check_trackers`.
        seconds: wall-clock time, that of interrupted calls up to their last checkpoint included.
    """

    model: Model
    task: Task
    dataset: Dataset
    validation: Dataset | None
    recipe: Recipe
    accelerator: Accelerator
    device: torch.device
    reading: Reading
    progress: Progress
    history: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, Fault] = field(default_factory=dict)
    scores: Scores | None = None
    batches_done: int = 0
    track: tuple[str, ...] = ()
    seconds: float = 0.0
    _record: LossRecord = field(default_factory=LossRecord)
    _best: float = -math.inf

    def __post_init__(self) -> None:
        """Set up model, plan, optimiser and processes.

        Raises:
            InputError: the recipe asks for what this data, model or device can't do.
        """
        recipe, processes = self.recipe, self.accelerator.num_processes
        assert recipe.epochs is not None, "the epochs are settled"
        if recipe.early_stop and self.validation is None:
            raise InputError(f"early_stop is {recipe.early_stop}, but there is nothing to score on; give --val, or set early_stop to 0")
        if processes > 1:
            self.device = self.accelerator.device
        self.precision = pick_training_precision(recipe.precision, self.device)
        if recipe.freeze is not None:
            freeze(self.model, recipe.freeze)
        place(self.model, self.device)
        if processes > 1:
            self._share_norm()
        smallest = 2 * processes  # batch-norm can't train on one picture
        if len(self.dataset) < smallest:
            raise InputError(f"data {self.dataset.name!r} has {len(self.dataset)} samples; training needs at least 2 per process")
        sampling = self.task.sampling(recipe, self.dataset, recipe.batch_size * processes, smallest)
        self.plan = TrainingPlan(sampling, recipe.epochs, recipe.seed, self.accelerator.process_index, processes)
        self.preprocess = self.task.training_preprocess(recipe, self.model.preprocess)
        self.augment = self.task.augment(recipe, self.preprocess, self.dataset)
        steps = self._steps_per_epoch * self.plan.epochs
        self.optimization = Optimization(self.model, recipe, steps, self.precision, self.device)
        self._first_freeze = self.model.config.freeze
        self._wrap()
        self._shown = TrainingProgress(self.progress, self.plan.epochs, self.plan.batches_per_epoch, self.task.primary_score)

    def _share_norm(self) -> None:
        """Let batch-norm count the pictures of all processes, where the device can."""
        if not any(isinstance(module, _BatchNorm) and module.weight.requires_grad for module in self.model.modules()):
            return
        if self.device.type == "cuda":
            convert_sync_batchnorm(self.model)
        else:
            self.progress.say("batch-norm counts each process's own pictures: SyncBatchNorm needs a GPU (--freeze norm does without)")

    def _wrap(self) -> None:
        self.wrapped = self.accelerator.prepare_model(self.model, device_placement=False)

    def describe(self) -> dict[str, Any]:
        """Return what makes this run this run, for run.json."""
        return {
            "model": {**self.model.config.to_dict(), "freeze": self._first_freeze},
            "data": self.dataset.name,
            "samples": len(self.dataset),
            "val": self.validation.name if self.validation is not None else None,
            "versions": {"torch": torch.__version__, "timm": timm.__version__},
        }

    def summary(self) -> dict[str, Any]:
        """Return what a saved model says of its training."""
        last = {name: value for name, value in (self.history[-1] if self.history else {}).items() if name != "curve"}
        return {
            "data": self.dataset.name,
            "samples": len(self.dataset),
            "recipe": asdict(self.recipe),
            "precision": self.precision,
            "seconds": round(self.seconds, 3),
            **last,
        }

    # -- the loop ------------------------------------------------------------------------------------------------------

    def run(self, folder: RunFolder) -> None:
        """Train to the end, from wherever the folder's checkpoint is.

        Raises:
            Interrupted: Ctrl-C; a checkpoint was written.
            ZooError: the loss is not a number.
        """
        self._restore(folder)
        reason = why_not(self.model, self.recipe)
        if reason is not None:
            self.progress.say(reason)
        self._tracking = Tracking(self.accelerator, self.track, folder.path, self.recipe, self._steps_done())
        self._since = time.perf_counter()
        try:
            if not self._stopped_early():
                self._train(folder)
            self._finish(folder)
            self.seconds = self._spent()
        finally:
            self._tracking.end()

    def _train(self, folder: RunFolder) -> None:
        batches = self._batches()
        with graceful_interrupt() as interrupt:
            self._shown.begin_run(self.batches_done)
            self._begin_epoch()
            for batch in batches:
                self._batch(batch)
                if self.batches_done % self.plan.batches_per_epoch == 0:
                    self._end_epoch(folder)
                    if self._stopped_early():
                        return
                    self._begin_epoch()
                # not between two steps: a checkpoint holds no half-accumulated gradients
                if interrupt.is_set() and self._at_step():
                    folder.save(self._state(), self.history)
                    raise Interrupted(f"interrupted after {self.batches_done} batches; continue with the same command and --resume")

    def _batches(self) -> Iterable[AnyBatch]:
        """Return the batches that are left: pictures, or what a frozen trunk makes of them."""
        reading = self.reading
        pooled = self._features(self.dataset, self.precision)
        if pooled is not None:
            self.progress.say("the head learns from features of pictures as they are; with --no-feature-cache, slowly, of augmented ones")
            _ = self._validation_features  # not in the middle of the first epoch
            return pooled.training(self.plan, self.batches_done)
        return training_loader(
            self.dataset,
            self.preprocess,
            self.plan,
            pick_workers(self.recipe.workers, len(self.dataset) * self.plan.epochs),
            reading.on_error,
            self.augment,
            self.batches_done,
            Decoding(None if reading.exact else self.task.training_min_size_hw(self.recipe, self.preprocess), reading.max_pixels),
        )

    def _features(self, dataset: Dataset, precision: Precision) -> PooledData | None:
        """Return a data set's features, where the head can learn from features that are computed once."""
        if not learns_from_features(self.model, self.recipe):
            return None
        preprocess, reading = self.model.preprocess, self.reading
        decoding = Decoding(None if reading.exact else preprocess.min_size_hw, reading.max_pixels)
        cache = FeatureCache(self.model, precision, decoding, reading.on_error, self.recipe.workers, self.progress)
        return pooled_data(cache, dataset, self.accelerator)

    def _begin_epoch(self) -> None:
        epoch = self.batches_done // self.plan.batches_per_epoch
        self._epoch_start = time.perf_counter()
        if epoch < self.plan.epochs:
            self._thaw(epoch)
            self.model.train()
            self._shown.begin_epoch(self.batches_done)

    def _thaw(self, epoch: int) -> None:
        """Set free what the gradual schedule has set free by this epoch, counted from 0."""
        stages = epoch // self.recipe.unfreeze_every if self.recipe.unfreeze_every else 0
        before = self.model.config.freeze
        freeze(self.model, self._first_freeze)
        if stages:
            unfreeze(self.model, stages)
        if self.model.config.freeze != before:
            self.progress.say(f"epoch {epoch + 1}: freeze is {self.model.config.freeze!r} now")
            self._wrap()

    def _batch(self, batch: AnyBatch) -> None:
        self.batches_done += 1
        for fault in batch.skipped:
            self._leave_out(fault)
        # a place in the run has its own random numbers: a resumed run draws the same without a memory of them
        seed_torch(derived_seed(self.recipe.seed, self.batches_done, self.plan.rank), self.device)
        if self._everywhere(batch.images is not None and len(batch.keys) > 1):
            self._forward_backward(batch)
        if self._at_step():
            self.optimization.step(self._steps_done() - 1)
            if self._record.curve:
                self._tracking.step(self._steps_done(), self._record.curve[-1], self.optimization.lr)
        self._shown.batch(self._record.mean, len(batch.keys) * self.plan.processes)

    def _everywhere(self, condition: bool) -> bool:
        """Tell whether a condition holds in every process: they take a batch together or not at all."""
        if self.plan.processes == 1:
            return condition
        held: Tensor = self.accelerator.reduce(torch.tensor(float(condition), device=self.device))
        return int(held) == self.plan.processes

    def _forward_backward(self, batch: AnyBatch) -> None:
        assert batch.images is not None
        targets = move(self.task.collate_targets(batch.targets), self.device)
        images: AnyImages = batch.images.to(self.device)
        if isinstance(images, PooledBatch):
            targets = self.task.soften(self.recipe, targets, len(self.model.classes))
        else:
            images, targets = self.task.mix(self.recipe, images, targets, len(self.model.classes))
        with autocast(self.precision, self.device):
            losses: dict[str, Tensor] = self.wrapped(images, targets)
        total = torch.stack(list(losses.values())).sum()
        finite = bool(torch.isfinite(total))
        if not self._everywhere(finite):
            self._not_finite(float(total.detach()), batch.keys if not finite else ())
            return
        self.optimization.backward(total / self.recipe.grad_accumulation)
        self._record.add(self._mean_over_processes({name: float(value.detach()) for name, value in losses.items()}))

    def _mean_over_processes(self, losses: dict[str, float]) -> dict[str, float]:
        if self.plan.processes == 1:
            return losses
        values = torch.tensor(list(losses.values()), dtype=torch.float64, device=self.device)
        return dict(zip(losses, self.accelerator.reduce(values, "mean").tolist(), strict=True))

    def _not_finite(self, loss: float, keys: tuple[str, ...]) -> None:
        """Stop, or leave the batch out and count it.

        Raises:
            ZooError: naming the batch's samples.
        """
        if self.plan.processes > 1:
            keys = tuple(gather_object(list(keys)))
        what = f"the loss became {loss} at batch {self.batches_done} ({', '.join(keys)})"
        if self.recipe.on_nan == "stop":
            raise ZooError(
                f"{what}; look at these pictures, lower --lr, set --clip-grad, use --precision fp32, or go on with --on-nan skip"
            )
        self._record.not_finite += 1
        self.progress.say(f"left out: {what}")

    def _at_step(self) -> bool:
        """Tell whether the last batch completes an optimiser step."""
        in_epoch = self.batches_done % self.plan.batches_per_epoch
        return in_epoch % self.recipe.grad_accumulation == 0

    @property
    def _steps_per_epoch(self) -> int:
        return math.ceil(self.plan.batches_per_epoch / self.recipe.grad_accumulation)

    def _steps_done(self) -> int:
        epochs, rest = divmod(self.batches_done, self.plan.batches_per_epoch)
        return epochs * self._steps_per_epoch + math.ceil(rest / self.recipe.grad_accumulation)

    def _leave_out(self, fault: Fault) -> None:
        if fault.key not in self.skipped:
            self.progress.say(f"left out: {fault}")
        self.skipped[fault.key] = fault

    # -- epochs --------------------------------------------------------------------------------------------------------

    def _end_epoch(self, folder: RunFolder) -> None:
        entry: dict[str, Any] = {
            "epoch": self.batches_done // self.plan.batches_per_epoch,
            "step": self._steps_done(),
            "lr": self.optimization.lr,
            **self._record.entry(self.batches_done),
            "skipped": len(self.skipped),
        }
        self._record = LossRecord()
        self._validate(folder, entry)
        self.history.append(entry)
        self._tracking.epoch(entry)
        folder.save(self._state(), self.history)
        score = f"  {self.task.primary_score} {entry['val'][self.task.primary_score]:.4f}" if self._has_score(entry) else ""
        seconds = time.perf_counter() - self._epoch_start
        self.progress.say(
            f"epoch {entry['epoch']}/{self.plan.epochs}  loss {entry['loss']:.4f}{score}  lr {entry['lr']:.2e}  {seconds:.1f} s"
        )

    def _has_score(self, entry: Mapping[str, Any]) -> bool:
        return entry.get("val", {}).get(self.task.primary_score) is not None

    def _stopped_early(self) -> bool:
        """Tell whether the best score is as many epochs old as the recipe has patience for."""
        if not self.recipe.early_stop or not self.history or len(self.history) == self.plan.epochs:
            return False
        values = [entry["val"][self.task.primary_score] if self._has_score(entry) else -math.inf for entry in self.history]
        waited = len(values) - 1 - values.index(max(values))
        if waited >= self.recipe.early_stop:
            self.progress.say(f"no better {self.task.primary_score} for {waited} epochs: stopped early, after epoch {len(values)}")
        return waited >= self.recipe.early_stop

    def _validate(self, folder: RunFolder, entry: dict[str, Any]) -> None:
        if self.validation is None:
            return
        model = self.optimization.averaged
        scores = self._score(model, self.validation)
        entry["val"] = dict(scores)
        value = scores[self.task.primary_score]
        self._shown.scored(value)
        if value is not None and value > self._best:
            self._best, self.scores = value, scores
            folder.save_best(model.state_dict())

    @functools.cached_property
    def _validation_features(self) -> PooledData | None:
        """In the precision of an evaluation."""
        return None if self.validation is None else self._features(self.validation, pick_inference_precision("auto"))

    def _score(self, model: Model, data: Dataset) -> Scores:
        return evaluate(
            model,
            data,
            device=str(self.device),
            on_error=self.reading.on_error,
            exact=self.reading.exact,
            max_pixels=self.reading.max_pixels,
            replicates=0,
            progress=self.progress,
            pooled=self._validation_features,
        )

    def _finish(self, folder: RunFolder) -> None:
        best = folder.load(BEST) if self.validation is not None else None
        self.model.load_state_dict(best if best is not None else copy.deepcopy(self.optimization.averaged.state_dict()))
        if self.validation is not None and self.scores is None:  # the best epoch was before the run was resumed
            self.scores = self._score(self.model, self.validation)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "batches_done": self.batches_done,
            "model": self.model.state_dict(),
            **self.optimization.state_dict(),
            "record": asdict(self._record),
            "best": self._best,
            "history": self.history,
            "seconds": self._spent(),
            "skipped": [fault.to_dict() for fault in self.skipped.values()],
        }

    def _spent(self) -> float:
        return self.seconds + time.perf_counter() - self._since

    def _restore(self, folder: RunFolder) -> None:
        state = folder.load()
        if state is None:
            return
        self.batches_done, self._best, self.history = state["batches_done"], state["best"], state["history"]
        self.seconds = state["seconds"]
        self._record = LossRecord(**state["record"])
        self.skipped = {entry["key"]: Fault(**entry, whole=True) for entry in state["skipped"]}
        self.model.load_state_dict(state["model"])
        self.optimization.load_state_dict(state)
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
