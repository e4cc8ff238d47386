"""The training loop: seeded, stopped early, resumed where it was stopped.

Promises: same windows, settings and seed, same weights, also where a training was interrupted and resumed (each epoch
draws its order and what it hides from seed and epoch number alone); the weights that come back are those of the epoch
that did best on the validation windows. Refuses to know files other than its checkpoint.

The loss is what `losses` says. Adam (D. Kingma and J. Ba, 2015), its rate falling to a tenth
along half a cosine.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from trueline_cloud.learning.backend import keras, tf
from trueline_cloud.learning.examples import examples
from trueline_cloud.learning.losses import loss_of
from trueline_cloud.learning.settings import Epoch, TrainSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from trueline_cloud.learning.dataset import Windowed
    from trueline_cloud.learning.examples import Examples

__all__ = ["Epoch", "TrainSettings", "predict", "train"]

_PREDICT_WINDOWS: Final = 1024


@dataclass
class _State:
    """What a checkpoint holds: all that decides how the training goes on."""

    history: list[Epoch] = field(default_factory=list)
    best: list[NDArray[np.float32]] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        return min(self.history, key=lambda epoch: epoch.validation).number if self.history else -1


def train(
    build: Callable[[], Any],
    output: str,
    windows: Windowed,
    validation: Windowed,
    settings: TrainSettings,
    *,
    checkpoint: Path | None = None,
    progress: Callable[[Epoch], None] = lambda _epoch: None,
) -> tuple[Any, list[Epoch]]:
    """A trained network.

    Args:
        build: makes it untrained; called once, after the seed is set.
        output: as `examples` knows it.
        windows: at least one.
        validation: at least one; none overlaps one of `windows`.
        settings: see `TrainSettings`.
        checkpoint: file to go on from, and to keep up to date; one of another training is begun anew.
        progress: told each round.

    Returns:
        The Keras model with its best weights, and all rounds.
    """
    keras.utils.clear_session()  # layers are numbered from the start: same training, same file
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    model = build()
    steps = max(1, min(len(windows), settings.windows_max) // settings.batch)
    falling = keras.optimizers.schedules.CosineDecay(settings.rate, steps * settings.epochs_max, alpha=0.1)
    optimizer = keras.optimizers.Adam(falling)
    optimizer.build(model.trainable_variables)
    step_round, judge = _compiled(model, optimizer, loss_of(output))
    held = _shaped(model, examples(validation, output, None))
    identity = _identity(model, windows, settings)
    state = _restored(checkpoint, identity, model, optimizer)
    for number in range(len(state.history), settings.epochs_max):
        if number - state.best_epoch > settings.patience:
            break
        random = np.random.default_rng((settings.seed, number))
        chosen = random.permutation(len(windows))[: steps * settings.batch]
        asked = _shaped(model, examples(windows[chosen], output, random))
        loss = float(step_round(*asked, min(settings.batch, len(chosen))))
        state.history.append(Epoch(number, loss, float(judge(*held))))
        if state.best_epoch == number:
            state.best = [each.numpy() for each in model.weights]
        if checkpoint is not None:
            _keep(checkpoint, identity, state, model, optimizer)
        progress(state.history[-1])
    model.set_weights(state.best)
    return model, state.history


def predict(model: Any, value: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a Keras network answers to windows (m, rows, k), in the shape of its output."""
    asked = value.reshape(len(value), *model.input_shape[1:])
    parts = [
        np.asarray(model(asked[start : start + _PREDICT_WINDOWS], training=False))
        for start in range(0, len(asked), _PREDICT_WINDOWS)
    ]
    return np.concatenate(parts) if parts else np.empty((0, *model.output_shape[1:]), np.float32)


def _compiled(model: Any, optimizer: Any, loss_of: Callable[..., Any]) -> tuple[Any, Any]:
    """One round of steps, and the loss without a step, as graphs."""

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def step_round(question: Any, answer: Any, counts: Any, batch: int) -> Any:
        total = tf.constant(0.0)
        count = tf.shape(question)[0] // batch
        for step in tf.range(count):
            part = slice(step * batch, (step + 1) * batch)
            with tf.GradientTape() as tape:
                loss = loss_of(model, question[part], answer[part], counts[part], training=True)
            optimizer.apply_gradients(
                zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
            )
            total += loss
        return total / tf.cast(count, tf.float32)

    judge = tf.function(lambda *held: loss_of(model, *held, training=False), reduce_retracing=True)
    return step_round, judge


def _shaped(model: Any, asked: Examples) -> tuple[Any, Any, Any]:
    """As the network has its input and its output; a window that is an answer, as its input."""
    into, out = (-1, *model.input_shape[1:]), (-1, *model.output_shape[1:])
    again = into if asked.answer.shape == asked.question.shape else out
    return tuple(tf.constant(each.reshape(shape)) for each, shape in zip(asked, (into, again, again), strict=True))


def _identity(model: Any, windows: Windowed, settings: TrainSettings) -> str:
    """Of a training: a checkpoint of another one is of no use."""
    seen = hashlib.sha256(msgspec.json.encode(settings) + model.to_json().encode())
    seen.update(np.ascontiguousarray(windows.value).tobytes() + np.packbits(windows.valid).tobytes())
    seen.update(b"" if windows.target is None else windows.target.tobytes())
    return seen.hexdigest()


def _restored(checkpoint: Path | None, identity: str, model: Any, optimizer: Any) -> _State:
    if checkpoint is None or not checkpoint.exists():
        return _State()
    with np.load(checkpoint, allow_pickle=False) as kept:
        if str(kept["identity"]) != identity:
            return _State()
        variables = model.weights + optimizer.variables
        for number, variable in enumerate(variables):
            variable.assign(kept[f"variable{number}"])
        best = [kept[f"best{number}"] for number in range(len(model.weights))]
        return _State([Epoch(int(n), float(a), float(b)) for n, a, b in kept["history"]], best)


def _keep(checkpoint: Path, identity: str, state: _State, model: Any, optimizer: Any) -> None:
    variables = {f"variable{n}": each.numpy() for n, each in enumerate(model.weights + optimizer.variables)}
    best = {f"best{n}": each for n, each in enumerate(state.best)}
    history = np.array([(epoch.number, epoch.loss, epoch.validation) for epoch in state.history])
    temporary = checkpoint.with_name(checkpoint.name + ".part")
    with temporary.open("wb") as file:
        np.savez(file, identity=identity, history=history, **variables, **best)  # type: ignore[arg-type]  # numpy types its own keyword only
    os.replace(temporary, checkpoint)  # noqa: PTH105 - as everywhere a file appears whole
