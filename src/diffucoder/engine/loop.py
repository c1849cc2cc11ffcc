"""The optimizer step and the training loop.

A step's loss is one sum over all its rows divided by one denominator, however the rows are
spread: `optimizer_step` adds the denominators of all micro-batches of all ranks before any
forward pass, so neither ranks nor accumulation nor micro-batches enter the result.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from diffucoder.config.training import TrainingParams
from diffucoder.engine import checkpoints, flops, resume
from diffucoder.engine.clock import Stopwatch, peak_memory_mib
from diffucoder.engine.context import Context, Interrupted, sum_over_ranks
from diffucoder.engine.zero import Engine, forward_backward, update
from diffucoder.errors import BadData, TrainingFailed
from diffucoder.loss import LossOutput
from diffucoder.progress import Meter


class Movable(Protocol):
    """What can be moved to a device: a tensor, or a batch of them."""

    def to(self, device: torch.device, /) -> Self:
        """The same on `device`; `torch.Generator`s stay what and where they are."""
        ...


Row = TypeVar("Row")
B = TypeVar("B", bound=Movable)
StepMetrics = dict[str, float]
# `loss(model, batch, denominator)`.
Loss = Callable[[Any, B, float], LossOutput]


@dataclass(frozen=True)
class MicroBatch(Generic[B]):
    """One micro-batch, ready for the forward pass.

    Attributes:
        batch: what the loss takes; moved to the device before the loss is called.
        denominator: what this micro-batch adds to the step's denominator, such as the number
            of positions that can take part in the loss.
        tokens: positions that the forward pass runs over, for the rate.
    """

    batch: B
    denominator: float
    tokens: int


def optimizer_step(
    engine: Engine, micro_batches: Sequence[MicroBatch[B]], loss: Loss[B]
) -> StepMetrics:
    """One update of the weights from this rank's micro-batches; all ranks call it together.

    Args:
        engine: what to train.
        micro_batches: this rank's micro-batches, equally many on every rank.
        loss: `loss(model, batch, denominator) -> (loss, metrics)`: a micro-batch's sum over
            the step's `denominator`, and detached scalars, each a mean over what the
            micro-batch's own denominator counts.

    Returns:
        `loss` (the step's, over all ranks), the loss's own metrics (means weighted by the
        micro-batches' denominators), `grad_norm` (before clipping; not finite if the update was
        skipped), `skipped` (updates of the stage that were), `lr`, `tokens_per_s` (of all
        ranks), `seconds/forward`, `/backward`, `/step` and `peak_memory_mib` (of rank 0), and
        `mfu` where the device's peak is known.

    Raises:
        BadData: if the step's denominator is 0.
    """
    began, operations = time.monotonic(), engine.operations.done
    own = [
        sum(part.denominator for part in micro_batches),
        sum(part.tokens for part in micro_batches),
        len(micro_batches),
    ]
    denominator, tokens, count = sum_over_ranks(torch.tensor(own), engine.device).tolist()
    if denominator <= 0:
        raise BadData("no position of this step's rows takes part in the loss")
    if count != len(micro_batches) * dist.get_world_size():
        raise ValueError(f"ranks have unequal numbers of micro-batches: {len(micro_batches)} here")

    rate = learning_rate(engine.optimizer_steps, engine.training)
    watch = Stopwatch(engine.device)
    names, total = _accumulate(engine, micro_batches, loss, denominator, watch)
    grad_norm = update(engine, rate)
    watch.lap("step")
    values = sum_over_ranks(total, engine.device).tolist()
    engine.skipped.count(not math.isfinite(grad_norm))
    metrics = dict(zip(names, values, strict=True))
    times = {f"seconds/{name}": spent for name, spent in watch.seconds().items()}
    seconds = time.monotonic() - began
    peak = flops.peak(engine.device)
    used = {} if peak is None else {"mfu": (engine.operations.done - operations) / seconds / peak}
    return {
        **metrics,
        "grad_norm": grad_norm,
        "skipped": engine.skipped.total,
        "lr": rate,
        "tokens_per_s": tokens / seconds,
        **used,
        **times,
        "peak_memory_mib": peak_memory_mib(engine.device),
    }


def _accumulate(
    engine: Engine,
    micro_batches: Sequence[MicroBatch[B]],
    loss: Loss[B],
    denominator: float,
    watch: Stopwatch,
) -> tuple[list[str], Tensor]:
    """Gradients of all micro-batches; names and this rank's part of the step's metrics."""
    parts: list[Tensor] = []
    names: list[str] = []
    for index, part in enumerate(micro_batches):
        batch = part.batch.to(engine.device)
        value, metrics = forward_backward(
            engine,
            lambda model, batch=batch: loss(model, batch, denominator),
            last=index == len(micro_batches) - 1,
            watch=watch,
        )
        names = ["loss", *sorted(metrics)]
        # A mean over nothing may be anything, and must not spoil the others.
        share = part.denominator / denominator
        scalars = [metrics[name] if share else 0.0 for name in names[1:]]
        weighted = [torch.as_tensor(s, device=engine.device).double() * share for s in scalars]
        parts.append(torch.stack([value.double(), *weighted]))
    return names, torch.stack(parts).sum(0)


def learning_rate(step: int, training: TrainingParams) -> float:
    """Learning rate of update number `step`, counted from 0.

    Linear warm-up, then constant, or half a cosine (Loshchilov and Hutter, arXiv 1608.03983)
    that reaches the floor at the last update.

    Args:
        step: number of the update, from 0.
        training: steps, optimizer and schedule.
    """
    peak, schedule = training.optimizer.learning_rate, training.schedule
    if step < schedule.warmup_steps:
        return peak * (step + 1) / schedule.warmup_steps
    if schedule.kind == "constant":
        return peak
    span = max(training.steps - 1 - schedule.warmup_steps, 1)
    done = min((step - schedule.warmup_steps) / span, 1.0)
    return peak * (schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * done)) / 2)


class Steps:
    """The steps of a stage: shows progress, saves, and stops between them.

    Iterating gives the numbers of the steps that are left. All ranks must walk through them
    together, and give `log` the metrics of each step before they go on to the next.

    Attributes:
        last_save: Finished steps when the newest save was made, or when the loop began.
    """

    def __init__(
        self,
        context: Context,
        engine: Engine,
        start: int,
        total: int,
        extra: Callable[[], dict[str, Any]] = dict,
        score: Callable[[], float | None] = lambda: None,
    ) -> None:
        """Plan the steps `start` to `total` - 1.

        Args:
            context: This rank.
            engine: What is in training.
            start: Finished steps, as `resume.resume` returns them.
            total: Steps of the stage.
            extra: Gives what is needed beyond the engine to go on from here, for a save.
            score: Gives how good the model is, the higher the better, for a save.
        """
        self._context, self._engine = context, engine
        self._start, self._total = start, total
        self._extra, self._score = extra, score
        self._metrics: StepMetrics = {}
        self.last_save = start

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of step number `step`, counted from 0.

        Args:
            step: number of the step, from 0.
            metrics: numbers by name.
        """
        self._metrics.update(metrics)
        self._context.reporter.log(step + 1, metrics)

    def __iter__(self) -> Iterator[int]:
        """Yield the number of each step, counted from 0.

        Raises:
            Interrupted: After a step in which the node or a signal asked to stop; a save is made
                first.
            TrainingFailed: If a save fails, or too many updates in a row were skipped.
        """
        context, engine = self._context, self._engine
        meter = Meter(context.job.stage, self._total, self._start) if context.rank == 0 else None
        saved = time.monotonic()
        for step in range(self._start, self._total):
            yield step
            if meter is not None:
                meter.advance(note=_note(self._metrics))
            if engine.skipped.in_a_row >= engine.training.engine.nonfinite_limit:
                raise TrainingFailed(_diverged(context, engine, step + 1, self._metrics))
            due = time.monotonic() - saved >= engine.training.engine.save_every_s
            asked = torch.tensor([context.stop_requested(), due and context.rank == 0])
            stop, due = context.sums(asked).bool().tolist()
            if stop or (due and step + 1 < self._total):
                resume.save(context, engine, step + 1, self._extra(), self._score())
                self.last_save = step + 1
                saved = time.monotonic()
            if stop:
                raise Interrupted(f"{context.job.stage}: stopped and saved after step {step + 1}")
        if meter is not None:
            meter.close(note=_note(self._metrics))


def _diverged(context: Context, engine: Engine, step: int, metrics: StepMetrics) -> str:
    good = checkpoints.latest(context.job.work)
    return (
        f"{context.job.stage}: step {step}: loss {metrics.get('loss')}, gradient norm "
        f"{metrics.get('grad_norm')}: {engine.skipped.in_a_row} updates in a row were not finite "
        f"and were skipped, {engine.skipped.total} in all; "
        + (f"the last good save is {good.path}; " if good else "there is no save yet; ")
        + "lower optimizer.learning_rate, lengthen the warm-up, or look at the data"
    )


def _note(metrics: StepMetrics) -> str:
    names = {"loss": "loss", "reward/total": "reward", "pass_rate": "pass rate"}
    shown = [f"{names[key]} {metrics[key]:.4g}" for key in names if key in metrics]
    if "tokens_per_s" in metrics:
        shown.append(f"{metrics['tokens_per_s']:,.0f} tokens/s")
    return ", ".join(shown)


def fit(
    context: Context,
    engine: Engine,
    rows_between: Callable[[int, int], Sequence[Row]],
    prepare: Callable[[Sequence[Row], int, list[torch.Generator]], MicroBatch[B]],
    loss: Loss[B],
) -> None:
    """Train for `engine.training.steps` updates, from the newest save if there is one.

    Args:
        context: this rank.
        engine: what to train.
        rows_between: `rows_between(first, last)` -> rows number `first` to `last` - 1 of the
            run, counted over all steps and ranks; it decides where an epoch ends. A rank asks
            for its own rows only, in rising order, starting anywhere after a resume.
        prepare: `prepare(rows, step, generators)` -> one micro-batch. Row i must draw from
            `generators[i]` only, so that its draws depend on its number and nothing else; what
            all rows of a step share draws from `context.generator(step)`.
        loss: see `optimizer_step`.

    Raises:
        Interrupted, TrainingFailed, BadData: see `Steps` and `optimizer_step`.
    """
    training = engine.training
    start, _ = resume.resume(context, engine)
    part = context.share(training.batch_size)
    width = training.engine.micro_batch
    losses: list[float] = []

    def score() -> float | None:
        """Minus the mean loss since the save before."""
        recent = losses[steps.last_save - start :]
        finite = [value for value in recent if math.isfinite(value)]
        return -sum(finite) / len(finite) if finite else None

    steps = Steps(context, engine, start, training.steps, score=score)
    for step in steps:
        began = time.monotonic()
        first = step * training.batch_size
        rows = rows_between(first + part.start, first + part.stop)
        numbers = range(first + part.start, first + part.stop)
        generators = [context.generator(step, number) for number in numbers]
        micro_batches = [
            prepare(rows[at : at + width], step, generators[at : at + width])
            for at in range(0, len(rows), width)
        ]
        waited = {"seconds/data": time.monotonic() - began}
        metrics = optimizer_step(engine, micro_batches, loss)
        losses.append(metrics["loss"])
        steps.log(step, metrics | waited)
