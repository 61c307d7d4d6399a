"""What a model does and what it can't do, for its model card."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Purpose:
    """What a model does, for its model card.

    Attributes:
        text: what the model predicts, one sentence.
        hub_task: name of the task on the Hugging Face Hub (`pipeline_tag`); "" if it has none.
        limits: limits that follow from the model's options and metadata, one sentence each.
    """

    text: str
    hub_task: str = ""
    limits: tuple[str, ...] = ()
