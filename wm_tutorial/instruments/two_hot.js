// A number as two weights: bins, the two beside the target, and the mean that is read back.
//
// data: limit, the largest bin in symlog space; count, how many bins at the opening; x, the target at the opening
Instruments.two_hot = (panel, { limit = 3, count = 7, x = 3 }) => {
  const as = (v) => (Math.abs(v) < 10 ? v.toFixed(2) : v.toFixed(1)), SHOWN = limit * 1.08;
  const plot = panel.plot("Bins on a line, with the weights on the two bins beside the target.", 240, true);
  panel.slider("x", { label: "target, in symlog", min: -limit, max: limit, step: 0.01, value: Number(Maths.symlog(x).toFixed(2)), show: (s) => as(Maths.symexp(s)), kind: "blue" });
  panel.slider("other", { label: "how often another target comes", min: 0, max: 1, step: 0.05, value: 0, show: (s) => `${Math.round(100 * s)} %`, kind: "vermilion" });
  panel.slider("y", { label: "the other target, in symlog", min: -limit, max: limit, step: 0.01, value: Number((-0.7 * limit).toFixed(2)), show: (s) => as(Maths.symexp(s)), kind: "vermilion" });
  panel.slider("count", { label: "bins", min: 5, max: 41, step: 2, value: count });

  plot.drag((name, at) => panel.set(name, at));
  panel.begin(() => {
    const { values } = panel, bins = Maths.symexpBins(values.count, limit), target = Maths.symexp(values.x);
    const first = Maths.twoHot(target, bins), second = Maths.twoHot(Maths.symexp(values.y), bins);
    const weights = first.map((w, k) => (1 - values.other) * w + values.other * second[k]);
    const wanted = (1 - values.other) * target + values.other * Maths.symexp(values.y);
    const mean = Maths.expected(weights, bins), squashed = Maths.symexp(Maths.expected(weights, bins.map(Maths.symlog)));
    const every = Math.ceil(values.count / 9);
    const named = bins.map((bin, k) => [Maths.symlog(bin), (k - (values.count - 1) / 2) % every ? "" : as(bin)]);
    plot.begin({
      x: [-SHOWN, SHOWN], y: [-0.22, 1.1], xlabel: "bins, evenly spaced in symlog", title: "weights of the bins: drag the dots",
      xticks: named, yticks: [0, 0.5, 1], left: 30,
    });
    const half = Math.min((0.35 * 2 * limit) / (values.count - 1), 0.15);
    weights.forEach((w, k) => {
      const at = Maths.symlog(bins[k]);
      if (w > 1e-9) plot.box_([at - half, at + half], [0, w], "purple full");
      if (w > 0.04) plot.note(at, w, w.toFixed(3), "ink", "middle", 0, -5);
    });
    if (values.other > 0) plot.handle(values.y, -0.12, "vermilion", "y");
    plot.handle(values.x, -0.12, "blue", "x");
    plot.line([[Maths.symlog(mean), -0.05], [Maths.symlog(mean), 1]], "green");
    plot.line([[Maths.symlog(squashed), -0.05], [Maths.symlog(squashed), 1]], "orange", "4 3");
    panel.tell(
      { weights, mean, squashed, wanted },
      `Wanted on average: ${as(wanted)}. The mean of the bins (line) is ${as(mean)}; taken in symlog space (dashes), ${as(squashed)}.`,
    );
  });
};
