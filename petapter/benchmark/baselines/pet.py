"""`pet`: pattern-exploiting training as its authors do it: a whole masked LM per pattern, then one classifier for all.

Schick, Schütze 2021, arXiv 2001.07676. The auxiliary masked-LM loss is off, as it is by default in the authors' code.
"""

import itertools
import operator
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import kl_div

from petapter.benchmark.baselines.label_words import LabelWords, mask_scores
from petapter.benchmark.baselines.models import (
    ClassificationHead,
    first_token_classifier,
    optimise,
    reproducible,
    trainable_copy,
    trained_bytes,
)
from petapter.benchmark.baselines.options import Optimisation, parse_options
from petapter.benchmark.baselines.rows import class_positions, normalised
from petapter.benchmark.baselines.sequences import Padded, computed, padded, plain_rows
from petapter.benchmark.methods import Answer, Trial
from petapter.task.encoding import Fields
from petapter.training.objective import objective
from petapter_schemas.task import PatternSpec


class PetOptions(Optimisation):
    """Options of `pet`; defaults are those of the comparison in the PETapter paper (arXiv 2412.04975).

    That comparison trains one pattern, so give the method a task with one.

    Attributes:
        repetitions: Masked LMs per pattern, each with a seed of its own; PET's authors train 3.
        weights: How members count in the mean of logits: by their share of right training rows before training, as in
            PET, or all alike.
        distil: Whether the ensemble teaches one classifier where there are unlabelled texts; without any the ensemble
            answers.
        temperature: Softens what the ensemble teaches.
        student_lr: Peak learning rate of the classifier.
        student_steps: Its optimiser steps. Like rate and batch these are the values of PET's own code; far fewer at
            the same rate leave it worse than the ensemble, so fewer want a higher rate.
        student_batch_size: Texts per step.
    """

    lr: float = Field(default=1e-5, gt=0)
    warmup: float = Field(default=0.0, ge=0, le=1)
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=1, ge=1)
    repetitions: int = Field(default=1, ge=1)
    weights: Literal["accuracy", "uniform"] = "accuracy"
    distil: bool = True
    temperature: float = Field(default=2.0, gt=0)
    student_lr: float = Field(default=1e-5, gt=0)
    student_steps: int = Field(default=5000, ge=1)
    student_batch_size: int = Field(default=16, ge=1)


@dataclass(frozen=True)
class Member:
    """One trained masked LM of the ensemble, after it has scored the texts that it was trained for.

    Attributes:
        logits: Label logits [N, L] of those texts.
        accuracy_before: Share of the training rows that the label words got right before any training.
        steps: Optimiser steps.
        stored_bytes: Size of the masked LM.
        train_seconds: Without scoring the texts.
    """

    logits: Tensor
    accuracy_before: float
    steps: int
    stored_bytes: int
    train_seconds: float


@dataclass(frozen=True)
class Pet:
    """Fine-tunes a copy of the masked LM, head and all, for each pattern, and averages their label logits.

    A label's logit is M times the mean over its words of the mean over a word's tokens of the masked LM's logits at the
    M masks, and the loss is the cross-entropy over labels. Where the trial has unlabelled texts, the ensemble gives
    them soft labels and a classifier on the first token learns these alone; it then answers, as in PET's own code.
    """

    options: PetOptions

    def __call__(self, trial: Trial) -> Answer:
        """Train on the trial's rows and answer its texts."""
        class_positions(trial)
        if not (self.options.distil and trial.unlabelled):
            return self._ensemble_answer(trial)
        return self._student_answer(trial)

    def members(self, trial: Trial, texts: Sequence[Fields]) -> list[Member]:
        """Train all members, one after the other, and let each score the same texts."""
        with reproducible(trial.backbone, trial.seed):
            words = LabelWords(trial.task, trial.backbone)
            kinds = list(itertools.product(trial.task.patterns, range(self.options.repetitions)))
            first = trial.seed * len(kinds)  # another seed shares no member's seed
            return [
                _member(trial, words, pattern, texts, self.options, seed)
                for seed, (pattern, _) in enumerate(kinds, start=first)
            ]

    def _ensemble_answer(self, trial: Trial) -> Answer:
        started = time.perf_counter()
        members = self.members(trial, trial.test)
        answers = normalised(mean_logits(members, self.options))
        seconds = time.perf_counter() - started
        train_seconds = sum(member.train_seconds for member in members)
        return Answer(
            log_probabilities=answers,
            train_seconds=train_seconds,
            predict_seconds=seconds - train_seconds,
            module_bytes=sum(member.stored_bytes for member in members),
            steps=sum(member.steps for member in members),
            details={"members": len(members), "distilled": False},
        )

    def _student_answer(self, trial: Trial) -> Answer:
        started = time.perf_counter()
        members = self.members(trial, trial.unlabelled)
        taught = mean_logits(members, self.options)  # [U, L]
        backbone, labels = trial.backbone, len(trial.task.labels)
        with reproducible(backbone, trial.seed):
            encoder = trainable_copy(backbone.model.base_model)
            head = ClassificationHead(backbone.model.config, labels).to(backbone.device)
            classify = first_token_classifier(encoder, head)
            rows = plain_rows(backbone, trial.unlabelled, trial.task.fields, special_tokens=True)

            def loss_of(batch: list[int]) -> Tensor:
                logits = classify(padded([rows[i] for i in batch], backbone))
                return distillation_loss(logits, taught[batch].to(backbone.device), self.options.temperature)

            steps = optimise((encoder, head), loss_of, len(rows), self._student_optimisation(), trial.seed)
            train_seconds = time.perf_counter() - started
            started = time.perf_counter()
            test = plain_rows(backbone, trial.test, trial.task.fields, special_tokens=True)
            answers = normalised(computed(test, backbone, classify))
        return Answer(
            log_probabilities=answers,
            train_seconds=train_seconds,
            predict_seconds=time.perf_counter() - started,
            module_bytes=trained_bytes(encoder, head),
            steps=steps + sum(member.steps for member in members),
            details={"members": len(members), "distilled": True, "student_steps": steps, "unlabelled": len(rows)},
        )

    def _student_optimisation(self) -> Optimisation:
        chosen = self.options
        return Optimisation(
            lr=chosen.student_lr,
            weight_decay=chosen.weight_decay,
            warmup=chosen.warmup,
            steps=chosen.student_steps,
            batch_size=chosen.student_batch_size,
            clip_norm=chosen.clip_norm,
        )


def pet(**options: object) -> Pet:
    """`pet`, with the options of PetOptions."""
    return Pet(parse_options(PetOptions, options))


def mean_logits(members: Sequence[Member], options: PetOptions) -> Tensor:
    """The ensemble's logits [N, L]: the weighted mean of its members' logits."""
    weights = torch.ones(len(members))
    if options.weights == "accuracy" and any(member.accuracy_before for member in members):
        weights = torch.tensor([member.accuracy_before for member in members])
    stacked = torch.stack([member.logits for member in members])  # [K, N, L]
    return torch.einsum("knl,k->nl", stacked, weights / weights.sum())


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """T^2 times the divergence of softmax(logits / T) from softmax(taught / T), averaged over texts; both are [B, L].

    Hinton, Vinyals, Dean 2015, arXiv 1503.02531; PET uses T = 2.
    """
    learner = torch.log_softmax(logits / temperature, dim=-1)
    teacher = torch.log_softmax(taught / temperature, dim=-1)
    return kl_div(learner, teacher, reduction="batchmean", log_target=True) * temperature**2


def _member(
    trial: Trial, words: LabelWords, pattern: PatternSpec, texts: Sequence[Fields], options: PetOptions, seed: int
) -> Member:
    started = time.perf_counter()
    torch.manual_seed(seed)
    backbone = trial.backbone
    model = trainable_copy(backbone.model)
    read = mask_scores(model)
    rows = words.rows([row.fields for row in trial.train], pattern)
    loss = objective(trial.task, trial.train, 0.0, backbone.device)

    def label_logits(batch: Padded) -> Tensor:
        return words.means(read(batch)) * batch.masks.shape[1]

    def loss_of(batch: list[int]) -> Tensor:
        return loss(label_logits(padded([rows[i] for i in batch], backbone)), batch)

    before = computed(rows, backbone, label_logits).argmax(dim=-1).tolist()
    right = sum(map(operator.eq, before, class_positions(trial)))
    steps = optimise((model,), loss_of, len(rows), options, seed)
    train_seconds = time.perf_counter() - started
    logits = computed(words.rows(texts, pattern), backbone, label_logits)
    return Member(logits, right / len(rows), steps, trained_bytes(model), train_seconds)
