"""Face embedding: pooled features, a linear layer, unit length; ArcFace in training, verification in evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.dataset import Dataset, Record, Sample
from zoo.data.formats import Scheme
from zoo.data.sampling import Sampling
from zoo.data.writers import Writer
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.registry import Registry
from zoo.task.combination import Combination
from zoo.task.contract import TASKS, Task
from zoo.task.examples import Example
from zoo.task.head import Head, HeadSpec
from zoo.task.metric import Metric
from zoo.task.recipe import Recipe
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.embedding.head import make_head
from zoo.tasks.face.embedding.options import FaceOptions
from zoo.tasks.face.prediction.faces import Faces
from zoo.tasks.face.training.augment import Augment
from zoo.tasks.face.training.recipe import RECIPES, FaceRecipe
from zoo.tasks.face.training.sampling import TRIPLET_PICTURES, identity_batches
from zoo.tasks.face.verification.metric import VerificationMetric
from zoo.tasks.face.verification.pairmetric import PairsMetric
from zoo.tasks.face.verification.pairs import PairedDataset
from zoo.tasks.face.verification.protocol import FaceScoring
from zoo.tasks.face.writers import WRITERS

if TYPE_CHECKING:
    from zoo.models.model import Model
    from zoo.task.alignment import Aligned, Aligning
    from zoo.task.answers import AnswerFiles
    from zoo.task.attack import AttackProtocol
    from zoo.task.prediction import PartsFinder
    from zoo.task.scores import Scores

_SAME = 0.05  # of their length: two embeddings of one picture


@TASKS.register("face")
class FaceTask(Task):
    """One embedding per picture; the people of the evaluation need not be those of the training."""

    name = "face"
    open_set = True
    primary_score = "accuracy"
    scoring = FaceScoring
    attacks: ClassVar[tuple[str, ...]] = ("pgd",)
    sample_data = "demo:faces"
    score_tolerance: ClassVar[Mapping[str, float]] = {"fp32": 0.002, "bf16": 0.003, "int8": 0.002}
    options = FaceOptions
    recipe: ClassVar[type[Recipe]] = FaceRecipe
    recipes: ClassVar[Mapping[str, Recipe]] = RECIPES
    schemes: ClassVar[Registry[Scheme]] = SCHEMES
    writers: ClassVar[Registry[Writer] | None] = WRITERS

    def parse_options(self, values: Mapping[str, Any]) -> FaceOptions:
        """Build the options from keywords, none of them left open."""
        options: FaceOptions = super().parse_options(values)
        return options.settled()

    def bound_options(self, made_with: Mapping[str, Any]) -> Sequence[str]:
        """Return neck and size of embeddings, and how faces are aligned where the weights have learned from aligned ones."""
        names = ["neck", "embedding_size", *(["image_size"] if made_with.get("neck") == "flat" else [])]
        return [name for name in names if name in made_with] + (["alignment"] if made_with.get("alignment", "none") != "none" else [])

    def parse_scoring(self, values: Mapping[str, Any], metadata: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Return how embeddings are compared: as asked for, else as the one model's are; by cosine where several answer, or a file."""
        chosen = super().parse_scoring(values, metadata)
        if chosen["score"] is None and len(metadata) == 1:
            chosen["score"] = metadata[0].get("distance")
        return {**chosen, "score": chosen["score"] or "cosine"}

    def preprocess(self, native: Preprocess, options: FaceOptions) -> Preprocess:
        """Scale both sides to the image size (a face crop is all that counts), with the trunk's own mean and deviation."""
        assert options.image_size is not None, "parse_options has settled it"
        size_hw = options.image_size, options.image_size
        alignment = None if options.alignment == "none" else options.alignment
        return replace(native, policy="squash", size_hw=size_hw, antialias=True, alignment=alignment)

    def head(self, spec: HeadSpec) -> Head:
        """Build the embedding, with ArcFace's centres for the identities there are."""
        return make_head(spec)

    def metadata(self, options: FaceOptions) -> dict[str, Any]:
        """Return how embeddings are compared; the threshold is known once the model has been evaluated."""
        distance = options.settled().distance
        return {"distance": distance, "unit_length": distance == "cosine", "threshold": None}

    def found_by(self, scores: Scores) -> dict[str, Any]:
        """Return the threshold that decided most pairs of people rightly, as a distance; nothing where there were no pairs."""
        similarity = scores.details.get("threshold")  # a cosine: what is trained here embeds in unit length
        return {} if similarity is None or similarity >= 1 else {"threshold": 1 - similarity}

    def augment(self, recipe: Any, preprocess: Preprocess, dataset: Dataset) -> Callable[[Sample], Sample]:
        """Return mirror images, small movements and changes of light."""
        return Augment(recipe)

    def training_min_size_hw(self, recipe: Any, preprocess: Preprocess) -> tuple[int, int] | None:
        """Return what the preprocessing needs, of a face that is made larger by `zoom`."""
        if preprocess.min_size_hw is None:
            return None
        height, width = (math.ceil(side * (1 + recipe.zoom)) for side in preprocess.min_size_hw)
        return height, width

    def labels(self, target: Any) -> Sequence[int]:
        """Return the one identity."""
        return [int(target)]

    def suit(self, recipe: Any, options: FaceOptions) -> Any:
        """Return the recipe with the pictures of an identity in a batch as the loss needs them.

        Raises:
            InputError: shuffled batches for triplets, which would hold hardly anybody twice.
        """
        if recipe.pictures_per_identity is None:
            return replace(recipe, pictures_per_identity=TRIPLET_PICTURES if options.loss == "triplet" else 0)
        if options.loss == "triplet" and not recipe.pictures_per_identity:
            raise InputError(
                "face: the loss triplet compares pictures of one person in a batch; set pictures_per_identity to 2 or more "
                f"({TRIPLET_PICTURES} where it isn't set)"
            )
        return recipe

    def sampling(self, recipe: Any, dataset: Dataset, batch_size: int, smallest: int) -> Sampling:
        """Return batches of whole identities where the recipe asks for them (as balanced as `balance` would have them).

        Raises:
            InputError: one identity alone, or batches of identities that this data can't fill.
        """
        identities = tuple(identity for record in dataset.records for identity in self.labels(record.target))
        if len(set(identities)) < 2:
            raise InputError(f"data {dataset.name!r} shows one identity; telling people apart takes two or more")
        if not recipe.pictures_per_identity:
            return super().sampling(recipe, dataset, batch_size, smallest)
        return identity_batches(identities, recipe.pictures_per_identity, recipe.batch_size, batch_size // recipe.batch_size)

    def collate_targets(self, targets: Sequence[Any]) -> Tensor:
        """Return the identities as [B] int64."""
        return torch.tensor(targets, dtype=torch.int64)

    def relabel(self, dataset: Dataset, new_index: Sequence[int], classes: tuple[str, ...]) -> Dataset:
        """Return the data with its identities counted anew; evaluation never asks for it (`open_set`)."""
        return dataset.with_targets(lambda identity: new_index[identity], classes)

    def split(self, answers: Tensor) -> list[NDArray[np.float32]]:
        """Return one embedding [D] per picture."""
        return list(answers.float().cpu().numpy())

    def agreement(self, wanted: NDArray[np.float32], got: NDArray[np.float32]) -> tuple[float, float]:
        """Return whether the embeddings are as good as one: a twentieth of their length apart at most, where faces are half of it apart."""
        return float(np.linalg.norm(wanted - got) <= _SAME * np.linalg.norm(wanted)), 1.0

    def answer_files(self) -> AnswerFiles:
        """Return arrays, tables and JSON lines of embeddings; see `prediction_files`."""
        from zoo.tasks.face.prediction.files import FILES

        return FILES

    def combination(self, metadata: Sequence[Mapping[str, Any]] = ()) -> Combination:
        """Return means of embeddings over views, at the length that the one model's are compared at, and of cosines over models."""
        from zoo.tasks.face.embedding.combination import EmbeddingCombination

        return EmbeddingCombination(unit_length=len(metadata) != 1 or bool(metadata[0].get("unit_length", True)))

    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Return the verification protocol over the data's own pairs, or over its people; the model's classes have no part in it."""
        score = FaceScoring(**options).score or "cosine"
        if isinstance(dataset, PairedDataset):
            return PairsMetric(dataset.classes, dataset.pairs, score)
        return VerificationMetric(dataset.classes, score, {record.key: record.target for record in dataset.records})

    def attack_protocol(self, dataset: Dataset, classes: tuple[str, ...], pairs: int, seed: int, **options: Any) -> AttackProtocol:
        """Attack the first picture of each pair: of the data's own pairs, or of pairs drawn among its people."""
        from zoo.tasks.face.attack.protocol import PairAttack  # rarely needed

        return PairAttack(dataset, pairs, seed, FaceScoring(**options).score or "cosine")

    def prediction(self, answer: NDArray[np.float32], image: NDArray[np.uint8], key: str, classes: tuple[str, ...]) -> Faces:
        """Return the picture as one face: there is no detector here, so its box is the whole picture and its landmarks are unknown."""
        return Faces.whole_picture(key, image, answer)

    def parts(self, model: Model, detector: object, faces: str) -> PartsFinder | None:
        """Return what finds and aligns the faces; nothing where the model's template is none, or the pictures are faces already."""
        from zoo.tasks.face.alignment.aligner import looking
        from zoo.tasks.face.detection.faces import Wanted

        Wanted(cast(Any, faces))  # refuses an unknown one, where every picture is a face too
        preprocess = model.preprocess
        detector = ("none" if preprocess.alignment is None else "mtcnn") if detector is None else detector
        if detector == "none":
            return None
        return looking(model, detector, faces)

    def align(self, dataset: Dataset, models: Sequence[Model], aligning: Aligning) -> Aligned:
        """Find and align the main face of every picture."""
        from zoo.tasks.face.alignment.dataset import align_data

        return align_data(dataset, models, aligning)

    def example_records(self, dataset: Dataset, count: int) -> list[Record]:
        """Return enough pictures to look for the most similar among."""
        from zoo.tasks.face.prediction.examples import pool

        return pool(dataset.records)

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return faces beside the ones that the model finds most alike."""
        from zoo.tasks.face.prediction.examples import examples

        return list(examples(answers, targets, keys, count))
