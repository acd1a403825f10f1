"""Checks of chapter 09: the recurrent memory, one step and a sequence of it, and what can be read out of it."""

from wm_tutorial.check.diagnosis import examine
from wm_tutorial.mistakes.linear import BLOCK_LINEAR, LINEAR_PROBE
from wm_tutorial.mistakes.memory import GATED_UPDATE, OBSERVE_SEQUENCE, RSSM_STEP
from wm_tutorial.mistakes.part import Function


def gated_update(function: Function) -> bool:
    """Check `gated_update(memory, reset, candidate, update)`: how much of a memory is replaced, and by what.

    memory                    (B, D) h_{t-1}
    reset, candidate, update  (B, D) as a network gives them
    ->                        (B, D) h_t = (1 - u) h_{t-1} + u c, with u = sigmoid(update - 1) and
                              c = tanh(sigmoid(reset) candidate); with gradient to all four

    check.gated_update(my_gated_update)
    """
    return examine(GATED_UPDATE, function)


def block_linear(function: Function) -> bool:
    """Check `block_linear(x, weight, bias)`: a linear layer whose matrix consists of G blocks.

    x       (B, G I) the inputs of block 0, then those of block 1, ..
    weight  (G, I, O)
    bias    (G, O)
    ->      (B, G O) the outputs of block 0, then those of block 1, ..; with gradient to all three

    check.block_linear(my_block_linear)
    """
    return examine(BLOCK_LINEAR, function)


def rssm_step(function: Function) -> bool:
    """Check `rssm_step(memory, latent, action, is_first, embedding, remember, infer)`: one row of a state with memory.

    memory, latent  (B, D) h_{t-1} and (B, Z) z_{t-1}
    action          (B, A) a_{t-1}, what led to this row
    is_first        (B,) bool, an episode begins in this row: what comes from the row before is zeros then
    embedding       (B, E) of the observation o_t
    remember        a function (memory, latent, action) -> h_t (B, D); call it once
    infer           a function (h_t, embedding) -> z_t (B, Z), a sample of the posterior; call it once
    ->              a tuple (h_t, z_t), with gradient to all but the flags

    check.rssm_step(my_rssm_step)
    """
    return examine(RSSM_STEP, function)


def observe_sequence(function: Function) -> bool:
    """Check `observe_sequence(embedding, action, is_first, start, before, step)`: the states of a sequence.

    embedding  (B, T, E) of o_t
    action     (B, T, A) a_t, chosen after seeing o_t
    is_first   (B, T) bool, an episode begins in row t
    start      (B, F) the state one row before the sequence
    before     (B, A) the action chosen in it
    step       a function (s_{t-1}, a_{t-1}, is_first of row t, embedding of o_t) -> s_t (B, F), which forgets where
               an episode begins; call it once for each row
    ->         (B, T, F) s_0 .. s_{T-1}

    check.observe_sequence(my_observe_sequence)
    """
    return examine(OBSERVE_SEQUENCE, function)


def linear_probe(function: Function) -> bool:
    """Check `linear_probe(known, wanted, fitted)`: how much of some numbers a linear function of others can tell.

    known   (N, F)
    wanted  (N, K)
    fitted  so many rows, the first ones, are fitted by least squares, with a constant; the others judge
    ->      (K,) of each number wanted: 1 - mean squared error / variance, both over the rows that judge; the
            variance divides by their count

    check.linear_probe(my_linear_probe)
    """
    return examine(LINEAR_PROBE, function)
