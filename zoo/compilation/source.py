"""The model to compile, and the images for comparison, calibration and scoring."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from zoo.compilation.agreement import DisagreementError, check, compare
from zoo.compilation.conversion import Conversion
from zoo.compilation.images import CALIBRATION, HeadImages, shared_judge
from zoo.data.dataset import OnError
from zoo.engines import ENGINES, Engine, Judge, Runner, Tensors, without_files
from zoo.errors import InputError
from zoo.images.preprocess import ImageBatch, as_float
from zoo.models.compiled import Agreement, Compiled, Making
from zoo.models.fingerprint import fingerprints
from zoo.models.heads import head_data
from zoo.models.model import Model
from zoo.models.networks import PICTURES, first_networks, further_networks, replace_further
from zoo.models.passes import Pass
from zoo.system.precision import EnginePrecision
from zoo.system.progress import Progress
from zoo.system.wording import counted

_ENOUGH = 100  # recommended minimum number of images for calibration; with fewer, a message recommends more


@dataclass(frozen=True)
class Source:
    """The model to compile, and the images for comparison, calibration and scoring."""

    model: Model  # copy of the original, in evaluation mode, on the CPU
    fingerprints: dict[str, Any]  # of the original
    heads: dict[str, HeadImages]  # images by head name
    say: Callable[[str], None]
    progress: Progress

    @classmethod
    def of(cls, model: Model, data: object, on_error: OnError, say: Callable[[str], None], progress: Progress) -> Source:
        """Copy a model and open the data; the arguments are those of `zoo.compile`."""
        copied = copy.deepcopy(model).to(device=torch.device("cpu")).eval().requires_grad_(False)
        copied.to(memory_format=torch.channels_last)
        names = [*copied.config.heads]
        by_head = head_data(names, data) if isinstance(data, Mapping) else dict.fromkeys(names, data)
        heads, left_out = dict[str, HeadImages](), set[str]()
        for way in copied.passes():
            with_data = [name for name in way.heads if by_head.get(name) is not None]
            for name in with_data or way.heads:
                heads[name] = HeadImages.of(copied.view(name), by_head.get(name), on_error, say, progress, left_out)
            for name in way.heads:
                if name not in heads:  # compared on the images of a head that shares its preprocessing
                    heads[name] = heads[with_data[0]].without_truth(copied.view(name))
        return cls(copied, fingerprints(model), {name: heads[name] for name in names}, say, progress)

    @cached_property
    def passes(self) -> dict[str, Pass]:
        """The passes of the model by the names of their networks."""
        return first_networks(self.model.config)

    def compiled(self, engine: Engine, precision: EnginePrecision) -> Compiled:
        """Return the model compiled for an engine.

        Raises:
            DisagreementError: its predictions disagree with the original model.
            InputError: the model is encrypted, and the engine needs files.
        """
        if self.model.encrypted and not engine.in_memory:
            raise InputError(f"the engine {engine.name} writes files, which an encrypted model doesn't allow; {without_files()}")
        if (engine.name, precision) == ("eager", "fp32"):  # the computation is the same, so no comparison is necessary
            return self._made(self._conversion(engine, precision), Agreement(0, 0.0, 1.0))
        try:
            return self._checked(self._conversion(engine, precision))
        except DisagreementError as error:
            if precision != "int8" or not any(head.has_truth for head in self.heads.values()):
                raise
            self.say(f"{error}. Leaving layers unquantised until it agrees, which takes a while")
        return self._checked(self._conversion(engine, precision, self._judge))

    def _conversion(self, engine: Engine, precision: EnginePrecision, judge: Callable[[str], Judge | None] | None = None) -> Conversion:
        samples = self._samples if precision == "int8" else {}
        if samples and judge is None:
            for name, way in self.passes.items():
                count, truth = len(samples[name]), all(self.heads[head].has_truth for head in way.heads)
                few = "; 100 or more are better" if count < _ENOUGH else ""
                unscored = "" if truth else "; without ground truth the scores can't be compared"
                if few or unscored:
                    of = f" for {', '.join(way.heads)}" if self.model.is_joint else ""
                    self.say(f"int8 is calibrated on {counted(count, 'image')}{of}{few}{unscored}")
        return Conversion(self.model, self.fingerprints["model"], engine, precision, torch.get_num_threads(), samples, judge, self.say)

    def _by_head(self, agreements: dict[str, Agreement]) -> Any:
        """Return the agreements in the form of `Making.agreement`."""
        return agreements if self.model.is_joint else next(iter(agreements.values()))

    def _made(self, conversion: Conversion, agreement: Agreement) -> Compiled:
        agreements = self._by_head(dict.fromkeys(self.heads, agreement))
        making = Making(conversion.engine.name, conversion.precision, conversion.threads, agreements)
        made = Compiled(self.model.config, self.model.metadata, self.fingerprints, conversion, making)
        made.encrypted = self.model.encrypted
        return made

    def _checked(self, conversion: Conversion) -> Compiled:
        compiled = self._made(conversion, Agreement(0, 0.0, None))
        agreements = {}
        for name, head in self.heads.items():
            view = compiled.view(name)
            agreement = compare(head.model, view, head.compared(), head.task)
            if head.has_truth:
                primary = head.task.scoring.primary_score
                agreement = replace(agreement, score=primary, eager=head.eager_score, compiled=head.score(view))
            agreements[name] = agreement
        if len(conversion.refused) == len(self.passes) + len(further_networks(self.model)):
            raise conversion.refused[PICTURES]
        for name, head in self.heads.items():
            check(agreements[name], compiled.making, head.task, name if self.model.is_joint else None)
        compiled.making = replace(compiled.making, agreement=self._by_head(agreements))
        return compiled

    @cached_property
    def _samples(self) -> dict[str, list[Tensors]]:
        """Inputs for calibration, by network name, computed once from the images and reused for all engines and attempts."""
        found: dict[str, list[Tensors]] = {name: [] for name in self.passes}
        further = further_networks(self.model)

        def recorded(name: str, network: nn.Module) -> Runner:
            def run(*inputs: Tensor) -> Tensors:
                found.setdefault(name, []).append(inputs)
                answer: Tensors = network(*inputs)
                return answer

            return run

        replace_further(self.model, {name: recorded(name, each.module) for name, each in further.items()})
        try:
            with torch.no_grad():
                for name, way in self.passes.items():
                    needed = [head for head in way.heads if any(each.head == head for each in further.values())]
                    for batch in self._calibrating(way):
                        found[name].append((as_float(batch.pixels),))
                        if needed:
                            self.model(batch, tasks=needed)
        finally:
            replace_further(self.model, {})
        return found

    def _calibrating(self, way: Pass) -> Iterator[ImageBatch]:
        """Yield single images for the calibration of a pass: equally many of each head, but no image twice."""
        sources = {tuple(record.key for record in head.pictures.records): head for name, head in self.heads.items() if name in way.heads}
        if not all(head.given for head in sources.values()):
            raise InputError(
                f"int8 requires images for calibration, but data has none for {', '.join(way.heads)}; add images for one of these heads"
            )
        counts = [min(CALIBRATION // len(sources), len(head.pictures)) for head in sources.values()]
        batches = chain.from_iterable(head.batches(count, 1) for head, count in zip(sources.values(), counts, strict=True))
        return self.progress.track(batches, "calibrating", sum(counts))

    def _judge(self, name: str) -> Judge | None:
        """Return the scorer of candidates for one network; None if its heads have no ground truth. The other networks run in eager."""
        further = further_networks(self.model)
        of = [further[name].head] if name in further else self.passes[name].heads
        heads = {head: self.heads[head] for head in of if self.heads[head].has_truth}
        if not heads:
            return None
        eager = self._conversion(ENGINES["eager"](), "fp32")

        def scored(runner: Runner) -> Compiled:
            return self._made(replace(eager, replaced={name: runner}), Agreement(0, 0.0, None))

        if len(heads) == 1:
            ((only, images),) = heads.items()
            return Judge(len(images.pictures), images.tolerance, lambda runner, numbers: images.score(scored(runner).view(only), numbers))
        return shared_judge(heads, scored)
