// A fork as latents dream it: a dart picks from one variable of the prior, and the walker stands where that leads.
//
// data: half, below which a side is between the roads; rows and forked of the road; opening, a name of latents: by what
// the choice calls it, `bell`, whether it is Gaussian, `ends` (P,) of the dart's pieces, and `sides` (N, P): where each piece
// leads for N throws of the darts of the other variables
Instruments.fork = (panel, { half, rows, forked, latents, opening }) => {
  const SIDES = [-1.7, 1.7], WIDE = 0.1, names = Object.keys(latents), most = Math.max(...names.map((name) => latents[name].sides.length));
  const others = () => latents[panel.values.latent].sides.length;
  const road = panel.plot("The road from above, and where the walker stands.", 210);
  const all = panel.plot("How often each side is dreamed, over all darts.", 210);
  const way = panel.plot("The side in the row of the fork, for each place of the dart.", 220, true);
  panel.choice("latent", { label: "latent:", options: names.map((name) => [name, name]), value: opening });
  panel.slider("dart", { label: "the dart of one variable", min: 0, max: 1, step: 0.005, value: 0.25, show: (u) => u.toFixed(3), kind: "blue" });
  panel.slider("throw", {
    label: "other darts: throw", min: 1, max: most, step: 1, value: 1,
    show: (n) => (others() === 1 ? "none" : `${Math.min(n, others())} of ${others()}`),
  });
  panel.play("dart", { label: "Move the dart", rate: 20 });
  way.drag((_, u) => panel.set("dart", u));

  const inside = (y) => Math.abs(y) < half;
  const sides = (plot, more) => plot.begin({ y: SIDES, yticks: [[-1, "left"], [0, ""], [1, "right"]], left: 40, ...more });

  panel.begin(() => {
    const { latent, dart } = panel.values, { bell, ends, sides: thrown } = latents[latent];
    panel.note("throw", panel.values.throw); // a latent with one variable has no others
    const now = thrown[Math.min(panel.values.throw, thrown.length) - 1], piece = Maths.pieceAt(ends, dart), side = now[piece];
    const begins = [0, ...ends], kind = inside(side) ? "vermilion" : "blue";
    const between = Maths.between(ends, now, half), over = Maths.mean(thrown.map((one) => Maths.between(ends, one, half)));

    sides(road, { x: [-0.2, rows - 0.8], xticks: [...Array(rows).keys()], title: inside(side) ? "between the roads" : "on a road", xlabel: "row" });
    for (const to of [-1, 1]) road.add("path", { d: road.path([[0, 0], [forked - 1, 0], [forked, to], [rows - 1, to]]), class: "line faint", style: "stroke-width: 14px; stroke-linecap: round" });
    road.line([[0, 0], [forked - 1, 0], [forked, side]], kind, "5 3");
    road.dot(forked, side, kind, 7);

    const count = Math.round((SIDES[1] - SIDES[0]) / WIDE), heaps = Maths.landed(ends, thrown, SIDES[0], WIDE, count), high = Math.max(...heaps);
    sides(all, { x: [0, 1.08 * high], title: "all darts", left: 40 });
    heaps.forEach((share, i) => {
      const low = SIDES[0] + i * WIDE, middle = low + WIDE / 2;
      if (share) all.box_([0, share], [low, low + 0.9 * WIDE], `${inside(middle) ? "vermilion" : "blue"} full`);
    });
    all.line([[0, side], [1.08 * high, side]], "soft", "2 4");

    sides(way, { x: [0, 1], xlabel: bell ? "dart: the share of the Gaussian to the left of z" : "dart: shares of the classes", title: "where the dart leads", xticks: [0, 0.25, 0.5, 0.75, 1] });
    way.box_([0, 1], [-half, half], "seen full");
    if (bell) way.line(ends.map((end, k) => [(begins[k] + end) / 2, now[k]]), "soft");
    else {
      for (const end of ends.slice(0, -1)) way.line([[end, SIDES[0]], [end, SIDES[1]]], "faint", "2 3");
      ends.forEach((end, k) => way.line([[begins[k], now[k]], [end, now[k]]], inside(now[k]) ? "vermilion" : "blue"));
    }
    way.line([[dart, SIDES[0]], [dart, SIDES[1]]], "soft");
    way.handle(dart, side, kind, "dart");
    const share = (x) => `${Math.round(100 * x)}\u00a0%`, rest = thrown.length > 1 ? `; over all throws, on ${share(over)}` : "";
    panel.tell(
      { side, piece, between, over, heaps },
      `The dart at ${dart.toFixed(3)} leads to side ${side.toFixed(2).replace("-", "−")}. On ${share(between)} of its way it leads between the roads${rest}.`,
    );
  });
};
