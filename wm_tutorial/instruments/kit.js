// What all instruments share: sliders, buttons and plots, keyboard and touch, and the colours of the page around them.
"use strict";

const Kit = (() => {
  const SVG = "http://www.w3.org/2000/svg";

  function html(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // --- A plot ---------------------------------------------------------------------------------------------------------------

  class Plot {
    // label: what it shows, for those who cannot see it
    constructor(host, label, height) {
      Object.assign(this, { height, handles: [] });
      this.svg = document.createElementNS(SVG, "svg");
      this.svg.setAttribute("role", "img");
      this.svg.setAttribute("aria-label", label);
      host.append(html("div", { class: "plot" }, this.svg));
    }

    // Begin anew, as wide as there is room. x, y: [low, high]; ticks: numbers, or [number, text]; log: of y.
    begin({ x, y, xlabel = "", ylabel = "", title = "", xticks = [], yticks = [], log = false, left = 40, right = 16 }) {
      const width = this.svg.parentNode.clientWidth || 320, { height, svg } = this;
      const top = title || ylabel ? 26 : 8, bottom = xlabel ? 38 : xticks.length ? 22 : 8;
      Object.assign(this, { x, y, log, handles: [], box: { left, top, right: width - right, bottom: height - bottom } });
      svg.replaceChildren();
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("height", height);
      const { box } = this, pair = (tick) => (Array.isArray(tick) ? tick : [tick, String(tick)]);
      for (const [at, text] of xticks.map(pair)) {
        this.add("line", { x1: this.across(at), x2: this.across(at), y1: box.top, y2: box.bottom, class: "grid" });
        this.words(this.across(at), box.bottom + 15, text, "soft", "middle");
      }
      for (const [at, text] of yticks.map(pair)) {
        this.add("line", { x1: box.left, x2: box.right, y1: this.up(at), y2: this.up(at), class: "grid" });
        this.words(box.left - 6, this.up(at) + 4, text, "soft", "end");
      }
      if (xlabel) this.words((box.left + box.right) / 2, height - 6, xlabel, "soft", "middle");
      if (title) this.words(2, 15, title, "title");
      if (ylabel) this.words(title ? width - right : 2, 15, ylabel, "soft", title ? "end" : "start");
      return this;
    }

    add(tag, attributes, text = "") {
      const element = document.createElementNS(SVG, tag);
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
      if (text !== "") element.textContent = text;
      this.svg.append(element);
      return element;
    }

    across(x) {
      return this.box.left + ((x - this.x[0]) / (this.x[1] - this.x[0])) * (this.box.right - this.box.left);
    }

    up(y) {
      const as = this.log ? (v) => Math.log10(Math.max(v, 1e-300)) : (v) => v;
      const share = (as(y) - as(this.y[0])) / (as(this.y[1]) - as(this.y[0]));
      return this.box.bottom - Math.min(Math.max(share, -0.02), 1.02) * (this.box.bottom - this.box.top);
    }

    // Pixels of text
    words(px, py, text, kind = "ink", anchor = "start") {
      return this.add("text", { x: px, y: py, class: `word-${kind}`, "text-anchor": anchor }, text);
    }

    // Text at a place of the plot, moved by some pixels
    note(x, y, text, kind, anchor = "start", dx = 0, dy = 0) {
      return this.words(this.across(x) + dx, this.up(y) + dy, text, kind, anchor);
    }

    path(points) {
      return points.map(([x, y], i) => `${i ? "L" : "M"}${this.across(x).toFixed(1)} ${this.up(y).toFixed(1)}`).join("");
    }

    line(points, kind, dashes = "") {
      if (points.length) this.add("path", { d: this.path(points), class: `line ${kind}`, "stroke-dasharray": dashes });
    }

    area(points, kind, floor = 0) {
      const whole = [[points[0][0], floor], ...points, [points.at(-1)[0], floor]];
      this.add("path", { d: `${this.path(whole)}Z`, class: `area ${kind}` });
    }

    box_(x, y, kind) {
      const [left, right] = x.map((v) => this.across(v)), [low, high] = y.map((v) => this.up(v));
      const size = { width: Math.max(right - left, 0), height: Math.max(low - high, 0) };
      this.add("rect", { x: left, y: high, ...size, class: `area ${kind}` });
    }

    dot(x, y, kind, r = 5) {
      this.add("circle", { cx: this.across(x), cy: this.up(y), r, class: `dot ${kind}` });
    }

    // What can be dragged; `begin` forgets it, so it is given in each drawing.
    handle(x, y, kind, name) {
      this.handles.push({ name, px: this.across(x), py: this.up(y) });
      this.add("circle", { cx: this.across(x), cy: this.up(y), r: 9, class: `handle ${kind}` });
    }

    // moved(name, x): the handle `name` was dragged sideways to x. Up and down the page scrolls, as it should.
    drag(moved) {
      let held = null;
      const { svg } = this, place = (event) => {
        const { left, width, top } = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / width;
        return [(event.clientX - left) * scale, (event.clientY - top) * scale];
      };
      const move = (event) => {
        const [px] = place(event), { left, right } = this.box, { x } = this;
        moved(held, x[0] + ((px - left) / (right - left)) * (x[1] - x[0]));
      };
      svg.classList.add("dragged");
      svg.addEventListener("pointerdown", (event) => {
        const [px, py] = place(event), far = ({ px: x, py: y }) => Math.hypot(px - x, py - y);
        const nearest = [...this.handles].sort((a, b) => far(a) - far(b))[0];
        if (!nearest || far(nearest) > 28) return;
        held = nearest.name;
        svg.setPointerCapture(event.pointerId);
      });
      svg.addEventListener("pointermove", (event) => held && move(event));
      for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => (held = null));
    }
  }

  // --- An instrument ------------------------------------------------------------------------------------------------------------

  // In it, plots stand above, then a sentence with what is read off, then what can be moved.
  class Panel {
    constructor(root) {
      Object.assign(this, { root, values: {}, opening: {}, sliders: {}, numbers: {}, draw: () => {} });
      this.plots = html("div", { class: "plots" });
      this.said = html("p", { class: "said", role: "status" });
      this.controls = html("div", { class: "controls" });
      this.buttons = html("div", { class: "buttons" });
      root.append(this.plots, this.said, this.controls, this.buttons);
    }

    plot(label, height = 220, wide = false) {
      const host = html("div", wide ? { class: "wide" } : {});
      this.plots.append(host);
      return new Plot(host, label, height);
    }

    // show: of a number, what is written beside the slider
    slider(name, { label, min, max, step, value, show = String, kind = "ink" }) {
      const input = html("input", { type: "range", min, max, step, value, id: `wm-${name}` });
      const output = html("output", { for: `wm-${name}` });
      this.controls.append(html("div", { class: `slider ${kind}` }, html("label", { for: `wm-${name}` }, label), output, input));
      this.sliders[name] = { input, output, show };
      this.opening[name] = value;
      input.addEventListener("input", () => this.set(name, Number(input.value)));
      this.note(name, value);
    }

    // One of several; options: values with their words
    choice(name, { label, options, value }) {
      const group = html("fieldset", { class: "choice" }, html("legend", {}, label));
      for (const [option, words] of options) {
        const input = html("input", { type: "radio", name: `wm-${name}`, value: option, id: `wm-${name}-${option}` });
        input.checked = option === value;
        input.addEventListener("change", () => this.set(name, option));
        group.append(html("span", {}, input, html("label", { for: input.id }, words)));
      }
      this.controls.append(group);
      this.opening[name] = value;
      this.values[name] = value;
    }

    note(name, value) {
      this.values[name] = value;
      const slider = this.sliders[name];
      if (slider) {
        slider.input.value = value;
        slider.output.textContent = slider.show(value);
        slider.input.setAttribute("aria-valuetext", slider.output.textContent);
      } else {
        for (const input of this.root.querySelectorAll(`[name="wm-${name}"]`)) input.checked = input.value === String(value);
      }
    }

    // Move a slider, within its bounds, or choose; and draw.
    set(name, value) {
      const slider = this.sliders[name];
      if (slider) {
        const [min, max, step] = ["min", "max", "step"].map((key) => Number(slider.input[key]));
        value = Math.min(Math.max(min + Math.round((value - min) / step) * step, min), max);
        value = Number(value.toFixed(6));
      }
      this.note(name, value);
      this.draw();
    }

    // A button that moves a slider to its end, `rate` steps a second, and pauses it. Nothing moves unless it is asked to.
    play(name, { label, rate }) {
      const button = html("button", { type: "button" }, label), { input } = this.sliders[name];
      const stop = () => {
        clearInterval(this.clock);
        this.clock = null;
        button.textContent = label;
      };
      const step = () => {
        const next = Number(input.value) + Number(input.step);
        if (next > Number(input.max) + 1e-9) return stop();
        this.set(name, next);
      };
      button.addEventListener("click", () => {
        if (this.clock) return stop();
        if (Number(input.value) + 1e-9 >= Number(input.max)) this.set(name, Number(input.min));
        button.textContent = "Pause";
        this.clock = setInterval(step, 1000 / rate);
      });
      input.addEventListener("input", stop);
      document.addEventListener("visibilitychange", () => document.hidden && stop());
      this.buttons.append(button);
      this.stop = stop;
    }

    button(label, act) {
      const button = html("button", { type: "button" }, label);
      button.addEventListener("click", act);
      this.buttons.append(button);
    }

    // The numbers that are read off, and a sentence with them
    tell(numbers, sentence) {
      this.numbers = numbers;
      if (this.said.textContent !== sentence) this.said.textContent = sentence;
    }

    begin(draw) {
      this.draw = draw;
      this.button("Start again", () => {
        if (this.stop) this.stop();
        for (const [name, value] of Object.entries(this.opening)) this.note(name, value);
        draw();
      });
      new ResizeObserver(() => draw()).observe(this.plots);
      draw();
    }
  }

  // --- The page around ------------------------------------------------------------------------------------------------------

  // As dark as the page around, which says so (the website, JupyterLab, slides), or as the system.
  function theme() {
    let around;
    try {
      const { documentElement, body } = window.parent.document;
      around = documentElement.dataset.theme || { true: "light", false: "dark" }[body.dataset.jpThemeLight];
      if (!around && body.classList.contains("vscode-dark")) around = "dark";
    } catch {} // a page that may not be looked at
    const system = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    document.documentElement.dataset.theme = ["light", "dark"].includes(around) ? around : system;
  }

  // In a frame: take the place of the picture before it, be as high as what is in it, and follow the colours around.
  function settle() {
    theme();
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", theme);
    if (window.parent === window) return;
    try {
      const frame = window.frameElement, watch = new MutationObserver(theme), around = window.parent.document;
      frame.parentElement.classList.add("wm-live");
      new ResizeObserver(() => {
        frame.style.height = `${Math.ceil(document.body.getBoundingClientRect().height)}px`;
      }).observe(document.body);
      watch.observe(around.documentElement, { attributeFilter: ["data-theme"] });
      watch.observe(around.body, { attributeFilter: ["data-jp-theme-light", "class"] });
    } catch {} // the picture stays where it is
  }

  return { Panel, settle };
})();

const Instruments = {};
