// Reality and dream side by side: the same actions go to both, and the dreamer's eyes can be closed.
"use strict";

const Player = (() => {
  class Player {
    // root: an element; agent: of WorldModel.load; id: of a world in Worlds
    constructor(root, agent, id) {
      Object.assign(this, { root, agent, ...Worlds[id] });
      this.world = new this.World();
      this.actions = this.World.actions;
      this.size = agent.spaces.action_size;
      this.held = null; // what a key or a finger holds down
      this.find = (name) => root.querySelector(`[data-wm=${name}]`);
      this.listen();
      this.reset();
      const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
      this.run(!still);
    }

    // --- One step -----------------------------------------------------------------------------------------------------

    reset() {
      this.obs = this.world.reset();
      this.closedFor = 0;
      this.eyes(true);
      this.state = this.agent.infer(this.agent.initial(), new Float64Array(this.size), true, this.obs);
      this.lines = [];
      this.waiting = 0;
      this.remember();
    }

    // Another agent takes over, with the same world.
    meet(agent) {
      this.agent = agent;
      this.reset();
    }

    // What is done next: what is held down, or what the agent chooses from what it sees or dreams.
    choose() {
      if (this.held !== null) return this.held;
      const chosen = this.agent.act(this.state, true);
      return chosen.indexOf(Math.max(...chosen));
    }

    step() {
      if (this.waiting > 0) return --this.waiting || this.reset();
      const index = this.choose(), action = new Float64Array(this.size);
      action[index] = 1;
      this.last = index;
      const { obs, over } = this.world.step(index);
      this.obs = obs;
      this.state = this.open ? this.agent.infer(this.state, action, false, obs) : this.agent.imagine(this.state, action);
      this.closedFor = this.open ? 0 : this.closedFor + 1;
      if (over) this.waiting = Math.ceil(1.6 * this.World.fps);
      this.remember();
    }

    eyes(open) {
      this.open = open;
      const button = this.find("eyes");
      button.setAttribute("aria-pressed", String(!open));
      button.textContent = open ? "Close its eyes" : "Open its eyes";
    }

    // --- What is seen ---------------------------------------------------------------------------------------------------

    remember() {
      this.dreamed = this.agent.decode(this.state);
      this.lines.push([...this.compared(), this.open]);
      if (this.lines.length > this.World.history) this.lines.shift();
      this.show();
    }

    show() {
      const dark = document.documentElement.dataset.theme === "dark";
      this.canvas("real", this.obs, dark ? "dusk" : "day");
      this.canvas("dream", this.dreamed, "night");
      this.drawLines();
      this.find("said").textContent = this.words();
    }

    canvas(name, obs, hour) {
      const canvas = this.find(name), ratio = window.devicePixelRatio || 1, width = canvas.clientWidth || 300;
      const height = Math.round((width * this.shape[1]) / this.shape[0]);
      if (canvas.width !== Math.round(width * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
      const paint = canvas.getContext("2d");
      paint.setTransform(canvas.width / width, 0, 0, canvas.width / width, 0, 0);
      this.draw(paint, width, height, obs, hour);
    }

    // Two numbers in the line below: reality and dream. Of a vector the third entry, the angle, in degrees; of a
    // picture the root of the mean squared error, with zero beside it.
    compared() {
      const { dreamed } = this;
      if (this.agent.spaces.obs_kind === "vector") return [this.obs[2], dreamed[2]].map((a) => (180 * a) / Math.PI);
      const square = dreamed.reduce((sum, v, i) => sum + (v - this.obs[i] / 255) ** 2, 0);
      return [0, Math.sqrt(square / dreamed.length)];
    }

    drawLines() {
      const canvas = this.find("lines"), ratio = window.devicePixelRatio || 1, width = canvas.clientWidth || 600;
      const height = canvas.clientHeight || 90, vector = this.agent.spaces.obs_kind === "vector";
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      const paint = canvas.getContext("2d"), css = getComputedStyle(this.root), { history } = this.World;
      paint.scale(ratio, ratio);
      const [low, high] = vector ? [-15, 15] : [-0.02, 0.25], across = (i) => Math.round((i / (history - 1)) * width);
      const up = (v) => height - ((Math.min(Math.max(v, low), high) - low) / (high - low)) * height;
      paint.fillStyle = css.getPropertyValue("--shade");
      this.lines.forEach(([, , open], i) => open || paint.fillRect(across(i), 0, across(i + 1) - across(i), height));
      paint.fillStyle = css.getPropertyValue("--soft");
      paint.font = `12px ${css.fontFamily}`;
      paint.fillText(vector ? "the pole's angle, -15° to 15°" : "error of the dreamed picture", 8, 16);
      for (const [side, color] of [[0, "--real"], [1, "--dream"]]) {
        paint.strokeStyle = css.getPropertyValue(color);
        paint.lineWidth = 2;
        paint.setLineDash(side ? [5, 3] : []);
        paint.beginPath();
        this.lines.forEach((row, i) => paint[i ? "lineTo" : "moveTo"](across(i), up(row[side])));
        paint.stroke();
      }
    }

    words() {
      const ended = this.world.ended(), [real, dream] = this.lines.at(-1);
      const who = this.held === null ? "the agent acts" : "you act";
      const eyes = this.open ? "eyes open" : `eyes closed for ${this.closedFor} steps`;
      const apart = this.agent.spaces.obs_kind === "vector"
        ? `the dreamed angle is ${Math.abs(dream - real).toFixed(1)}° off`
        : `an error of ${dream.toFixed(3)} a pixel`;
      return ended ? `In reality: ${ended}.` : `${who}; ${eyes}; ${apart}`;
    }

    // --- Keys, fingers, time ----------------------------------------------------------------------------------------------

    listen() {
      const stage = this.find("stage");
      stage.addEventListener("keydown", (event) => {
        if (event.key in this.actions) (this.hold(this.actions[event.key], "key"), event.preventDefault());
      });
      stage.addEventListener("keyup", (event) => event.key in this.actions && this.hold(null));
      stage.addEventListener("blur", () => this.by === "key" && this.hold(null)); // and not what a finger has begun
      for (const button of this.root.querySelectorAll("[data-action]")) {
        const action = this.actions[button.dataset.action];
        if (action === undefined) button.remove();
        button.addEventListener("pointerdown", (event) => {
          button.setPointerCapture(event.pointerId);
          this.hold(action);
        });
        for (const end of ["pointerup", "pointercancel"]) button.addEventListener(end, () => this.hold(null));
        button.addEventListener("keydown", (event) => [" ", "Enter"].includes(event.key) && this.hold(action));
        button.addEventListener("keyup", () => this.hold(null));
      }
      this.find("eyes").addEventListener("click", () => this.eyes(!this.open));
      this.find("again").addEventListener("click", () => this.reset());
      this.find("pause").addEventListener("click", () => this.run(!this.running));
      new ResizeObserver(() => this.show()).observe(this.find("stage"));
      document.addEventListener("visibilitychange", () => document.hidden && this.run(false));
    }

    hold(action, by = "button") {
      Object.assign(this, { held: action, by });
      if (action !== null && !this.running) this.run(true);
    }

    run(on) {
      this.running = on;
      clearInterval(this.clock);
      if (on) this.clock = setInterval(() => this.step(), 1000 / this.World.fps);
      this.find("pause").textContent = on ? "Pause" : "Go on";
    }
  }

  return Player;
})();
