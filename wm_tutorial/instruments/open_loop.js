// An open-loop prediction for every context and horizon: reality and the dream side by side, row by row.
//
// data: names (D,), scale (D,) of the numbers; entry: the one drawn first; cart: whether they are those of a cart with a
// pole; real (T, D); dreams: by context c, the rows c .. T - 1 of a dream that saw the rows before
Instruments.open_loop = (panel, data) => {
  const T = data.real.length, contexts = Object.keys(data.dreams).map(Number), last = contexts.at(-1);
  const film = data.cart && {
    real: panel.plot("Reality: a cart and its pole.", 130),
    dream: panel.plot("The dream: a cart and its pole.", 130),
  };
  const lines = panel.plot("One number in reality and in the dream, row by row.", 180, true);
  panel.slider("context", { label: "context: rows seen", min: contexts[0], max: last, step: 1, value: data.context, kind: "blue" });
  panel.slider("horizon", {
    label: "horizon: rows dreamed", min: 1, max: T - contexts[0], step: 1, value: data.horizon, kind: "vermilion",
    show: (h) => Math.min(h, T - panel.values.context),
  });
  panel.slider("row", { label: "row of the film", min: 0, max: T - 1, step: 1, value: data.context });
  const options = data.names.map((name, i) => [String(i), name]);
  panel.choice("entry", { label: "drawn:", options, value: String(data.entry) });
  panel.play("row", { label: "Play the film", rate: 10 });

  const cart = (plot, title, kind, [position, , angle], night) => {
    plot.begin({ x: [-2.6, 2.6], y: [-0.35, 1.5], title, left: 8, right: 8 });
    const scale = plot.across(1) - plot.across(0), px = plot.across(Math.min(Math.max(position, -2.5), 2.5)), py = plot.up(0);
    if (night) plot.box_([-2.6, 2.6], [-0.35, 1.5], "seen full");
    plot.line([[-2.4, -0.12], [2.4, -0.12]], "faint");
    plot.add("rect", { x: px - 0.25 * scale, y: py - 0.13 * scale, width: 0.5 * scale, height: 0.26 * scale, class: `dot ${kind}` });
    const tip = [px + scale * Math.sin(angle), py - scale * Math.cos(angle)];
    plot.add("path", { d: `M${px} ${py}L${tip[0]} ${tip[1]}`, class: "line ink", "stroke-width": 5, "stroke-linecap": "round" });
  };

  panel.begin(() => {
    const { context, row } = panel.values, entry = Number(panel.values.entry), { real, names, scale } = data;
    const horizon = Math.min(panel.values.horizon, T - context), dream = data.dreams[context].slice(0, horizon);
    const future = real.slice(context, context + horizon), held = future.map(() => real[context - 1]);
    panel.note("horizon", panel.values.horizon); // there may be fewer rows behind a longer context
    const error = Maths.apart(dream, future, scale), persistence = Maths.apart(held, future, scale);
    const final = Maths.apart(dream.slice(-1), future.slice(-1), scale);
    const at = Math.min(row, context + horizon - 1), open = at < context;
    if (film) {
      cart(film.real, `reality, row ${at}`, "blue", real[at], false);
      cart(film.dream, open ? "eyes open" : `dream, step ${at - context + 1}`, "vermilion", open ? real[at] : dream[at - context], !open);
    }
    const all = [...real, ...Object.values(data.dreams).flat()].map((one) => one[entry]);
    const [low, high] = [Math.min(...all), Math.max(...all)], room = 0.06 * (high - low);
    lines.begin({
      x: [0, T - 1], y: [low - room, high + room], xlabel: "row", title: names[entry], xticks: [0, 10, 20, 30, 40].filter((t) => t < T),
      yticks: [low, 0, high].filter((v) => v >= low && v <= high && (v === 0 || Math.abs(v) > 0.2 * (high - low))).map((v) => [v, v.toFixed(1)]), left: 36,
    });
    lines.box_([0, context - 0.5], [low - room, high + room], "seen full");
    lines.line([[at, low - room], [at, high + room]], "soft");
    lines.line(held.map((one, i) => [context + i, one[entry]]), "soft", "2 4");
    lines.line(real.map((one, t) => [t, one[entry]]), "blue");
    lines.line([real[context - 1], ...dream].map((one, i) => [context - 1 + i, one[entry]]), "vermilion", "7 3");
    lines.dot(at, real[at][entry], "blue", 4);
    if (!open) lines.dot(at, dream[at - context][entry], "vermilion", 4);
    panel.tell(
      { error, persistence, final, row: at, horizon },
      `Over ${horizon} dreamed row${horizon > 1 ? "s" : ""} the dream (dashes) is off by ${error.toFixed(2)} standard ` +
        `deviations, “nothing changes” (dots) by ${persistence.toFixed(2)}; in the last row the dream by ${final.toFixed(2)}.`,
    );
  });
};
