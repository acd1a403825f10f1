// Three bounds of a log-variance, their slopes, and what an optimiser makes of them.
Instruments.slopes = (panel) => {
  const KINDS = { clamp: "soft", tanh: "green", sigmoid: "blue" }, DASHES = { clamp: "7 4", tanh: "2 3", sigmoid: "" };
  const GOAL = -4, UPDATES = 1000, X = [-20, 20], grid = Array.from({ length: 321 }, (_, i) => -20 + i / 8);
  const bounds = panel.plot("Three bounds: log-variance against the network's output.", 210);
  const slopes = panel.plot("The slopes of the three bounds, logarithmic.", 210);
  const way = panel.plot("The log-variance under each bound while Adam learns.", 150, true);
  panel.slider("raw", { label: "network output", min: -20, max: 20, step: 0.5, value: 8, show: (x) => x.toFixed(1) });
  panel.slider("update", { label: "updates of Adam towards −4", min: 0, max: UPDATES, step: 10, value: 0 });
  panel.play("update", { label: "Let Adam learn", rate: 20 });
  const paths = {};

  panel.begin(() => {
    const { raw, update } = panel.values, numbers = {}, words = [];
    if (paths.raw !== raw) {
      paths.raw = raw;
      for (const name in KINDS) paths[name] = Maths.adam(Maths.BOUNDS[name], raw, GOAL, UPDATES);
    }
    const xticks = [-20, -10, 0, 10, 20], xlabel = "network output";
    bounds.begin({ x: X, y: [-11, 3], xlabel, title: "two ends", ylabel: "log-variance", xticks, yticks: [-10, -4, 2], left: 30 });
    slopes.begin({
      x: X, y: [1e-9, 20], log: true, xlabel, title: "what comes back", ylabel: "slope", xticks, left: 40,
      yticks: [[1, "1"], [1e-3, "10⁻³"], [1e-6, "10⁻⁶"], [1e-9, "0"]],
    });
    way.begin({
      x: [0, UPDATES], y: [-11, 3], xlabel: "update", title: "log-variance under Adam, aimed at −4", xticks: [0, 250, 500, 750, 1000],
      yticks: [-10, -4, 2], left: 30,
    });
    for (const [name, kind] of Object.entries(KINDS)) {
      const { value, slope } = Maths.BOUNDS[name], path = paths[name].slice(0, update + 1), now = path.at(-1);
      bounds.line(grid.map((x) => [x, value(x)]), kind, DASHES[name]);
      slopes.line(grid.map((x) => [x, Math.max(slope(x), 1e-9)]), kind, DASHES[name]);
      bounds.dot(now, value(now), kind);
      slopes.dot(now, Math.max(slope(now), 1e-9), kind);
      way.line(path.map((x, i) => [i, value(x)]).filter((_, i) => i % 5 === 0 || i === update), kind, DASHES[name]);
      way.dot(update, value(now), kind, 4);
      numbers[name] = { raw: now, value: value(now), slope: slope(now) };
      const shown = slope(now) >= 0.0005 || slope(now) === 0 ? slope(now).toFixed(3) : slope(now).toExponential(0);
      words.push(`${name} ${value(now).toFixed(2)} with slope ${shown}`);
    }
    bounds.note(-19, 2, "clamp", "soft", "start", 0, 4);
    bounds.note(-19, 0.4, "tanh", "green", "start", 0, 4);
    bounds.note(-19, -1.2, "sigmoid", "blue", "start", 0, 4);
    panel.tell(numbers, `${update ? `After ${update} updates` : `At an output of ${raw.toFixed(1)}`}: ${words.join(", ")}.`);
  });
};
