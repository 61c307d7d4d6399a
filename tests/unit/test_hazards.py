"""Known mistakes of the field, each with the tests that detect it; mistakes without a test elsewhere are tested here.

Each mistake was made temporarily, one after another, and these tests failed:

    1   resizing without antialiasing; a loaded model with the default preprocessing of its backbone instead of the saved one
    2   OpenCV's BGR instead of RGB: in plain images, at reduced scales, with transparency or 16 bit, in video frames
    3   ids from 0 passed to either evaluator
    4   the limits 1, 10 and 100 regardless of the requested one
    5   COCO labels by id instead of by index
    6   the area of the box instead of the annotation's; crowds or difficult objects that count
    7   a loader that pads the shares of the processes; a face metric that counts repeated samples twice
    8   EXIF orientation ignored; sides of boxes longer by one
    9   pairs by position instead of by key; accuracy over the whole protocol without the missing pairs
    10  the threshold chosen on the fold that it scores; cosines of embeddings that aren't normalised
    11  a loader that returns the next image for an unreadable one
    12  a hundred recalls instead of 101; images by name instead of by id
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from zoo.images import decoding
from zoo.task.metric import MetricResult
from zoo.tasks.face.verification.pairs import Pair, PairsMetric

TESTS = Path(__file__).resolve().parents[1]

PROOF = {
    1: (
        "unit/images/test_preprocess.py::test_squash_and_its_antialiasing",
        "unit/images/test_preprocess.py::test_crop_is_torchvisions_preset",
        "unit/images/test_preprocess.py::test_fit_is_torchvisions_detection_transform",
        "unit/models/test_model.py::test_what_is_loaded_is_what_was_saved_after_training_too",
        "parity/test_classifiers.py::test_preprocessing_equals_timms_own",
    ),
    2: (
        "unit/images/test_decoding.py::test_a_red_picture_is_red",
        "unit/prediction/test_predict.py::test_a_video_frame_by_frame_in_rgb",
        "unit/test_hazards.py::test_red_is_red_in_every_way_of_decoding",
    ),
    3: ("unit/tasks/detection/test_metrics.py::test_ids_from_nought_count",),
    4: (
        "unit/tasks/detection/test_metrics.py::test_more_than_a_hundred_answers_leave_the_scores_defined",
        "unit/tasks/detection/test_metrics.py::test_more_answers_may_count",
    ),
    5: (
        "unit/tasks/detection/datasets/test_scheme_coco.py::test_coco_is_read",
        "contract/test_datasets.py::test_every_detection_format_reads_the_same_boxes",
    ),
    6: (
        "unit/tasks/detection/test_metrics.py::test_crowds_and_difficult_objects_count_neither_way",
        "unit/tasks/detection/test_metrics.py::test_the_area_is_the_annotations",
    ),
    7: (
        "unit/data/test_loader.py::test_evaluation_takes_every_sample_once",
        "unit/evaluation/test_evaluate.py::test_101_samples_score_the_same_over_one_two_and_three_processes",
        "unit/tasks/classification/test_metrics.py::test_order_batches_and_repeated_pictures_change_nothing",
        "unit/test_hazards.py::test_a_face_that_comes_twice_counts_once",
    ),
    8: (
        "unit/tasks/detection/test_metrics.py::test_boxes_are_as_wide_as_their_corners_say",
        "unit/images/test_decoding.py::test_all_eight_orientations",
        "unit/images/test_tiff.py::test_orientation_turns_pixels_and_not_pairs",
    ),
    9: (
        "unit/tasks/face/test_predictions.py::test_a_face_that_was_not_found_is_counted_and_costs_its_pairs",
        "unit/tasks/face/verification/test_identification.py::test_a_face_that_was_not_found_counts_as_an_error_over_the_whole_protocol",
        "unit/tasks/face/datasets/test_scheme_lfw.py::test_pairs_left_out_are_counted",
    ),
    10: (
        "parity/test_lfw_protocol.py::test_random_embeddings_score_chance_and_their_lengths_mean_nothing",
        "unit/tasks/face/verification/test_verification.py::test_folds_are_decided_with_the_threshold_of_the_others",
        "unit/tasks/face/verification/test_metrics.py::test_random_embeddings_score_chance",
        "unit/tasks/face/verification/test_metrics.py::test_nobody_who_is_scored_was_seen_when_the_threshold_was_chosen",
        "unit/tasks/face/verification/test_metrics.py::test_neither_order_nor_batches_nor_lengths_change_anything",
    ),
    11: (
        "unit/data/test_loader.py::test_unreadable_pictures",
        "unit/evaluation/test_evaluate.py::test_skipped_samples_are_counted_and_listed",
    ),
    12: (
        "unit/tasks/detection/test_metrics.py::test_the_official_example_to_ten_digits",
        "unit/tasks/detection/test_metrics.py::test_both_evaluators_say_the_same",
    ),
}


@pytest.mark.parametrize("hazard", range(1, 13))
def test_every_hazard_has_a_test(hazard: int) -> None:
    for test in PROOF[hazard]:
        file, name = test.split("::")
        assert re.search(rf"^def {name}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE), f"{test} is gone"


@pytest.mark.parametrize("min_side", [None, 100, 40, 20, 10])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".ppm"])
def test_red_is_red_in_every_way_of_decoding(suffix: str, min_side: int | None) -> None:
    """Hazard 2: at full and reduced scales, with transparency and with 16 bit, which OpenCV decodes differently."""
    red = np.zeros((320, 320, 3), np.uint8)
    red[..., 2] = 254  # OpenCV writes BGR
    kinds: list[NDArray[Any]] = [red]
    if suffix in (".png", ".tiff"):
        kinds += [np.dstack([red, np.full((320, 320), 255, np.uint8)]), red.astype(np.uint16) * 257]
    for picture in kinds:
        done, data = cv2.imencode(suffix, picture)
        assert done
        decoded, _ = decoding.Decoding(None if min_side is None else (min_side, min_side)).decode(data.tobytes(), suffix)
        assert decoded.reshape(-1, 3).mean(0).tolist() == pytest.approx([254, 0, 0], abs=2)


def test_a_face_that_comes_twice_counts_once() -> None:
    """Hazard 7, for pairs: samples repeated by a padding sampler change nothing, neither in verification nor in identification."""
    rng = np.random.default_rng(0)
    keys = [f"{person}/{number}" for person in range(12) for number in range(3)]
    rows = [rng.normal(size=8).astype(np.float32) for _ in keys]
    pairs = [Pair(f"{p}/0", f"{(p + other) % 12}/1", other == 0, p % 4) for p in range(12) for other in (0, 1)]

    def scored(places: list[int]) -> MetricResult:
        metrics = [PairsMetric(tuple(f"p{p}" for p in range(12)), pairs) for _ in range(2)]
        for rank, metric in enumerate(metrics):
            own = places[rank::2]
            metric.update([rows[i] for i in own], [i // 3 for i in own], [keys[i] for i in own])
        metrics[0].merge([metric.state() for metric in metrics])
        return metrics[0].compute(20)

    padded, once = scored([*range(36), 0, 4, 4]), scored(list(range(36)))
    for name in ("pictures", "identities", "pairs", "per_fold"):
        assert padded.details[name] == once.details[name]
    for name, value in once.scores.items():
        assert padded.scores[name] == pytest.approx(value, abs=1e-12), name
    for name, values in once.replicates.items():
        np.testing.assert_allclose(padded.replicates[name], values, atol=1e-12, err_msg=name)
