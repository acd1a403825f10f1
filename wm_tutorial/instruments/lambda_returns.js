// Lambda and gamma: the five lanes of a small table, and the U of bias and variance.
//
// data: reward, value (H,) of the table; lams; of each gamma a list over lambda of the coefficients (3,) of the squared
// bias and of the variance as functions of how wrong the critic is; wrong: where that slider begins
Instruments.lambda_returns = (panel, data) => {
  const gammas = Object.keys(data.errors), two = (x) => x.toFixed(2), H = data.reward.length;
  const lanes = panel.plot("Five lanes with the returns of one to five steps, and bars that say how much each counts.", 220);
  const curve = panel.plot("The error of a target against lambda, and its two parts.", 220);
  panel.slider("lam", { label: "λ (lambda)", min: 0, max: 1, step: 0.05, value: 0.5, show: two, kind: "green" });
  panel.slider("gamma", {
    label: "γ (gamma)", min: 0, max: gammas.length - 1, step: 1, value: data.gamma, show: (i) => gammas[i],
  });
  panel.slider("wrong", { label: "the critic is wrong by", min: 0, max: 0.6, step: 0.05, value: data.wrong, show: two, kind: "vermilion" });
  panel.play("lam", { label: "Let λ run", rate: 5 });

  panel.begin(() => {
    const { lam, wrong } = panel.values, gamma = gammas[panel.values.gamma];
    const discount = data.reward.map(() => Number(gamma));
    const answers = Maths.nStepReturns(data.reward, discount, data.value), weights = Maths.lambdaWeights(H, lam);
    const mixed = Maths.sum(weights.map((w, n) => w * answers[n]));
    lanes.begin({
      x: [0, 2 * H - 1.5], y: [H + 0.6, 0.4], xlabel: "steps, and how much a lane counts", title: "five lanes",
      xticks: [1, 2, 3, 4, 5], yticks: [1, 2, 3, 4, 5], left: 22,
    });
    weights.forEach((weight, i) => {
      const n = i + 1;
      lanes.line([[0, n], [n, n]], "soft");
      for (let step = 1; step <= n; step++) lanes.dot(step, n, "blue", 3.5);
      lanes.dot(n, n, "vermilion ring", 8);
      lanes.note(n, n, answers[i].toFixed(2), "ink", "start", 13, 4);
      const begin = H + 1.45, end = begin + 2.05 * weight;
      lanes.box_([begin, end], [n + 0.28, n - 0.28], "green full");
    });
    const error = data.lams.map((_, i) => {
      const [bias, variance] = data.errors[gamma][i].map((coefficients) => Maths.polynomial(coefficients, wrong));
      return { bias, variance, whole: Math.sqrt(bias + variance) };
    });
    const best = error.reduce((found, one, i) => (one.whole < error[found].whole - 1e-12 ? i : found), 0);
    const here = data.lams.findIndex((l) => Math.abs(l - lam) < 1e-9), top = Math.max(...error.map(({ whole }) => whole));
    const ticks = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6].filter((v) => v <= 1.15 * top);
    curve.begin({
      x: [0, 1], y: [0, 1.15 * Math.max(top, 0.1)], xlabel: "λ", title: "error of a target (rewards)",
      xticks: [0, 0.5, 1], yticks: ticks, left: 30,
    });
    const of = (part) => data.lams.map((l, i) => [l, part(error[i])]);
    curve.line(of(({ bias }) => Math.sqrt(bias)), "vermilion", "6 4");
    curve.line(of(({ variance }) => Math.sqrt(variance)), "blue", "2 3");
    curve.line(of(({ whole }) => whole), "ink");
    curve.dot(data.lams[best], error[best].whole, "ink ring", 7);
    curve.line([[lam, 0], [lam, error[here].whole]], "green");
    curve.dot(lam, error[here].whole, "green", 5);
    curve.words(curve.box.right, 15, "bias", "vermilion", "end");
    curve.words(curve.box.right - 34, 15, "luck", "blue", "end");
    panel.tell(
      { returns: Maths.lambdaReturns(data.reward, discount, data.value, lam), mixed, ...error[here], best: data.lams[best] },
      `The lanes give R₀ = ${mixed.toFixed(2)}. A target is off by ${error[here].whole.toFixed(3)}: bias ` +
        `${Math.sqrt(error[here].bias).toFixed(3)}, luck ${Math.sqrt(error[here].variance).toFixed(3)}. ` +
        `The best λ here is ${data.lams[best].toFixed(2)} (ring).`,
    );
  });
};
