// Two bells to drag, and both divergences between them.
Instruments.two_bells = (panel, { free = null }) => {
  const X = [-6, 6], width = 12, two = (x) => x.toFixed(2);
  const bells = panel.plot("The densities of q and p.", 230);
  const bars = panel.plot("Bars: the two divergences, in nats.", 230);
  const lengths = { min: 0.25, max: 4, step: 0.05, show: two }, places = { min: -4, max: 4, step: 0.1, show: (x) => x.toFixed(1) };
  panel.slider("meanQ", { label: "mean of q", value: 0, kind: "blue", ...places });
  panel.slider("stdQ", { label: "deviation of q", value: 1, kind: "blue", ...lengths });
  panel.slider("meanP", { label: "mean of p", value: 1, kind: "orange", ...places });
  panel.slider("stdP", { label: "deviation of p", value: 2, kind: "orange", ...lengths });
  if (free !== null)
    panel.slider("free", { label: "free nats", min: 0, max: 3, step: 0.1, value: free, show: (x) => x.toFixed(1), kind: "purple" });

  bells.drag((name, x) => {
    const side = name.at(-1), mean = panel.values[`mean${side}`];
    panel.set(name, name.startsWith("mean") ? x : Math.abs(x - mean));
  });

  panel.begin(() => {
    const { meanQ, stdQ, meanP, stdP } = panel.values, threshold = panel.values.free ?? 0;
    const grid = Array.from({ length: 181 }, (_, i) => X[0] + (width * i) / 180);
    const top = Math.max(0.5, 1.12 * Maths.density(0, 0, Math.min(stdQ, stdP)));
    bells.begin({ x: X, y: [0, top], xlabel: "x", title: "drag the dots", xticks: [-4, -2, 0, 2, 4], left: 8 });
    for (const [side, mean, std, kind, name] of [["P", meanP, stdP, "orange", "p"], ["Q", meanQ, stdQ, "blue", "q"]]) {
      const curve = grid.map((x) => [x, Maths.density(x, mean, std)]), peak = Maths.density(mean, mean, std);
      bells.area(curve, kind);
      bells.line(curve, kind, side === "P" ? "6 4" : "");
      bells.handle(mean, peak, kind, `mean${side}`);
      const outer = side === "P" ? 1 : -1, edge = Math.abs(mean + outer * std) > X[1] - 0.3 ? mean - outer * std : mean + outer * std;
      bells.handle(edge, peak * Math.exp(-0.5), kind, `std${side}`);
      bells.note(mean, peak, name, kind, side === "P" ? "start" : "end", side === "P" ? 14 : -14, 4);
    }
    const forwards = Maths.gaussianKl(meanQ, stdQ, meanP, stdP), backwards = Maths.gaussianKl(meanP, stdP, meanQ, stdQ);
    const high = Math.max(3, 1.08 * Math.max(forwards, backwards)), step = 10 ** Math.ceil(Math.log10(high / 6));
    const ticks = Array.from({ length: 7 }, (_, i) => (i * step) / (high < 3 * step ? 2 : 1)).filter((v) => v <= high);
    bars.begin({ x: [0, 2], y: [0, high], yticks: ticks, ylabel: "nats", xticks: [[0.5, "KL(q ‖ p)"], [1.5, "KL(p ‖ q)"]] });
    const taught = forwards > threshold;
    bars.box_([0.2, 0.8], [0, forwards], taught ? "purple full" : "faint full");
    bars.box_([1.2, 1.8], [0, backwards], "purple full");
    bars.note(0.5, forwards, forwards.toFixed(3), "ink", "middle", 0, -5);
    bars.note(1.5, backwards, backwards.toFixed(3), "ink", "middle", 0, -5);
    let words = `KL(q ‖ p) = ${forwards.toFixed(3)} nats, KL(p ‖ q) = ${backwards.toFixed(3)} nats.`;
    if (free !== null) {
      bars.line([[0, threshold], [1, threshold]], "vermilion", "5 3");
      const counted = Maths.withFreeNats(forwards, threshold);
      words += ` The loss counts ${counted.toFixed(3)}: ${taught ? "both bells are taught" : "free, nobody is taught"}.`;
    }
    panel.tell({ forwards, backwards, counted: Maths.withFreeNats(forwards, threshold), taught }, words);
  });
};
