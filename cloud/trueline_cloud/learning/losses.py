"""What a network is trained to make small, by what comes out of it.

Refuses to know windows and rounds: a batch of questions, answers and where they count comes in, one number comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trueline_cloud.learning.backend import tf
from trueline_model.prediction import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["loss_of"]

_MARGIN: Final = 0.5
_SQUARE: Final = 4.0
"""Of the mean in a prediction's loss: errors of a tenth of the span then pull as much there as at a quantile."""


def loss_of(output: str) -> Callable[..., Any]:
    """(model, question, answer, counts, *, training) -> the mean loss, for an output of the zoo."""
    return {"marks": _surprise, "embedding": _triplet, "spread": _spread}.get(output, _square)


def _square(model: Any, question: Any, answer: Any, counts: Any, *, training: bool) -> Any:
    """Mean square over the cells that count."""
    return _mean(tf.square(model(question, training=training) - answer), counts)


def _spread(model: Any, question: Any, answer: Any, counts: Any, *, training: bool) -> Any:
    """The pinball loss of two quantiles (Koenker and Bassett, 1978), and the square for the mean between them."""
    low, mean, high = tf.unstack(answer - model(question, training=training), axis=-1)
    ends = [tf.maximum((share - 1.0) * each, share * each) for share, each in zip(QUANTILES, (low, high), strict=True)]
    return _mean(tf.stack([ends[0], _SQUARE * tf.square(mean), ends[1]], axis=-1), counts)


def _surprise(model: Any, question: Any, answer: Any, counts: Any, *, training: bool) -> Any:
    """Mean of -log P of what each cell is, where the network gives log-odds (cross-entropy)."""
    odds = model(question, training=training)
    return _mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=answer, logits=odds), counts)


def _triplet(model: Any, question: Any, answer: Any, _counts: Any, *, training: bool) -> Any:
    """A window nearer, by cosine, to its neighbour in time than to the farthest other of the batch, by a margin.

    The farthest: any nearer one may be the same state of a process that comes back to it (PaAno, 2026).
    """
    one, other = (
        tf.math.l2_normalize(tf.reshape(model(each, training=training), (tf.shape(each)[0], -1)), axis=1)
        for each in (question, answer)
    )
    near = tf.matmul(one, other, transpose_b=True)
    return tf.reduce_mean(tf.nn.relu(tf.reduce_min(near, axis=1) - tf.linalg.diag_part(near) + _MARGIN))


def _mean(loss: Any, counts: Any) -> Any:
    return tf.reduce_sum(counts * loss) / tf.maximum(tf.reduce_sum(counts), 1.0)
