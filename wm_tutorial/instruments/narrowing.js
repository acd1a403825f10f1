// A search in two numbers that narrows: candidates, elites, and the bell that is fitted to them.
//
// data: aim (2,), the best plan; noise: for each iteration a list of standard normal pairs, as many as candidates at most
Instruments.narrowing = (panel, { aim, noise }) => {
  const most = noise[0].length, iterations = noise.length;
  const plane = panel.plot("Candidates in a plane, the elites among them, and the bell that is fitted to them.", 300);
  const width = panel.plot("The deviation of the plan, iteration by iteration.", 300);
  panel.slider("iteration", { label: "iteration", min: 1, max: iterations, step: 1, value: 1, kind: "vermilion" });
  panel.slider("candidates", { label: "J candidates", min: 4, max: most, step: 1, value: 60 });
  panel.slider("elites", { label: "K elites", min: 1, max: most, step: 1, value: 8, show: (k) => Math.min(k, panel.values.candidates) });
  panel.play("iteration", { label: "Let it search", rate: 1 });

  const score = (plan) => -Maths.sum(plan.map((x, i) => (x - aim[i]) ** 2));
  const clamp = (x) => Math.min(Math.max(x, -1), 1);
  const search = (J, K) => {
    let mean = [0, 0], std = [1, 1];
    return noise.map((drawn) => {
      const candidates = drawn.slice(0, J).map((pair) => pair.map((e, i) => clamp(mean[i] + std[i] * e)));
      const found = Maths.refit(candidates, candidates.map(score), K);
      ({ mean, std } = found);
      return { candidates, ...found };
    });
  };

  panel.begin(() => {
    const { iteration, candidates: J } = panel.values, K = Math.min(panel.values.elites, J), whole = search(J, K);
    panel.note("elites", panel.values.elites);
    const now = whole[iteration - 1], off = Math.sqrt(-score(now.mean));
    plane.begin({ x: [-1.1, 1.1], y: [-1.1, 1.1], xlabel: "first number", title: "second number", xticks: [-1, 0, 1], yticks: [-1, 0, 1], left: 28 });
    now.candidates.forEach(([x, y], j) => {
      const elite = now.chosen.includes(j);
      plane.dot(x, y, elite ? "vermilion" : "soft", elite ? 4 : 2.5);
    });
    const round = Array.from({ length: 61 }, (_, i) => (2 * Math.PI * i) / 60);
    plane.line(round.map((a) => [now.mean[0] + 2 * now.std[0] * Math.cos(a), now.mean[1] + 2 * now.std[1] * Math.sin(a)]), "green");
    const [px, py] = [plane.across(aim[0]), plane.up(aim[1])];
    plane.add("path", { d: `M${px - 8} ${py}H${px + 8}M${px} ${py - 8}V${py + 8}`, class: "line blue", "stroke-width": 3 });
    const ticks = [[1, "1"], [0.1, "0.1"], [0.01, "0.01"], [0.001, "0.001"]];
    width.begin({
      x: [0.7, iterations + 0.3], y: [5e-4, 1.5], log: true, xlabel: "iteration", title: "how wide, how far off", left: 44,
      xticks: whole.map((_, i) => i + 1), yticks: ticks,
    });
    const until = whole.slice(0, iterations), of = (part) => until.map((one, i) => [i + 1, part(one)]);
    width.line(of(({ std }) => Maths.mean(std)), "green");
    width.line(of(({ mean }) => Math.sqrt(-score(mean))), "blue", "5 3");
    width.dot(iteration, Maths.mean(now.std), "green");
    width.dot(iteration, off, "blue");
    width.words(width.box.right, 15, "off", "blue", "end");
    width.words(width.box.right - 26, 15, "wide", "green", "end");
    panel.tell(
      { mean: now.mean, std: now.std, off },
      `Iteration ${iteration}: the best ${K} of ${J} leave a bell with a deviation of ${Maths.mean(now.std).toFixed(3)}, ` +
        `whose middle is ${off.toFixed(3)} from the best plan.`,
    );
  });
};
