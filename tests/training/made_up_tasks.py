"""Small tasks of every kind that the contract must hold: two players, lazy turns, frozen parts, moving statistics, adapters."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Aux, Turn

FEATURES = 8


def dense(key, inputs, outputs, names=("embed", "mlp")):
    kernel = jax.random.normal(key, (inputs, outputs)) / jnp.sqrt(inputs)
    return {
        "kernel": nn.LogicallyPartitioned(kernel, names),
        "bias": nn.LogicallyPartitioned(jnp.zeros((outputs,)), (names[1],)),
    }


def apply(layer, x):
    return x @ layer["kernel"] + layer["bias"]


@dataclass(frozen=True)
class Regression(BaseTask):
    """One component, one turn, rows of different weight, noise from the step's key."""

    batch_size: int = 16
    noise: float = 0.0

    @property
    def batch_spec(self):
        shape = jax.ShapeDtypeStruct((self.batch_size, FEATURES), jnp.float32)
        return {"x": shape, "y": shape, "weight": jax.ShapeDtypeStruct((self.batch_size,), jnp.float32)}

    units_per_step = ("rows", 16)

    @property
    def turns(self):
        return (Turn("fit", ("net/params/*",), self.loss),)

    def init(self, key):
        first, second = jax.random.split(key)
        return {"net": {"params": {"up": dense(first, FEATURES, 16), "down": dense(second, 16, FEATURES, ("mlp", "embed"))}}}

    def loss(self, variables, batch, key):
        params = variables["net"]["params"]
        x = batch["x"] + self.noise * jax.random.normal(key, batch["x"].shape)
        errors = jnp.mean((apply(params["down"], jnp.tanh(apply(params["up"], x))) - batch["y"]) ** 2, axis=-1)
        weight = jnp.sum(batch["weight"])
        total = jnp.sum(errors * batch["weight"])
        return total / weight, Aux(weight, {"error": (total, weight)})

    def evaluate(self, variables, batch, key):
        loss, aux = self.loss(variables, batch, key)
        return dict(aux.metrics)


@dataclass(frozen=True)
class TwoPlayers(Regression):
    """A generator and a critic with optimizers and rhythms of their own, and a lazy regularizer that shares the critic's."""

    @property
    def turns(self):
        return (
            Turn("critic", ("critic/params/*",), self.critic_loss, "critic_optimizer"),
            Turn("penalty", ("critic/params/*",), self.penalty_loss, "critic_optimizer", every=4),
            Turn("generator", ("generator/params/*",), self.generator_loss, "generator_optimizer", every=2),
        )

    def init(self, key):
        first, second = jax.random.split(key)
        return {
            "generator": {"params": {"map": dense(first, FEATURES, FEATURES)}},
            "critic": {"params": {"map": dense(second, FEATURES, 1)}},
        }

    def play(self, variables, key, rows):
        z = jax.random.normal(key, (rows, FEATURES))
        return apply(variables["generator"]["params"]["map"], z)

    def score(self, variables, x):
        return apply(variables["critic"]["params"]["map"], x)[:, 0]

    def critic_loss(self, variables, batch, key):
        rows = batch["x"].shape[0]
        loss = jnp.mean(jax.nn.softplus(self.score(variables, self.play(variables, key, rows))))
        loss += jnp.mean(jax.nn.softplus(-self.score(variables, batch["x"])))
        return loss, Aux(jnp.float32(rows))

    def penalty_loss(self, variables, batch, key):
        gradient = jax.grad(lambda x: jnp.sum(self.score(variables, x)))(batch["x"])
        return jnp.mean(jnp.sum(gradient**2, axis=-1)), Aux(jnp.float32(batch["x"].shape[0]))

    def generator_loss(self, variables, batch, key):
        rows = batch["x"].shape[0]
        loss = jnp.mean(jax.nn.softplus(-self.score(variables, self.play(variables, key, rows))))
        return loss, Aux(jnp.float32(rows))


@dataclass(frozen=True)
class Stages(Regression):
    """Three stages of one run that share a curve and an optimizer; the second comes on every other step."""

    @property
    def turns(self):
        own = {"trains": ("net/params/*",), "prefix": "fit"}
        return (
            Turn("first", loss=lambda *given: self.scaled(3.0, *given), stop=2, **own),
            Turn("second", loss=lambda *given: self.scaled(2.0, *given), start=2, stop=5, every=2, **own),
            Turn("third", loss=lambda *given: self.scaled(1.0, *given), start=5, **own),
        )

    def scaled(self, factor, variables, batch, key):
        loss, aux = self.loss(variables, batch, key)
        return factor * loss, aux


@dataclass(frozen=True)
class MovingStatistics(Regression):
    """A loss that returns a running mean of its inputs, as BatchNorm does."""

    def init(self, key):
        variables = super().init(key)
        variables["net"]["batch_stats"] = {"mean": jnp.zeros((FEATURES,)), "seen": jnp.zeros((), jnp.int32)}
        return variables

    def loss(self, variables, batch, key):
        stats = variables["net"]["batch_stats"]
        mean = 0.9 * stats["mean"] + 0.1 * jnp.mean(batch["x"], axis=0)
        loss, aux = super().loss(variables, batch | {"x": batch["x"] - stats["mean"]}, key)
        return loss, aux.replace(collections={"net": {"batch_stats": {"mean": mean, "seen": stats["seen"] + 1}}})


@dataclass(frozen=True)
class TwoStages(Regression):
    """A frozen encoder before the trained network: a component that no turn trains."""

    def init(self, key):
        first, second = jax.random.split(key)
        return super().init(first) | {"encoder": {"params": {"map": dense(second, FEATURES, FEATURES)}}}

    def loss(self, variables, batch, key):
        x = jnp.tanh(apply(variables["encoder"]["params"]["map"], batch["x"]))
        return super().loss(variables, batch | {"x": x}, key)


@dataclass(frozen=True)
class Adapter(Regression):
    """Only the low-rank leaves of a component are trained."""

    @property
    def turns(self):
        return (Turn("tune", ("net/params/*/adapter_*",), self.loss),)

    def init(self, key):
        variables = super().init(key)
        up = variables["net"]["params"]["up"]
        up["adapter_in"] = nn.LogicallyPartitioned(jax.random.normal(key, (FEATURES, 2)), ("embed", None))
        up["adapter_out"] = nn.LogicallyPartitioned(jnp.zeros((2, 16)), (None, "mlp"))
        return variables

    def loss(self, variables, batch, key):
        params = dict(variables["net"]["params"])
        up = params["up"]
        params["up"] = {"kernel": up["kernel"] + up["adapter_in"] @ up["adapter_out"], "bias": up["bias"]}
        return super().loss({"net": {"params": params}}, batch, key)
