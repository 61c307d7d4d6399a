"""Training loop for all tasks, with checkpoints and validation after every epoch."""

from __future__ import annotations

import contextlib
import copy
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from zoo.data.sampling import Steps
from zoo.errors import Fault, InputError
from zoo.models.freezing import freeze, unfreeze
from zoo.system.disk import tensor_bytes
from zoo.system.hardware import pick_training_precision, place
from zoo.system.reproducibility import derived_seed, seed_torch
from zoo.system.signals import SIGNALS, Interrupted, Stop, graceful_interrupt
from zoo.task.head import AnyBatch
from zoo.task.metric import Scores
from zoo.training.batches import RunData
from zoo.training.checkpoints import BEST, CHECKPOINT, RunFolder
from zoo.training.features.trunk import why_not
from zoo.training.gradients import Gradients, share_norm
from zoo.training.history import LossRecord, best_epoch, epochs_without_better, score_of
from zoo.training.optimization import Optimization
from zoo.training.tracking import Tracking, TrainingProgress
from zoo.training.weighting import LossWeights


@dataclass
class TrainingLoop:
    """Training run that optimises a model in place."""

    data: RunData
    track: tuple[str, ...] = ()  # names of experiment trackers, as returned by `check_trackers`
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry per finished epoch, as in metrics.jsonl
    skipped: dict[str, Fault] = field(default_factory=dict)  # errors of skipped samples by key
    scores: dict[str, Scores] | None = None  # of the best epoch, by head name
    batches_done: int = 0  # by this process, over all epochs
    seconds: float = 0.0  # for a resumed run, it includes the time of the original run up to the checkpoint
    _record: LossRecord = field(default_factory=LossRecord)
    _signals: list[float] = field(default_factory=list)  # number of processes that had received each of SIGNALS before the last batch

    def __post_init__(self) -> None:
        """Set up model, plan and optimiser. Raise an `InputError` if the recipe doesn't fit the dataset, model or device."""
        data, recipe = self.data, self.data.recipe
        self.model, self.recipe, self.processes, self.progress = data.model, recipe, data.processes, data.reading.progress
        self.device = self.processes.device
        assert recipe.epochs is not None, "`settle` sets the epochs"
        if recipe.early_stop and not data.validated:
            raise InputError(f"early_stop is {recipe.early_stop}, but there is no validation data; pass --val, or set early_stop to 0")
        self.precision = pick_training_precision(recipe.precision, self.device)
        if recipe.freeze is not None:
            freeze(self.model, recipe.freeze)
        place(self.model, self.device)
        share_norm(self.model, self.processes, self.progress)
        self.plan = data.plan(recipe.epochs)
        self._sources = data.sources()
        self.steps = Steps(self.plan.batches_per_epoch, recipe.grad_accumulation)
        self._weights = LossWeights(recipe, data.names, self.model.is_joint).to(self.device)
        count = self.steps.per_epoch * self.plan.epochs
        self.optimization = Optimization(self.model, recipe, count, self.precision, self.device, [*self._weights.parameters()])
        self._gradients = Gradients(data, self.precision, self.optimization, self._weights)
        self._first_freeze = self.model.config.freeze
        self._since = time.perf_counter()
        self._shown = TrainingProgress(self.progress, self.plan.epochs, self.plan.batches_per_epoch)

    @property
    def not_finite(self) -> int:
        """Number of batches of the whole run that were skipped because their loss wasn't finite."""
        ended: list[int] = [entry["not_finite"] for entry in self.history]
        return sum(ended) + self._record.not_finite

    def checkpoint_bytes(self) -> int:
        """Return the approximate size of a checkpoint in bytes."""
        return tensor_bytes(self._state()) + self.optimization.bytes_to_come()

    # -- the loop ------------------------------------------------------------------------------------------------------

    def run(self, folder: RunFolder) -> None:
        """Train until the end of the run, starting from the checkpoint in the folder if there is one.

        Ctrl-C and SIGTERM write a checkpoint and raise `Interrupted`.
        """
        with self.processes.together():
            self._restore(folder)
        if self.processes.sums(self.batches_done) != [self.processes.count * self.batches_done]:
            raise InputError(f"{folder.path}: the processes loaded different checkpoints; choose an --out folder that all of them can read")
        reason = why_not(self.model, self.recipe, self.data.names)
        if reason is not None:
            self.progress.say(reason)
        for model in (self.model, self.optimization.averaged):
            self.data.reset_metadata(model)
        self._gradients.wrap()
        if self.batches_done == 0:
            self.optimization.average_anew()  # `wrap` has copied the parameters of the first process to the others
        self._tracking = Tracking(self.processes.accelerator, self.track, folder.path, self.recipe, self.steps.done(self.batches_done))
        self._since = time.perf_counter()
        try:
            if not self._stopped_early():
                self._train(folder)
            self._finish(folder)
            self.seconds = self._spent()
        finally:
            self._tracking.end()

    def _train(self, folder: RunFolder) -> None:
        # if training ends early, the generator is closed immediately, so that its loader processes don't block the interpreter's exit.
        # Features are computed before signals are intercepted, so that Ctrl-C stops the computation immediately.
        left = self.data.batches(self.plan, self.batches_done, self._sources, self.precision)
        with contextlib.closing(left) as batches, graceful_interrupt() as interrupt:
            self._shown.begin_run(self.batches_done)
            self._begin_epoch()
            for batch in batches:
                self._batch(batch, interrupt)
                if self.batches_done % self.plan.batches_per_epoch == 0:
                    self._end_epoch(folder)
                    if self._stopped_early():
                        return
                    self._begin_epoch()
                if self.steps.complete(self.batches_done):  # only after a step, because checkpoints don't contain accumulated gradients
                    number = self._signal(interrupt)
                    if number or folder.due():
                        self._gradients.check_weights()
                        folder.save(self._state(), self.history)
                    if number:
                        how = "stopped by SIGTERM" if number == signal.SIGTERM else "interrupted"
                        message = f"{how} after {self.batches_done} batches; continue with the same command and --resume"
                        raise self.processes.once(Interrupted(message, number))

    def _signal(self, interrupt: Stop) -> int:
        """Return the number of the signal that stops training; 0 for none. Several processes exchange their signals with every batch."""
        if self.processes.count == 1:
            return interrupt.number
        return next((number for number, got in zip(SIGNALS, self._signals, strict=True) if got), 0)

    def _begin_epoch(self) -> None:
        epoch = self.batches_done // self.plan.batches_per_epoch
        self._epoch_start = time.perf_counter()
        if epoch < self.plan.epochs:
            self._thaw(epoch)
            self.model.train()
            self._shown.begin_epoch(self.batches_done)

    def _thaw(self, epoch: int) -> None:
        """Unfreeze the stages that the unfreezing schedule specifies for this epoch (counted from 0)."""
        stages = epoch // self.recipe.unfreeze_every if self.recipe.unfreeze_every else 0
        before = self.model.config.freeze
        freeze(self.model, self._first_freeze)
        if stages:
            unfreeze(self.model, stages)
        if self.model.config.freeze != before:
            self.progress.say(f"epoch {epoch + 1}: freeze is now {self.model.config.freeze!r}")
            self._gradients.wrap()

    def _batch(self, batch: AnyBatch, interrupt: Stop) -> None:
        self.batches_done += 1
        # seeds are derived from the batch number, so a resumed run draws the same random numbers without a stored generator state
        seed_torch(derived_seed(self.recipe.seed, self.batches_done, self.plan.rank), self.device)
        trainable = batch.images is not None and len(batch.keys) > 1
        signals = [interrupt.number == number for number in SIGNALS]
        able, pictures, skipped, *self._signals = self.processes.sums(trainable, len(batch.keys), len(batch.skipped), *signals)
        if skipped:
            for fault in self.processes.joined(batch.skipped):
                if fault.key not in self.skipped:
                    self.progress.say(f"skipped: {fault}")
                self.skipped[fault.key] = fault
        if able == self.processes.count:  # a batch must be used by all processes or by none
            losses = self._gradients.add(batch, len(batch.keys) / pictures, self.batches_done, last=self.steps.complete(self.batches_done))
            if losses is None:
                self._record.not_finite += 1
            else:
                self._record.add(losses)
        if self.steps.complete(self.batches_done):
            self._gradients.step(self.steps.done(self.batches_done) - 1)
            if self._record.curve:
                self._tracking.step(self.steps.done(self.batches_done), self._record.curve[-1], self.optimization.lr)
        self._shown.batch(self._record.mean, len(batch.keys) * self.plan.processes)

    # -- epochs --------------------------------------------------------------------------------------------------------

    def _end_epoch(self, folder: RunFolder) -> None:
        entry: dict[str, Any] = {
            "epoch": self.batches_done // self.plan.batches_per_epoch,
            "step": self.steps.done(self.batches_done),
            "lr": self.optimization.lr,
            **self._record.entry(self.batches_done),
            "skipped": len(self.skipped),
        }
        learned = self._weights.learned()
        if learned:
            entry["log_variances"] = learned
        self._record = LossRecord()
        self._gradients.check_weights()
        self._validate(folder, entry)
        self.history.append(entry)
        self._tracking.epoch(entry)
        folder.save(self._state(), self.history)
        values = {name: score_of(entry, name) for name in self.data.primary_scores}
        score = "".join(f"  {name} {value:.4f}" for name, value in values.items() if value is not None)
        seconds = time.perf_counter() - self._epoch_start
        self.progress.say(
            f"epoch {entry['epoch']}/{self.plan.epochs}  loss {entry['loss']:.4f}{score}  lr {entry['lr']:.2e}  {seconds:.1f} s"
        )

    def _stopped_early(self) -> bool:
        """Return whether the scores have not improved for `early_stop` epochs. If so, print a message."""
        if not self.recipe.early_stop or len(self.history) == self.plan.epochs:
            return False
        names = self.data.primary_scores
        waited = epochs_without_better(self.history, names)
        if waited < self.recipe.early_stop:
            return False
        what = names[0] if len(names) == 1 else f"the mean rank of {', '.join(names)}"
        self.progress.say(f"{what} has not improved for {waited} epochs: stopped early after epoch {len(self.history)}")
        return True

    def _validate(self, folder: RunFolder, entry: dict[str, Any]) -> None:
        if not self.data.validated:
            return
        model = self.optimization.averaged
        scores = self.data.score(model)
        entry["val"] = self.data.entries(scores)
        self._shown.scored({name: score_of(entry, name) for name in self.data.primary_scores})
        if self._best([*self.history, entry]) is entry:
            self.scores = scores
            folder.save_best(model.state_dict())

    def _best(self, history: list[dict[str, Any]]) -> Mapping[str, Any] | None:
        return best_epoch(history, self.data.primary_scores)

    def _finish(self, folder: RunFolder) -> None:
        self.processes.wait()  # wait until the first process has written the best weights
        scored = self._best(self.history) is not None
        best = folder.load(BEST) if scored else None
        if best is None and scored:
            raise InputError(f"{folder.path / BEST}: the weights of the best epoch are missing; start the run again")
        self.model.load_state_dict(best if best is not None else copy.deepcopy(self.optimization.averaged.state_dict()))
        if self.data.validated and self.scores is None:  # the best epoch was before the run was resumed
            self.scores = self.data.score(self.model)

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "batches_done": self.batches_done,
            "model": self.model.state_dict(),
            **self.optimization.state_dict(),
            "record": asdict(self._record),
            "weights": self._weights.state_dict(),
            "history": self.history,
            "seconds": self._spent(),
            "skipped": [fault.to_dict() for fault in self.skipped.values()],
            "norm_kernels": self._gradients.norm_kernels,
        }

    def _spent(self) -> float:
        return self.seconds + time.perf_counter() - self._since

    def _restore(self, folder: RunFolder) -> None:
        state = folder.load()
        if state is None:
            return
        try:
            self.batches_done, self.history = state["batches_done"], state["history"]
            self._weights.load_state_dict(state["weights"])
            self.seconds = state["seconds"]
            self._record = LossRecord(**state["record"])
            self.skipped = {entry["key"]: Fault(**entry, whole=True) for entry in state["skipped"]}
            had_kernels = state["norm_kernels"]
            if had_kernels and not self._gradients.norm_kernels:
                self.progress.say("batch-norm kernels of this run can't be compiled here (they need g++): the last bits differ from now on")
            # a run that started with torch's batch-norm continues with it
            self._gradients.norm_kernels = had_kernels and self._gradients.norm_kernels
            self.model.load_state_dict(state["model"])
            self.optimization.load_state_dict(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{folder.path / CHECKPOINT} is not a checkpoint of this run ({error!r}); start the run again") from error
        folder.write_metrics(self.history)
        self.progress.say(f"resumed after {self.batches_done} of {self.plan.epochs * self.plan.batches_per_epoch} batches")
