"""The face task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, Record, Sample
from zoo.data.formats import Scheme
from zoo.data.sampling import Sampling
from zoo.data.writers import Writer
from zoo.errors import InputError
from zoo.images.preprocess import Preprocess
from zoo.registry import Registry
from zoo.task.answers import Aligned, Aligning, AnswerFiles, Answers, Example, Output, PartsFinder
from zoo.task.building import Building, TaskModel
from zoo.task.combination import Combination
from zoo.task.contract import TASKS, Task
from zoo.task.data import IndexData
from zoo.task.head import Head, HeadSpec
from zoo.task.metric import Metric, Scores
from zoo.task.operating import Decisions
from zoo.task.purpose import Purpose
from zoo.task.recipe import Recipe
from zoo.task.scoring import AttackProtocol, Scoring
from zoo.tasks.face.datasets import SCHEMES
from zoo.tasks.face.embedding.head import make_head
from zoo.tasks.face.embedding.options import FaceOptions
from zoo.tasks.face.prediction.faces import Faces
from zoo.tasks.face.training.augment import Augment
from zoo.tasks.face.training.recipe import RECIPES, FaceRecipe
from zoo.tasks.face.training.sampling import TRIPLET_PICTURES, identity_batches
from zoo.tasks.face.verification.metric import VerificationMetric
from zoo.tasks.face.verification.operating import VERIFICATION
from zoo.tasks.face.verification.pairs import PairedDataset, PairsMetric
from zoo.tasks.face.verification.protocol import FaceScoring as ScoringOptions
from zoo.tasks.face.verification.report import example_records, examples
from zoo.tasks.face.writers import WRITERS


class FaceBuilding(Building):
    """Building of face models: a linear layer on pooled features and normalisation to unit length, with a margin loss for training."""

    options = FaceOptions

    def settle(self, options: FaceOptions) -> FaceOptions:
        """Fill in the defaults that depend on other options: image size, embedding size, neck and alignment."""
        return options.settled()

    def bound_options(self, made_with: Mapping[str, Any]) -> Sequence[str]:
        """Return the neck and the embedding size; for the neck "flat" also the image size, and for aligned training faces the alignment."""
        names = ["neck", "embedding_size", *(["image_size"] if made_with.get("neck") == "flat" else [])]
        return [name for name in names if name in made_with] + (["alignment"] if made_with.get("alignment", "none") != "none" else [])

    def preprocess(self, native: Preprocess, options: FaceOptions) -> Preprocess:
        """Return the preprocessing: resizing to a square, ignoring the aspect ratio, with the backbone's mean and standard deviation."""
        assert options.image_size is not None, "settle() fills it in"
        size_hw = options.image_size, options.image_size
        alignment = None if options.alignment == "none" else options.alignment
        return replace(native, policy="squash", size_hw=size_hw, antialias=True, alignment=alignment)

    def head(self, spec: HeadSpec) -> Head:
        """Create the embedding layers and the training loss."""
        return make_head(spec)

    def metadata(self, options: FaceOptions) -> dict[str, Any]:
        """Return the distance and the threshold, which is None until the model has been validated."""
        distance = options.settled().distance
        return {"distance": distance, "unit_length": distance == "cosine", "threshold": None}

    def identity(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the neck and the distance if they differ from the defaults "mean" and "cosine"."""
        defaults = {"neck": (None, "mean"), "distance": (None, "cosine")}
        return {name: options[name] for name, usual in defaults.items() if options.get(name) not in usual}

    def trained_metadata(self, scores: Scores) -> dict[str, Any]:
        """Return the threshold with the highest verification accuracy, as a cosine distance; an empty dict if there were no pairs."""
        similarity = scores.details.get("threshold")  # a cosine, because all models trained here produce unit-length embeddings
        return {} if similarity is None or similarity >= 1 else {"threshold": 1 - similarity}


class FaceData(IndexData):
    """Face datasets, with one identity per image."""

    open_set = True
    schemes: ClassVar[Registry[Scheme]] = SCHEMES
    writers: ClassVar[Registry[Writer] | None] = WRITERS
    sample_data = "demo:faces"
    recipe: ClassVar[type[Recipe]] = FaceRecipe
    recipes: ClassVar[Mapping[str, Recipe]] = RECIPES

    def augment(self, recipe: Any, preprocess: Preprocess, dataset: Dataset) -> Callable[[Sample], Sample]:
        """Return the augmentation: flips, small affine transforms, and changes of brightness and contrast."""
        return Augment(recipe)

    def training_min_size_hw(self, recipe: Any, preprocess: Preprocess) -> tuple[int, int] | None:
        """Return the minimum decoded size (height, width): that of preprocessing, plus a margin for enlarging faces by up to `zoom`."""
        if preprocess.min_size_hw is None:
            return None
        height, width = preprocess.min_size_hw
        return math.ceil(height * (1 + recipe.zoom)), math.ceil(width * (1 + recipe.zoom))

    def suit(self, recipe: Any, options: FaceOptions) -> Any:
        """Set the number of images per identity in a batch if it isn't set: 4 for the triplet loss, otherwise 0."""
        if recipe.pictures_per_identity is None:
            return replace(recipe, pictures_per_identity=TRIPLET_PICTURES if options.loss == "triplet" else 0)
        if options.loss == "triplet" and not recipe.pictures_per_identity:
            raise InputError(
                "face: pictures_per_identity is 0, but the loss triplet needs several images of each person in a batch; "
                f"set it to 2 or more (default: {TRIPLET_PICTURES})"
            )
        return recipe

    def sampling(self, recipe: Any, dataset: Dataset, batch_size: int, smallest: int) -> Sampling:
        """Return a sampler of P identities × K images if the recipe sets `pictures_per_identity` (K), otherwise the default sampler."""
        identities = tuple(identity for record in dataset.records for identity in self.labels(record.target))
        if len(set(identities)) < 2:
            raise InputError(f"dataset {dataset.name!r} has fewer than two identities; face training needs two or more")
        if not recipe.pictures_per_identity:
            return super().sampling(recipe, dataset, batch_size, smallest)
        return identity_batches(identities, recipe.pictures_per_identity, recipe.batch_size, batch_size // recipe.batch_size)


class FaceAnswers(Answers):
    """Predictions of face models: one embedding [D] per image or per face crop."""

    def prediction(
        self,
        answer: NDArray[np.float32],
        image: NDArray[np.uint8],
        key: str,
        classes: tuple[str, ...],
        metadata: Mapping[str, Any] | None = None,
    ) -> Faces:
        """Return a result with one face: its box is the whole image, and its landmarks are unknown."""
        return Faces.whole_picture(key, image, answer)

    def purpose(self, classes: tuple[str, ...], options: Mapping[str, Any], metadata: Mapping[str, Any]) -> Purpose:
        """Describe a face model: length and distance of its embeddings. People aren't classes, so that `classes` aren't mentioned."""
        length, distance = options["embedding_size"], metadata.get("distance", "cosine")
        text = f"Computes an embedding of {length} numbers for a face. Two faces are compared by their {distance} distance."
        none = "The model has no threshold for verification; choose one on images of your own with zoo tune."
        rates = "Error rates differ between cameras, poses, ages and groups of people. Measure them on images of your own."
        data = "Embeddings of faces are biometric data, which the law protects in many places."
        return Purpose(text, "image-feature-extraction", (rates, data, *([none] if metadata.get("threshold") is None else [])))

    def outputs(self, classes: tuple[str, ...]) -> tuple[Output, ...]:
        """Return the attributes of predictions that servers return as tensors."""
        return (
            Output("boxes", "float32", (None, 4)),
            Output("scores", "float32", (None,)),
            Output("landmarks", "float32", (None, 5, 2)),
            Output("embeddings", "float32", (None, -1)),
        )

    def files(self) -> AnswerFiles | None:
        """Return the reader and writer of embedding files; see `prediction.files` for the formats."""
        from zoo.tasks.face.prediction.files import FILES

        return FILES

    def combination(self, metadata: Sequence[Mapping[str, Any]]) -> Combination | None:
        """Return the combination of embeddings: their mean over views, and their concatenation over models."""
        from zoo.tasks.face.embedding.distances import EmbeddingCombination

        return EmbeddingCombination(unit_length=len(metadata) != 1 or bool(metadata[0].get("unit_length", True)))

    def parts(self, model: TaskModel, detector: object, faces: str) -> PartsFinder | None:
        """Return the face detector and aligner. None for `detector="none"`, the default for models without an alignment template."""
        from zoo.tasks.face.alignment.aligner import looking
        from zoo.tasks.face.detection.faces import Wanted

        Wanted(cast(Any, faces))  # validates `faces` even if no detector is used
        if detector is None:
            detector = "none" if model.preprocess.alignment is None else "mtcnn"
        return None if detector == "none" else looking(model, detector, faces)

    def align(self, dataset: Dataset, models: Sequence[TaskModel], aligning: Aligning) -> Aligned | None:
        """Detect and align the main face of every image of a dataset."""
        from zoo.tasks.face.alignment.dataset import align_data

        return align_data(dataset, models, aligning)

    def example_records(self, dataset: Dataset, count: int) -> list[Record]:
        """Return the records among which `examples` searches for similar faces."""
        return example_records(dataset.records)

    def examples(
        self, answers: Sequence[Any], targets: Sequence[Any], keys: Sequence[str], classes: tuple[str, ...], count: int
    ) -> list[Example]:
        """Return examples that show a face next to the one with the most similar embedding."""
        return list(examples(answers, targets, keys, count))


class FaceScoring(Scoring):
    """Scoring of face models: verification and identification of people who are not in the training data."""

    primary_score = "accuracy"
    options = ScoringOptions
    score_names: ClassVar[tuple[str, ...]] = ("accuracy", "accuracy_*", "auc", "eer", "tar@1e-[0-9]", "fnir@1e-[0-9]", "rank[0-9]*")
    tolerance: ClassVar[Mapping[str, float]] = {"fp32": 0.002, "bf16": 0.003, "fp16": 0.003, "int8": 0.002}
    attacks: ClassVar[tuple[str, ...]] = ("pgd",)

    def settle(self, options: dict[str, Any], metadata: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Set the default score, and add the threshold of a single model, unless its distance is another one than the score.

        The default score is the distance in the model's metadata; "cosine" for several models and for embeddings from a file.
        """
        only = metadata[0] if len(metadata) == 1 else {}
        own = only.get("distance")
        score = options["score"] or own or "cosine"
        return {**options, "score": score, "threshold": only.get("threshold") if score == own else None}

    def metric(self, dataset: Dataset, classes: tuple[str, ...], **options: Any) -> Metric:
        """Return the verification metric: over the pairs that the dataset defines, otherwise over pairs formed from its identities."""
        threshold, score = options.pop("threshold", None), ScoringOptions(**options).score or "cosine"
        if isinstance(dataset, PairedDataset):
            return PairsMetric(dataset.classes, dataset.pairs, score, threshold)
        return VerificationMetric(dataset.classes, score, {record.key: record.target for record in dataset.records}, threshold)

    def decisions(
        self, metric: Any, classes: tuple[str, ...], options: Mapping[str, Any], positive: str | None
    ) -> Mapping[str, Decisions] | None:
        """Return the decisions of verification and of identification."""
        found: Mapping[str, Decisions] = metric.decisions()
        return found

    def operating_metadata(self, thresholds: Mapping[str, float], classes: tuple[str, ...]) -> dict[str, Any]:
        """Return the thresholds by use, as distances; that of verification is also the model's threshold."""
        own = {"threshold": thresholds[VERIFICATION]} if VERIFICATION in thresholds else {}
        return {**super().operating_metadata(thresholds, classes), **own}

    def attack_protocol(self, dataset: Dataset, classes: tuple[str, ...], pairs: int, seed: int, **options: Any) -> AttackProtocol | None:
        """Return the protocol that attacks one image of each pair, where pairs are defined by the dataset or drawn from its identities."""
        from zoo.tasks.face.verification.attack import PairAttack  # rarely needed

        return PairAttack(dataset, pairs, seed, options["score"] or "cosine")


FACE = Task("face", FaceBuilding(), FaceData(), FaceAnswers(), FaceScoring())
TASKS.add("face", FACE)
