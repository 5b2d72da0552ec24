"""What optimizers tell of themselves."""

import jax
import optax
import pytest

from lthjax.training import labels


def own(rate):
    def update(updates, state, params=None):
        return jax.tree.map(lambda u: -rate * u, updates), state

    return optax.GradientTransformation(lambda params: (), update)


COSINE = optax.cosine_decay_schedule(0.1, 10)
TOLD = {
    "scale_by_adam + scale(step_size -0.001)": optax.adam(1e-3),
    "scale_by_adam(b1 0.8) + scale(step_size -0.1)": optax.adam(0.1, b1=0.8),
    "scale_by_adam + add_decayed_weights(weight_decay 0.0001) + scale(step_size -0.005)": optax.adamw(5e-3),
    "scale_by_lion + add_decayed_weights(weight_decay 0.001) + scale(step_size -0.001)": optax.lion(1e-3),
    "trace(decay 0.9) + scale(step_size -0.1)": optax.sgd(0.1, momentum=0.9),
    "clip_by_global_norm(max_norm 1) + scale(step_size -0.1)": optax.chain(
        optax.clip_by_global_norm(1.0), optax.sgd(0.1)
    ),
    "scale_by_schedule(cosine_decay_schedule(decay_steps 10, init_value 0.1))": optax.sgd(COSINE),
    "scale(step_size -0.5)": optax.sgd(jax.numpy.float32(0.5)),
    "add_noise(eta 0.01, gamma 0.5)": optax.add_noise(0.01, 0.5, jax.random.key(3)),
    "own(rate 0.25)": own(0.25),
    "": optax.GradientTransformation(lambda params: (), lambda updates, state, params=None: (updates, state)),
}


@pytest.mark.parametrize(("label", "optimizer"), TOLD.items())
def test_an_optimizer_tells_its_transformations_and_numbers(label, optimizer):
    assert labels.of_optimizer(optimizer) == label
    jitted = optax.GradientTransformation(optimizer.init, jax.jit(optimizer.update))
    assert labels.of_optimizer(jitted) == label


def test_numbers_that_stand_in_the_state_are_told():
    label = labels.of_optimizer(optax.inject_hyperparams(optax.sgd)(learning_rate=0.1))
    assert label.startswith("inject_hyperparams(sgd, learning_rate 0.1")


def test_a_label_is_one_short_line():
    label = labels.of_optimizer(optax.chain(*[optax.clip_by_global_norm(2.0)] * 20))
    assert len(label) == 160
    assert label.endswith("...")
    for optimizer in (optax.lbfgs(), optax.contrib.muon(0.1), optax.lamb(0.1), optax.noisy_sgd(0.1, key=0)):
        assert labels.of_optimizer(optimizer).isprintable()
        assert labels.of_optimizer(optimizer)
