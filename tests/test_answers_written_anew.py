"""Right answers that look like no solution of the book, and wrong ones as people write them.

Nobody who is right may be blamed, on the inputs of a check and on hidden variants; and the name of a mistake must be
that of the one that was made.
"""

import pytest
from heldout_answers import function_of

from wm_tutorial.check.diagnosis import judge, problem_of
from wm_tutorial.grade.hidden import hidden_parts
from wm_tutorial.mistakes import PARTS

# --- Right ------------------------------------------------------------------------------------------------------------

RIGHT: list[tuple[str, str]] = [
    ("discounted_return", """
def f(r, g):
    powers = g ** torch.arange(len(r), dtype=torch.float64)
    return (r.double() * powers).sum().to(r.dtype)
"""),
    ("discounted_return", """
def f(r, g):
    if len(r) == 1:
        return r[0]
    return r[0] + g * f(r[1:], g)
"""),
    ("episode_returns", """
def f(reward, is_first, is_last):
    begins = is_first.nonzero().flatten().tolist()
    ends = is_last.nonzero().flatten().tolist()
    sums = []
    for b in begins:
        later = [e for e in ends if e >= b]
        if later:
            sums.append(reward[b + 1 : later[0] + 1].sum())
    return torch.stack(sums) if sums else reward.new_zeros(0)
"""),
    ("sample", """
def f(m, v):
    noise = torch.empty_like(m).normal_()
    return torch.addcmul(m, torch.sqrt(torch.exp(v)), noise)
"""),
    ("symexp", "f = lambda y: torch.copysign(torch.expm1(torch.abs(y)), y)"),
    ("symexp", "def f(y):\n    return torch.where(y < 0, -torch.special.expm1(-y), torch.special.expm1(y))"),
    ("signal_share", """
def f(mean, logvar):
    centred = mean - mean.mean(0)
    s = torch.einsum("bz,bz->z", centred, centred) / mean.shape[0]
    n = sum(torch.exp(row) for row in logvar) / len(logvar)
    return 1 / (1 + n / s)
"""),
    ("dynamics_step", """
def f(z, a, net):
    out = net(torch.concat((z, a), dim=-1))
    half = z.size(1)
    lv = out.narrow(1, half, half)
    return out.narrow(1, 0, half), 12 / (1 + torch.exp(-lv)) - 10
"""),
    ("prior_inputs", """
def f(latent, previous_action, is_first, start):
    rows, acts = torch.empty_like(latent), previous_action.clone()
    for b, t in itertools.product(range(latent.shape[0]), range(latent.shape[1])):
        rows[b, t] = start[b] if t == 0 else latent[b, t - 1]
        if is_first[b, t]:
            rows[b, t] = 0
            acts[b, t] = 0
    return rows, acts
"""),
    ("useful_horizon", """
def f(ours, theirs):
    H = ours.shape[1]
    worse = F.pad((ours >= theirs).int(), (0, 1), value=1)
    return worse.argmax(dim=1)
"""),
    ("continue_loss", """
def f(l, y):
    return F.binary_cross_entropy_with_logits(l, y, reduction="none")
"""),
    ("continue_loss", """
def f(l, y):
    return -(y * F.logsigmoid(l) + (1 - y) * F.logsigmoid(-l))
"""),
    ("false_death_value", """
def f(r, n, d):
    chance = 1 / (n + 1)
    return r / (1 - d + d * chance)
"""),
    ("gaussian_kl", """
def f(mq, lq, mp, lp):
    vq, vp = torch.exp(lq.double()), torch.exp(lp.double())
    per = 0.5 * (torch.log(vp / vq) + (vq + (mq.double() - mp.double()).pow(2)) / vp - 1)
    return torch.einsum("...z->...", per).to(mq)
"""),
    ("teaching_share", """
def f(kl, free):
    states = [state for sequence in kl for state in sequence]
    return torch.tensor(sum(1 for state in states if state.sum() > free) / len(states), dtype=kl.dtype)
"""),
    ("imagined_weight", """
def f(c, gamma):
    B, H = c.shape[0], c.shape[1] - 1
    cols = [c[:, 0]]
    for t in range(1, H):
        cols.append(cols[-1] * (gamma * c[:, t]))
    return torch.stack(cols, dim=1)
"""),
    ("imagined_return", """
def f(reward, cont):
    alive = torch.cumprod(cont, dim=1)[:, : reward.shape[1]]
    return torch.einsum("bh,bh->b", reward, alive)
"""),
    ("n_step_return", """
def f(r, d, v, n):
    before = torch.cat([torch.ones_like(d[:, :1]), torch.cumprod(d, 1)], 1)
    return (before[:, :n] * r[:, :n]).sum(1) + before[:, n] * v[:, n - 1]
"""),
    ("lambda_weights", """
def f(H, l):
    w = np.array([(1 - l) * l ** k for k in range(H)], dtype=np.float64)
    w[H - 1] = 1 - w[: H - 1].sum()
    return torch.from_numpy(w).float()
"""),
    ("lambda_returns", """
def f(r, d, v, lam):
    H = r.shape[1]
    out = []
    for start in range(H):
        total = torch.zeros_like(r[:, 0])
        for n in range(1, H - start + 1):
            g, w = torch.zeros_like(total), torch.ones_like(total)
            for k in range(start, start + n):
                g = g + w * r[:, k]
                w = w * d[:, k]
            g = g + w * v[:, start + n - 1]
            share = lam ** (n - 1) * (1 if n == H - start else 1 - lam)
            total = total + share * g
        out.append(total)
    return torch.stack(out, dim=-1)
"""),
    ("lambda_returns", """
def f(r, d, v, lam):
    delta = r + d * v - torch.cat([torch.zeros_like(v[:, :1]), v[:, :-1]], 1)
    acc, back = torch.zeros_like(r[:, 0]), []
    for t in range(r.shape[1] - 1, -1, -1):
        acc = delta[:, t] + lam * d[:, t] * acc
        back.append(acc)
    gae = torch.stack(back[::-1], 1)
    return gae + torch.cat([torch.zeros_like(v[:, :1]), v[:, :-1]], 1)
"""),
    ("critic_loss", """
def f(value, target, weight):
    v = value.reshape(target.shape[0])
    e = v - target.detach()
    return e * e * weight.detach()
"""),
    ("updates_due", """
def f(steps, prefill, ratio, batch, length):
    counts = []
    for s in steps.tolist():
        counts.append(max(0, s - prefill) * ratio // (batch * length))
    return torch.tensor(counts, dtype=torch.int64)
"""),
    ("fair_mean", """
def f(reward, is_last, quota):
    totals = []
    for r, l in zip(reward.tolist(), is_last.tolist()):
        done, running = 0, 0.0
        for x, e in zip(r, l):
            if done == quota:
                break
            running += x
            if e:
                totals.append(running)
                done, running = done + 1, 0.0
    return torch.tensor(sum(totals) / len(totals), dtype=reward.dtype)
"""),
    ("gated_update", """
def f(h, reset, candidate, update):
    u = (update - 1).sigmoid()
    c = (reset.sigmoid() * candidate).tanh()
    return u * c + (1 - u) * h
"""),
    ("block_linear", """
def f(x, w, b):
    G, I, O = w.shape
    y = torch.einsum("bgi,gio->bgo", x.view(len(x), G, I), w) + b
    return y.reshape(len(x), G * O)
"""),
    ("block_linear", "def f(x, w, b):\n    return x @ torch.block_diag(*w) + b.flatten()"),
    ("unimix", """
def f(logits, s):
    e = torch.exp(logits - logits.amax(-1, keepdim=True))
    p = e / e.sum(-1, keepdim=True)
    k = logits.size(-1)
    return torch.lerp(p, torch.full_like(p, 1.0 / k), s)
"""),
    ("categorical_kl", """
def f(a, b, mix):
    k = a.shape[-1]
    q = (1 - mix) * F.softmax(a, -1) + mix / k
    p = (1 - mix) * F.softmax(b, -1) + mix / k
    total = 0
    for s in range(a.shape[1]):
        total = total + F.kl_div(p[:, s].log(), q[:, s], reduction="none").sum(-1)
    return total
"""),
    ("price_of_independence", """
def f(joint):
    out = []
    for table in joint:
        r, c, total = table.sum(1), table.sum(0), table.new_zeros(())
        for i in range(len(r)):
            for j in range(len(c)):
                if table[i, j] > 0:
                    total = total + table[i, j] * (table[i, j] / (r[i] * c[j])).log()
        out.append(total)
    return torch.stack(out)
"""),
    ("two_hot", """
def f(x, bins):
    gap = (bins[None, :] - x.clamp(bins[0], bins[-1])[:, None]).abs()
    w = torch.zeros(len(x), len(bins), dtype=x.dtype)
    for i in range(len(x)):
        y = x[i].clamp(bins[0], bins[-1])
        k = min(int((bins <= y).sum()) - 1, len(bins) - 2)
        width = bins[k + 1] - bins[k]
        w[i, k] = (bins[k + 1] - y) / width
        w[i, k + 1] = (y - bins[k]) / width
    return w
"""),
    ("return_range", """
def f(r, returns, decay):
    x = returns.detach().reshape(-1)
    new = torch.stack([torch.quantile(x, q) for q in (0.05, 0.95)])
    return r + (1 - decay) * (new - r)
"""),
    ("scaled_advantage", """
def f(returns, value, range_, floor):
    s = max(float(range_[1] - range_[0]), floor)
    return (returns - value) / s
"""),
    ("slow_update", "def f(slow, critic, rate):\n    return torch.lerp(slow.detach(), critic.detach(), rate)"),
    ("laprop", """
def f(g, m, v, n, betas, eps):
    v = betas[1] * v + (1 - betas[1]) * g ** 2
    vhat = v / (1 - betas[1] ** n)
    m = betas[0] * m + (1 - betas[0]) * g / (torch.sqrt(vhat) + eps)
    return m / (1 - betas[0] ** n), m, v
"""),
    ("planes", "def f(o):\n    return o.permute(0, 3, 1, 2).contiguous().float().div(255.0).sub(0.5)"),
    ("convolution_size", "def f(n, k, s, p):\n    return (n + 2 * p - k) // s + 1"),
    ("image_loss", """
def f(mean, target):
    return torch.stack([((m - t.float() / 255) ** 2).sum() for m, t in zip(mean, target)])
"""),
    ("normal_log_prob", """
def f(mean, std, action):
    k = mean.shape[-1]
    z = (action - mean) / std
    return -0.5 * (z * z).sum(-1) - std.log().sum(-1) - 0.5 * k * math.log(2 * math.pi)
"""),
    ("normal_entropy", "def f(s):\n    return torch.distributions.Normal(torch.zeros_like(s), s).entropy().sum(-1)"),
    ("scaled_action", "def f(a, low, high):\n    return low + (torch.clamp(a, -1.0, 1.0) + 1) / 2 * (high - low)"),
    ("executed_action", "def f(a):\n    return a / a.abs().clamp(min=1).detach()"),
    ("tolerant_divergence", """
def f(m, lv, tol):
    kl = -0.5 * torch.sum(1 + lv - m ** 2 - lv.exp(), dim=-1)
    return torch.clamp(kl, min=tol * m.shape[-1]).mean()
"""),
    ("mixture_log_prob", """
def f(logit, mean, log_std, z):
    w = torch.distributions.Categorical(logits=logit)
    parts = torch.distributions.Normal(mean, log_std.exp())
    return torch.distributions.MixtureSameFamily(w, parts).log_prob(z)
"""),
    ("dream_return", """
def f(reward, done):
    out = []
    for r, d in zip(reward, done):
        stop = d.nonzero()
        last = int(stop[0]) if len(stop) else len(d) - 1
        out.append(r[: last + 1].sum())
    return torch.stack(out)
"""),
    ("refit", """
def f(c, returns, k):
    order = returns.argsort(dim=1, descending=True)[:, :k]
    best = torch.stack([c[n, order[n]] for n in range(len(c))])
    m = best.mean(dim=1)
    return m, torch.sqrt(((best - m[:, None]) ** 2).mean(dim=1) + 1e-6)
"""),
    ("shifted_plan", """
def f(mean, first):
    s = F.pad(mean[:, 1:], (0, 0, 0, 1))
    return s * (~first).to(mean)[:, None, None]
"""),
    ("candidate_returns", """
def f(start, actions, step, reward, go):
    n, j, h, a = actions.shape
    out = []
    for c in range(j):
        s, w, total = start, 1.0, 0.0
        for t in range(h):
            s = step(s, actions[:, c, t])
            total = total + w * reward(s)
            w = w * go(s)
        out.append(total)
    return torch.stack(out, 1)
"""),
]  # fmt: skip


@pytest.mark.parametrize(("part", "source"), RIGHT, ids=[f"{n} {part}" for n, (part, _) in enumerate(RIGHT)])
def test_a_right_answer_is_right_however_it_is_written(part: str, source: str) -> None:
    function = function_of(source)
    assert judge(PARTS[part], function) == ""
    failed = [words for draw in range(3) if (words := problem_of(hidden_parts(8, draw)[part], function))]
    assert len(failed) < 2, failed[0]  # as the grader counts


# --- Wrong ------------------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, str, str]] = [  # part, the known mistake that it is, source
    ("discounted_return", "discounted_once_too_often", """
def f(r, g):
    return sum(g ** (t + 1) * x for t, x in enumerate(r))
"""),
    ("discounted_return", "discount_forgotten", "def f(r, g):\n    return r.sum()"),
    ("episode_returns", "headless_counted", """
def f(reward, first, last):
    out, total = [], reward.new_zeros(())
    for r, l in zip(reward, last):
        total = total + r
        if l:
            out.append(total)
            total = reward.new_zeros(())
    return torch.stack(out) if out else reward[:0]
"""),
    ("sample", "variance_for_deviation", "def f(m, v):\n    return m + v.exp() * torch.randn_like(m)"),
    ("sample", "sample_without_gradient", "def f(m, v):\n    return torch.normal(m.detach(), (v / 2).exp().detach())"),
    ("symexp", "symexp_one_missing", "def f(x):\n    return x.sign() * torch.exp(x.abs())"),
    ("symexp", "symexp_abs_missing", "def f(x):\n    return torch.exp(x) - 1"),
    ("symexp", "symexp_tiny_lost", "def f(x):\n    return torch.where(x < 0, 1 - torch.exp(-x), torch.exp(x) - 1)"),
    ("signal_share", "share_correction", "def f(m, v):\n    return m.var(0) / (m.var(0) + v.exp().mean(0))"),
    ("dynamics_step", "logvar_clamped", """
def f(z, a, net):
    m, lv = net(torch.cat([z, a], 1)).chunk(2, 1)
    return m, lv.clamp(-10, 2)
"""),
    ("dynamics_step", "residual_added", """
def f(z, a, net):
    m, lv = net(torch.cat([z, a], 1)).chunk(2, 1)
    return z + m, -10 + 12 * lv.sigmoid()
"""),
    ("prior_inputs", "action_not_reset", """
def f(z, a, first, start):
    s = torch.cat([start[:, None], z[:, :-1]], 1)
    return s * (~first)[..., None], a
"""),
    ("useful_horizon", "horizon_counts_all", "def f(m, p):\n    return (m < p).sum(1)"),
    ("continue_loss", "logarithm_of_nothing", """
def f(l, y):
    p = l.sigmoid()
    return -(y * p.log() + (1 - y) * (1 - p).log())
"""),
    ("continue_loss", "loss_averaged", """
def f(l, y):
    return F.binary_cross_entropy_with_logits(l, y)
"""),
    ("gaussian_kl", "kl_over_batch", """
def f(mq, lq, mp, lp):
    return 0.5 * (lp - lq + (lq.exp() + (mq - mp) ** 2) / lp.exp() - 1).sum()
"""),
    ("gaussian_kl", "kl_half_missing", """
def f(mq, lq, mp, lp):
    return (lp - lq + (lq.exp() + (mq - mp) ** 2) / lp.exp() - 1).sum(-1)
"""),
    ("gaussian_kl", "kl_constant_missing", """
def f(mq, lq, mp, lp):
    return 0.5 * (lp - lq + (lq.exp() + (mq - mp) ** 2) / lp.exp()).sum(-1)
"""),
    ("imagined_weight", "weight_arriving", "def f(c, g):\n    return (g * c[:, 1:]).cumprod(1)"),
    ("imagined_weight", "start_discounted", "def f(c, g):\n    return (g * c[:, :-1]).cumprod(1)"),
    ("imagined_return", "last_reward_lost", "def f(r, c):\n    return (r * c[:, 1:].cumprod(1)).sum(1)"),
    ("n_step_return", "value_one_too_far", """
def f(r, d, v, n):
    total, w = 0, 1
    for t in range(n):
        total = total + w * r[:, t]
        w = w * d[:, t]
    return total + w * v[:, min(n, v.shape[1] - 1)]
"""),
    ("n_step_return", "discounted_from_the_first", """
def f(r, d, v, n):
    total, w = 0, 1
    for t in range(n):
        w = w * d[:, t]
        total = total + w * r[:, t]
    return total + w * v[:, n - 1]
"""),
    ("lambda_weights", "rest_missing", "def f(h, l):\n    return torch.tensor([(1 - l) * l**n for n in range(h)])"),
    ("lambda_returns", "bootstrap_missing", """
def f(r, d, v, lam):
    after, out = torch.zeros_like(v[:, -1]), []
    for t in reversed(range(r.shape[1])):
        after = r[:, t] + d[:, t] * ((1 - lam) * v[:, t] + lam * after)
        out.insert(0, after)
    return torch.stack(out, 1)
"""),
    ("lambda_returns", "lambda_swapped", """
def f(r, d, v, lam):
    after, out = v[:, -1], []
    for t in reversed(range(r.shape[1])):
        after = r[:, t] + d[:, t] * (lam * v[:, t] + (1 - lam) * after)
        out.insert(0, after)
    return torch.stack(out, 1)
"""),
    ("lambda_returns", "time_reversed", """
def f(r, d, v, lam):
    after, out = v[:, -1], []
    for t in reversed(range(r.shape[1])):
        after = r[:, t] + d[:, t] * ((1 - lam) * v[:, t] + lam * after)
        out.append(after)
    return torch.stack(out, 1)
"""),
    ("updates_due", "prefill_counted", "def f(s, p, r, b, l):\n    return (s * r // (b * l)).long()"),
    ("gated_update", "update_bias_forgotten", """
def f(h, r, c, u):
    u = u.sigmoid()
    return u * torch.tanh(r.sigmoid() * c) + (1 - u) * h
"""),
    ("gated_update", "update_inverted", """
def f(h, r, c, u):
    u = (u - 1).sigmoid()
    return (1 - u) * torch.tanh(r.sigmoid() * c) + u * h
"""),
    ("unimix", "unimix_after", "def f(x, s):\n    return (x * (1 - s) + s / x.shape[-1]).softmax(-1)"),
    ("categorical_kl", "kl_reversed", """
def f(a, b, m):
    k = a.shape[-1]
    q, p = (x.softmax(-1) * (1 - m) + m / k for x in (a, b))
    return (p * (p.log() - q.log())).sum((1, 2))
"""),
    ("categorical_kl", "unimix_missing", """
def f(a, b, m):
    q, p = a.log_softmax(-1), b.log_softmax(-1)
    return (q.exp() * (q - p)).sum((1, 2))
"""),
    ("return_range", "range_max_min", """
def f(r, x, d):
    return d * r + (1 - d) * torch.stack([x.min(), x.max()]).detach()
"""),
    ("scaled_advantage", "floor_added", "def f(r, v, g, floor):\n    return (r - v) / (g[1] - g[0] + floor)"),
    ("slow_update", "rate_reversed", "def f(s, c, rate):\n    return rate * s.detach() + (1 - rate) * c.detach()"),
    ("planes", "planes_not_centred", "def f(o):\n    return o.float().permute(0, 3, 1, 2) / 255"),
    ("image_loss", "image_loss_mean_of_pixels", """
def f(m, t):
    return (m - t.float() / 255).pow(2).flatten(1).mean(1)
"""),
    ("normal_log_prob", "log_prob_averaged", """
def f(m, s, a):
    return torch.distributions.Normal(m, s).log_prob(a).mean(-1)
"""),
    ("dream_return", "dream_end_unpaid", "def f(r, d):\n    return (r * (~d).to(r).cumprod(1)).sum(1)"),
    ("refit", "std_with_one_less", """
def f(c, r, k):
    i = r.topk(k, 1).indices
    b = c[torch.arange(len(c))[:, None], i]
    return b.mean(1), (b.var(1) + 1e-6).sqrt()
"""),
    ("shifted_plan", "plan_rolled", "def f(m, first):\n    return m.roll(-1, 1) * (~first).to(m)[:, None, None]"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "name", "source"), WRONG, ids=[name for _, name, _ in WRONG])
def test_a_mistake_is_named_however_it_is_written(part: str, name: str, source: str) -> None:
    words = judge(PARTS[part], function_of(source))
    assert f"Known mistake {name}: {PARTS[part].mistakes[name].story}" in words
