// The formulas of the instruments. Tests hold each of them against the package's, number by number.
"use strict";

const Maths = (() => {
  const sum = (numbers) => numbers.reduce((total, x) => total + x, 0);
  const mean = (numbers) => sum(numbers) / numbers.length;

  // --- Returns: all arrays at the arriving states 1..H (returns.py) ---------------------------------------------------

  // R_0 .. R_{H-1}
  function lambdaReturns(reward, discount, value, lam) {
    let following = value.at(-1);
    const returns = [];
    for (let t = reward.length - 1; t >= 0; t--) {
      following = reward[t] + discount[t] * ((1 - lam) * value[t] + lam * following);
      returns.unshift(following);
    }
    return returns;
  }

  // The returns of the first state after 1, 2, .. H steps
  function nStepReturns(reward, discount, value) {
    let total = 0, worth = 1;
    return reward.map((r, t) => {
      total += worth * r;
      worth *= discount[t];
      return total + worth * value[t];
    });
  }

  // How much each of them counts in the lambda return
  function lambdaWeights(horizon, lam) {
    return Array.from({ length: horizon }, (_, n) => lam ** n * (n === horizon - 1 ? 1 : 1 - lam));
  }

  // c_0 + c_1 x + c_2 x^2 ..
  const polynomial = (coefficients, x) => coefficients.reduceRight((total, c) => total * x + c, 0);

  // --- Bells (kl.py) ----------------------------------------------------------------------------------------------------

  const density = (x, mean, std) => Math.exp(-0.5 * ((x - mean) / std) ** 2) / (std * Math.sqrt(2 * Math.PI));

  // KL(q || p) in nats
  function gaussianKl(meanQ, stdQ, meanP, stdP) {
    return Math.log(stdP / stdQ) + (stdQ ** 2 + (meanQ - meanP) ** 2) / (2 * stdP ** 2) - 0.5;
  }

  // What the loss counts of a divergence
  const withFreeNats = (kl, free) => Math.max(free, kl);

  // --- Bounds of a log-variance, from -10 to 2 (latents.py) --------------------------------------------------------------

  const LOW = -10, HIGH = 2, WIDE = HIGH - LOW;
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const BOUNDS = {
    clamp: { value: (x) => Math.min(Math.max(x, LOW), HIGH), slope: (x) => Number(x >= LOW && x <= HIGH) },
    tanh: {
      value: (x) => (LOW + HIGH) / 2 + (WIDE / 2) * Math.tanh((2 * x) / WIDE),
      slope: (x) => 1 / Math.cosh((2 * x) / WIDE) ** 2,
    },
    sigmoid: { value: (x) => LOW + WIDE * sigmoid(x), slope: (x) => WIDE * sigmoid(x) * sigmoid(-x) },
  };

  // Raw numbers on the way of Adam from `start` towards a bounded value of `goal`, by the squared error: steps + 1 of them
  function adam({ value, slope }, start, goal, steps, rate = 0.05) {
    let x = start, first = 0, second = 0;
    const path = [x];
    for (let step = 1; step <= steps; step++) {
      const gradient = 2 * (value(x) - goal) * slope(x);
      first = 0.9 * first + 0.1 * gradient;
      second = 0.999 * second + 0.001 * gradient ** 2;
      x -= (rate * (first / (1 - 0.9 ** step))) / (Math.sqrt(second / (1 - 0.999 ** step)) + 1e-8);
      path.push(x);
    }
    return path;
  }

  // --- Open loop (runs/dream.py) -------------------------------------------------------------------------------------------

  // The root of the mean squared difference of two lists of rows, each number divided by its `scale`
  function apart(rows, others, scale) {
    const squares = rows.flatMap((row, t) => row.map((x, i) => ((x - others[t][i]) / scale[i]) ** 2));
    return Math.sqrt(mean(squares));
  }

  // --- Two-hot (transforms.py) ---------------------------------------------------------------------------------------------

  const symlog = (x) => Math.sign(x) * Math.log1p(Math.abs(x));
  const symexp = (x) => Math.sign(x) * Math.expm1(Math.abs(x));

  // An odd number of bins, evenly spaced in symlog from -limit to limit
  function symexpBins(count, limit) {
    return Array.from({ length: count }, (_, k) => symexp(limit * ((2 * k) / (count - 1) - 1)));
  }

  // Weights on the two bins beside x, the nearer one getting more; beyond the last bin all of it is there
  function twoHot(x, bins) {
    const inside = Math.min(Math.max(x, bins[0]), bins.at(-1)), weights = bins.map(() => 0);
    const right = Math.max(1, bins.findIndex((bin) => bin >= inside)), left = right - 1;
    weights[right] = (inside - bins[left]) / (bins[right] - bins[left]);
    weights[left] = 1 - weights[right];
    return weights;
  }

  const expected = (weights, bins) => sum(weights.map((w, k) => w * bins[k]));

  // --- A dart at the shares of one variable (latents.py, OneHot.sample) -----------------------------------------------------

  // The piece in which a number from 0 to 1 lands; `ends` (P,) says where each ends
  const pieceAt = (ends, dart) => Math.min(ends.filter((end) => end <= dart).length, ends.length - 1);

  const widths = (ends) => ends.map((end, k) => end - (k ? ends[k - 1] : 0));

  // The share of darts whose side (P,) is nearer than `half` to the middle
  const between = (ends, sides, half) => sum(widths(ends).map((width, k) => (Math.abs(sides[k]) < half ? width : 0)));

  // The share of darts and throws (N, P) in each of `count` bins from `low`; what lies beyond counts in the outermost
  function landed(ends, throws, low, wide, count) {
    const share = Array(count).fill(0), width = widths(ends);
    for (const sides of throws)
      sides.forEach((side, k) => (share[Math.min(Math.max(Math.floor((side - low) / wide), 0), count - 1)] += width[k] / throws.length));
    return share;
  }

  // --- Mixtures at a temperature (world_models_2018/memory.py) -------------------------------------------------------------

  function tempered(logWeight, logStd, temperature) {
    const scaled = logWeight.map((w) => w / temperature), top = Math.max(...scaled);
    const total = top + Math.log(sum(scaled.map((w) => Math.exp(w - top))));
    return { weight: scaled.map((w) => Math.exp(w - total)), std: logStd.map((s) => Math.exp(s) * Math.sqrt(temperature)) };
  }

  const mixture = (x, weight, means, std) => sum(weight.map((w, k) => w * density(x, means[k], std[k])));

  // --- A search that narrows (planner.py) ------------------------------------------------------------------------------------

  // Mean and standard deviation of the candidates (each a list of numbers) that return most
  function refit(candidates, returns, elites) {
    const order = returns.map((_, j) => j).sort((a, b) => returns[b] - returns[a]);
    const chosen = order.slice(0, elites), best = chosen.map((j) => candidates[j]);
    const middle = best[0].map((_, i) => mean(best.map((plan) => plan[i])));
    const std = middle.map((m, i) => Math.sqrt(mean(best.map((plan) => (plan[i] - m) ** 2)) + 1e-6));
    return { chosen, mean: middle, std };
  }

  return {
    BOUNDS, adam, apart, between, density, expected, gaussianKl, lambdaReturns, lambdaWeights, landed, mean, mixture,
    nStepReturns, pieceAt, polynomial, refit, sum, symexp, symexpBins, symlog, tempered, twoHot, withFreeNats,
  };
})();
