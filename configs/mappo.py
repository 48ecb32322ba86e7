"""MAPPO: who acts by which network, the critic, the rollouts, the update and the budget.

Defaults follow Yu et al., "The Surprising Effectiveness of PPO in Cooperative
Multi-Agent Games" (2022), and the project's training table; a layer's YAML file
overrides what suits it (execution sets gamma 1).
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from configs.actors import Activation, ActorConfig, InputNorm, MaskConfig
from configs.base import Config
from configs.constraints import ConstraintConfig
from configs.curriculum import CurriculumConfig
from configs.encoders import EncoderConfig
from configs.monitoring import AlarmConfig, PatienceConfig

Sharing = Literal["shared", "per_agent", "sequential"]
CriticInput = Literal["auto", "state", "observations", "both"]


class GroupConfig(Config):
    """Some agents of a team that act by one module.

    agents: names or patterns such as "adversary_*", in their order of acting.
    sharing, policy: None takes the run's.
    """

    agents: tuple[str, ...] = Field(min_length=1)
    sharing: Sharing | None = None
    policy: ActorConfig | None = None


class CriticConfig(Config):
    """The centralized critic, read in training alone.

    input: what it reads: the environment's state(), all agents' observations (with a
        flag for each that is alive), or both; "auto" is the state where there is one.
        A layer of ours is always read by its state.
    kind: "flat" is one network over all columns. "set" reads the columns that agents share
        once, each agent's own beside them, and relates the agents: exchange two agents
        that are alike and their values are exchanged.
    identity: of "flat": False gives each agent a head of its own on shared layers, which
        see the input once; True feeds the agent's number, one-hot, to one head, once per
        agent.
    relate, heads: of "set": agents attend to each other (`heads` share the first hidden
        layer's units), or each reads the mean over all ("mean": Zaheer et al., "Deep
        Sets", 2017).
    encoders: as of the policy, one for each window of a layer; none leaves them flat.
    input_norm, input_clip: as of the policy.
    dropout: masks of the hidden units, with which values are learnt and whose spread is
        logged as value_spread; what advantages are made of is the value without.
    """

    input: CriticInput = "auto"
    kind: Literal["flat", "set"] = "flat"
    relate: Literal["attention", "mean"] = "attention"
    heads: PositiveInt = 4
    encoders: tuple[EncoderConfig, ...] = ()
    dropout: MaskConfig = MaskConfig()
    identity: bool = False
    hidden: tuple[PositiveInt, ...] = Field(default=(256, 256), min_length=1)
    activation: Activation = "tanh"
    value_norm: bool = True
    value_norm_beta: float = Field(default=0.995, ge=0, lt=1)
    huber_delta: PositiveFloat = 10.0
    input_norm: InputNorm = "none"
    input_clip: PositiveFloat = 10.0

    @model_validator(mode="after")
    def _a_set_is_read_as_one(self) -> Self:
        if self.kind == "set" and self.identity:
            raise ValueError("identity=True with kind=set: expected False; a set tells roles apart")
        if self.kind == "set" and self.relate == "attention" and self.hidden[0] % self.heads:
            raise ValueError(
                f"heads={self.heads} with hidden={list(self.hidden)}: expected a divisor of the "
                "first, whose units they share"
            )
        return self


class StopConfig(Config):
    """The budget; the first limit reached stops the run.

    Decays follow env_steps and iterations where either is set, and minutes only
    where they stand alone: so the same seed gives the same curve up to its stop.
    patience: ends a training earlier whose validation score no longer improves.
    """

    env_steps: PositiveInt | None = None
    minutes: PositiveFloat | None = None
    iterations: PositiveInt | None = None
    patience: PatienceConfig | None = None

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if self.env_steps is None and self.minutes is None and self.iterations is None:
            raise ValueError("set at least one of env_steps, minutes, iterations")
        return self


class MappoConfig(Config):
    """One MAPPO run.

    policy: the actors' networks. sharing: whether agents of a group share one set of
        weights, have weights of their own, or act in order, each on what those before it
        chose. groups: agents by group; by default those of equal spaces form one. An
        environment of ours has one sequential group, whatever is said here.
    alarms: signs of collapse that are said as they show.
    constraints: limits on costs that are kept by multipliers of a penalty; none by default.
    num_envs: episodes stepped together, per runner.
    rollout_length: steps of each of them per iteration.
    stagger: before the first rollout, episodes are begun this many steps apart at
        most, so that a rollout holds all phases of an episode; 0 begins all at once.
    runners, learners: 0 runs in the driver's process; more are RLlib actors.
    learning_rate_decay, entropy_decay: "linear" goes to zero over the budget of
        `stop`: of env_steps and iterations, which do not depend on the machine's speed
        (minutes then only stop the run, before the decay has ended), else of minutes.
    torch_threads: of the driver; on networks of these sizes a second thread gains little on
        an idle machine, and on a busy one threads wait for each other.
    target_kl: ends an iteration's epochs once the approximate KL passes 1.5 times this.
    reward: "team" pays every agent the mean over the agents that acted.
    reward_function: a registered reward (entry points grandmodel.rewards) or
        "module:function" in place of the environment's own: function(env, actions), after
        each step of the batched environment, gives float32 [N, A].
    normalize_advantages: over a rollout, of each agent or of all agents of a group.
    sequence_length: steps through which actors with a memory are trained.
    sizes: "machine" sets sequence_length and minibatches of such actors by the memory of
        what they learn on (`trainers.mappo.machine`).
    precision, compile: of the learner's networks; bfloat16 by autocast.
    gpus_per_learner: 0 learns on the CPU.
    ray_address: of a Ray cluster, such as "auto" or "ray://HOST:10001"; None starts Ray on
        this machine, for as long as the run lasts.
    """

    policy: ActorConfig = ActorConfig()
    sharing: Sharing = "shared"
    groups: dict[str, GroupConfig] = Field(default_factory=dict)
    critic: CriticConfig = CriticConfig()
    stop: StopConfig = StopConfig(env_steps=1_000_000)
    curriculum: CurriculumConfig | None = None
    alarms: AlarmConfig = AlarmConfig()
    constraints: tuple[ConstraintConfig, ...] = ()
    num_envs: PositiveInt = 128
    rollout_length: PositiveInt = 32
    stagger: NonNegativeInt = 0
    runners: NonNegativeInt = 0
    learners: NonNegativeInt = 0
    minibatches: PositiveInt = 4
    epochs: PositiveInt = 10
    learning_rate: PositiveFloat = 3e-4
    critic_learning_rate: PositiveFloat | None = None
    learning_rate_decay: Literal["none", "linear"] = "none"
    gamma: float = Field(default=0.99, ge=0, le=1)
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    clip: PositiveFloat = 0.2
    entropy_coefficient: NonNegativeFloat = 0.01
    entropy_decay: Literal["none", "linear"] = "none"
    value_coefficient: PositiveFloat = 0.5
    supervised_coefficient: NonNegativeFloat = 1.0
    max_grad_norm: PositiveFloat = 0.5
    normalize_advantages: Literal["agent", "group", "none"] = "agent"
    reward: Literal["agent", "team"] = "agent"
    reward_function: str | None = None
    sequence_length: PositiveInt = 16
    sizes: Literal["given", "machine"] = "given"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    gpus_per_learner: float = Field(default=0.0, ge=0)
    ray_address: str | None = None
    target_kl: PositiveFloat | None = None
    adam_epsilon: PositiveFloat = 1e-5
    checkpoint_every: PositiveInt = 20
    keep_checkpoints: PositiveInt = 2
    torch_threads: PositiveInt = 1
    object_store_mb: int = Field(default=256, ge=80)
    sample_timeout_s: PositiveFloat = 300.0
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _rows_divide(self) -> Self:
        shards = max(1, self.learners)
        if self.num_envs % shards:
            raise ValueError(
                f"num_envs={self.num_envs} with learners={self.learners}: expected num_envs to "
                "divide by learners, so that every learner gets equal shards"
            )
        rows = self.iteration_env_steps // shards
        if rows % self.minibatches:
            raise ValueError(
                f"minibatches={self.minibatches}: expected a divisor of the {rows} rows per "
                "learner and iteration (num_envs x rollout_length x runners / learners)"
            )
        return self

    @model_validator(mode="after")
    def _constraints_differ(self) -> Self:
        names = [constraint.name for constraint in self.constraints]
        if len(set(names)) < len(names):
            raise ValueError(f"constraints are named {', '.join(names)}, expected each once")
        return self

    @property
    def iteration_env_steps(self) -> int:
        """Environment steps (all agents act once) that one iteration samples."""
        return self.num_envs * self.rollout_length * max(1, self.runners)
