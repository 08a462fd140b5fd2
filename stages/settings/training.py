"""How a network is trained: at first, and after it was pruned or quantized."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stages.settings.base import Count, LearningRate, Positive, Section


class Training(Section):
    """What the first training and the two fine-tunes share."""

    epochs: Count = 1
    """Passes over the training images."""
    batch_size: Positive = 64
    """Images per step."""
    learning_rate: LearningRate = 1e-3
    """Peak of Adam's cosine schedule."""
    seed: Count = 0
    """Decides the order and the shifts of the images, and dropout masks."""


class Train(Training):
    """The first training."""

    epochs: Count = 24
    """Passes over the training images; 0 with `model.source` takes the model as trained."""
    batch_size: Positive = 32
    """Images per step."""
    learning_rate: LearningRate = 2e-3
    """Peak of Adam's cosine schedule."""
    seed: Count = 0
    """Decides initial weights, the order and the shifts of the images, and dropout masks."""


class FineTune(Training):
    """What the two fine-tunes share."""

    distillation: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Share of what is learned that comes from the answers of the model before this stage
    instead of from the labels: they say which wrong classes are nearly right."""
