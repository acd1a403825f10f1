"""The mutation operators that were published for reinforcement learning, and what stands for each of them in the zoo.

An operator damages an agent on purpose, to see whether anyone notices. Most of them are kept here as mistakes of a
world model agent. Two kinds are not: those that need a part which no agent here has, and those that set an option to
another value. Of an option no test can say that its value is wrong, only that it is not the one of its source
(book/presets.md); to see what it does, give it: `wm-tutorial train ENV --entropy-scale 0.1`.
"""

from collections.abc import Mapping
from typing import TypeAlias

from wm_tutorial.mistakes.bug import LU, MUPRL, RLMUTATION

Standing: TypeAlias = tuple[str, ...] | str  # names of mistakes, or why there is none

SHAPES = "no mistake that stays silent: sizes no longer fit, and the first matrix product raises."
NO_TABLE = "no agent here has a table of values, or makes spaces discrete."

OPERATORS: Mapping[str, Mapping[str, Standing]] = {
    # Tambon et al. 2023, RLMutation
    RLMUTATION: {
        "Reward Noise": ("reward_noisy",),
        "Mangled": ("records_mangled",),
        "Random": ("records_mangled",),
        "Repeat": ("observations_repeated",),
        "No Discount Factor": ("discount_missing",),
        "Missing Terminal State": ("termination_lost",),
        "No Reverse": ("time_reversed",),
        "Missing State Update": ("acts_on_the_first_observation",),
        "Incorrect Loss Function": ("kl_negative", "sigmoid_twice", "advantage_leaks", "entropy_sign"),
        "Policy Activation Change": ("activation_changed",),
        "Policy Optimizer Change": ("optimiser_changed",),
    },
    # Lu et al. 2022
    LU: {
        "Reward Reduction": ("reward_reduced",),
        "Reward Increase": "the reduction with another factor; rewards above the floor are divided by their range.",
        "Reward Instability": ("reward_noisy",),
        "State Record Crash": ("records_hidden", "records_duplicated"),
        "State Delay": ("action_late", "action_departing"),
        "State Repetition": ("observations_repeated",),
        "State Error": ("records_mangled",),
        "Q-Table Fuzzing": NO_TABLE,
        "Input-Layer Neuron Removal": SHAPES,
        "Output-Layer Neuron Removal": SHAPES,
        "Output-Layer Neuron Addition": SHAPES,
        "Changing Exploration": "a policy explores by its own chance, and there is no other way to switch to.",
        "Mutating Epsilon": "a value of the option policy_unimix; that it is ignored is policy_unimix_missing.",
        "Changing Noise": "no parameters carry noise here.",
        "Switching Buffer": ("rows_shuffled",),
        "Fuzzing Buffer": ("records_hidden", "records_duplicated", "records_mangled"),
        "Shuffling Replay Priority": "a replay has no priorities here: every place is equally likely, which is tested.",
        "Precision Mutation": NO_TABLE,
        "Approximation Mutation": NO_TABLE,
    },
    # Thomas et al. 2025, muPRL: values of options, and what an agent does that gets them wrong
    MUPRL: {
        "Suboptimal Entropy Coefficient": "a value of the option entropy_scale.",
        "Suboptimal Minimum Exploration Rate": ("deviation_without_a_floor", "policy_unimix_missing"),
        "Suboptimal Discount Factor": "a value of the option discount; gamma not at all or twice are mistakes of it.",
        "Suboptimal Learning Start": ("learns_too_early", "learns_too_late"),
        "Suboptimal Number of Rollout Steps": ("horizon_short_by_one", "sequences_halved"),
        "Number of Environment Interactions": ("steps_counted_twice",),
        "Suboptimal Network Update": ("slow_critic_frozen",),
        "Suboptimal Polyak Value": ("slow_critic_weights_swapped",),
    },
}
