// Mixtures of bells at any temperature.
//
// data: numbers: by what the choice calls it, logWeight, mean and logStd (K,) of one number of z; opening: the first one
Instruments.temperature = (panel, { numbers, opening }) => {
  const plot = panel.plot("The density of one number of z, as learned and at a temperature.", 230);
  const bars = panel.plot("The weights of the bells, as learned and at a temperature.", 230);
  panel.slider("log", { label: "temperature τ", min: -23, max: 7, step: 1, value: 0, show: (s) => Math.exp(s / 10).toFixed(2), kind: "vermilion" });
  panel.choice("which", { label: "weights:", options: Object.keys(numbers).map((name) => [name, name]), value: opening });
  panel.play("log", { label: "Let it warm", rate: 5 });

  panel.begin(() => {
    const tau = Math.exp(panel.values.log / 10), { logWeight, mean, logStd } = numbers[panel.values.which];
    const learned = Maths.tempered(logWeight, logStd, 1), now = Maths.tempered(logWeight, logStd, tau);
    const low = Math.min(...mean.map((m, k) => m - 4 * learned.std[k])), high = Math.max(...mean.map((m, k) => m + 4 * learned.std[k]));
    const grid = Array.from({ length: 241 }, (_, i) => low + ((high - low) * i) / 240);
    const curve = (one) => grid.map((x) => [x, Maths.mixture(x, one.weight, mean, one.std)]);
    const before = curve(learned), after = curve(now), top = 1.1 * Math.max(...before.map(([, y]) => y)) * 1.5;
    const round = [Math.ceil(low), 0, Math.floor(high)].filter((v, i, all) => v >= low && v <= high && all.indexOf(v) === i);
    plot.begin({ x: [low, high], y: [0, top], xlabel: "the number of z", title: "density", xticks: round, left: 8 });
    plot.area(before, "soft");
    plot.line(before, "soft", "5 3");
    plot.line(after, "vermilion");
    const order = mean.map((_, k) => k).sort((a, b) => learned.weight[b] - learned.weight[a]);
    bars.begin({ x: [0, mean.length], y: [0, 1.08], title: "weights of the bells", yticks: [0, 0.5, 1], xticks: [], left: 30 });
    order.forEach((k, i) => {
      bars.box_([i + 0.12, i + 0.48], [0, learned.weight[k]], "soft full");
      bars.box_([i + 0.52, i + 0.88], [0, now.weight[k]], "vermilion full");
    });
    const rare = 1 - now.weight[order[0]], draws = rare > 5e-4 ? (1 / rare).toFixed(1) : "more than 2,000";
    const spread = Math.sqrt(tau);
    panel.tell(
      { tau, weight: now.weight, std: now.std, rare },
      `At τ = ${tau.toFixed(2)} one draw in ${draws} is from another bell than the likeliest; every bell is ` +
        `${spread.toFixed(2)} times as wide as learned (dashes).`,
    );
  });
};
