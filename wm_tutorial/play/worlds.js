// The worlds that can be played, as Gymnasium and wm_tutorial/worlds have them, and how they are drawn.
//
// A world:  reset() -> obs,  step(index) -> {obs, reward, over};  keys and their actions, steps a second, steps of the
//           line below that are seen at once
// A scene:  draw(context, width, height, obs, hour) paints what an observation shows: in reality it is day,
//           or dusk where the page is dark, and in the dream night
"use strict";

const Worlds = (() => {
  // --- CartPole-v1 (gymnasium/envs/classic_control/cartpole.py, Euler steps of 0.02 s) --------------------------------

  const TRACK = 2.4, LEAN = (12 * Math.PI) / 180;

  class CartPole {
    static actions = { ArrowLeft: 0, ArrowRight: 1 };
    static fps = 25; // half as fast as it would be
    static history = 200;

    constructor(random = Math.random) {
      this.random = random;
    }

    reset() {
      this.steps = 0;
      this.state = Array.from({ length: 4 }, () => 0.1 * this.random() - 0.05);
      return this.state;
    }

    step(action) {
      const [x, speed, angle, turning] = this.state, cos = Math.cos(angle), sin = Math.sin(angle);
      const pushed = ((action === 1 ? 10 : -10) + 0.05 * turning ** 2 * sin) / 1.1;
      const falls = (9.8 * sin - cos * pushed) / (0.5 * (4 / 3 - (0.1 * cos ** 2) / 1.1));
      const faster = pushed - (0.05 * falls * cos) / 1.1;
      this.state = [x + 0.02 * speed, speed + 0.02 * faster, angle + 0.02 * turning, turning + 0.02 * falls];
      this.steps++;
      return { obs: this.state, reward: 1, over: this.ended() !== "" };
    }

    ended() {
      const [x, , angle] = this.state;
      if (Math.abs(angle) > LEAN) return `after ${this.steps} steps the pole leans too far`;
      if (Math.abs(x) > TRACK) return `after ${this.steps} steps the cart has left its rail`;
      return this.steps >= 500 ? "500 steps, and the pole stands" : "";
    }
  }

  const HOURS = {
    day: { sky: "#f7fafc", ground: "#dfe6ec", rail: "#8a93a0", cart: "#0072b2", wheel: "#33404d", pole: "#d55e00" },
    dusk: { sky: "#40535f", ground: "#2c3b45", rail: "#9fb0bb", cart: "#6cb8e6", wheel: "#dbe4ea", pole: "#f2a65a" },
    night: { sky: "#141c33", ground: "#0c1226", rail: "#5b6788", cart: "#6cb8e6", wheel: "#aab4cf", pole: "#f2a65a" },
  };

  function drawCartPole(paint, width, height, [x, , angle], hour) {
    const look = HOURS[hour], scale = width / 5.6, ground = 0.8 * height, middle = width / 2 + x * scale;
    paint.fillStyle = look.sky;
    paint.fillRect(0, 0, width, height);
    if (hour === "night") drawStars(paint, width, ground);
    paint.fillStyle = look.ground;
    paint.fillRect(0, ground, width, height - ground);
    paint.fillStyle = look.rail;
    paint.fillRect(width / 2 - TRACK * scale, ground - 2, 2 * TRACK * scale, 3);
    for (const side of [-1, 1]) paint.fillRect(width / 2 + side * TRACK * scale - 2, ground - 12, 4, 22);
    const wide = 0.62 * scale, high = 0.3 * scale, top = ground - high - 0.12 * scale;
    paint.fillStyle = look.cart;
    rounded(paint, middle - wide / 2, top, wide, high, 0.06 * scale);
    paint.fillStyle = look.wheel;
    for (const side of [-1, 1]) disk(paint, middle + side * 0.19 * scale, ground - 0.08 * scale, 0.09 * scale);
    paint.save();
    paint.translate(middle, top + 0.06 * scale);
    paint.rotate(angle);
    paint.fillStyle = look.pole;
    rounded(paint, -0.045 * scale, -1.15 * scale, 0.09 * scale, 1.18 * scale, 0.045 * scale);
    paint.restore();
    paint.fillStyle = look.wheel;
    disk(paint, middle, top + 0.06 * scale, 0.05 * scale);
  }

  function drawStars(paint, width, ground) {
    paint.fillStyle = "#cdd6f4";
    for (let i = 1; i <= 28; i++) { // always the same sky
      const across = (i * 0.6180339887) % 1, up = (i * 0.7548776662) % 1;
      paint.globalAlpha = 0.25 + 0.6 * ((i * 0.5698402909) % 1);
      disk(paint, across * width, up * ground * 0.85, 0.6 + 0.9 * ((i * 0.32) % 1));
    }
    paint.globalAlpha = 1;
  }

  function rounded(paint, x, y, width, height, radius) {
    paint.beginPath();
    paint.roundRect(x, y, width, height, radius);
    paint.fill();
  }

  function disk(paint, x, y, radius) {
    paint.beginPath();
    paint.arc(x, y, radius, 0, 2 * Math.PI);
    paint.fill();
  }

  // --- CatchInTheDark-v0 (wm_tutorial/worlds/pixels.py) ---------------------------------------------------------------

  const ROWS = 8, COLUMNS = 7, SIZE = 16, LIT = [0, 1, ROWS - 1];
  const WALL = [110, 110, 110], LIGHT = [45, 45, 45], BALL = [230, 159, 0], PADDLE = [25, 96, 255], CAUGHT = [255, 255, 255];

  class CatchInTheDark {
    static actions = { ArrowLeft: 0, ArrowDown: 1, ArrowRight: 2 };
    static fps = 2.5;
    static history = 80;

    constructor(random = Math.random) {
      this.random = random;
    }

    reset() {
      this.steps = 0;
      this.caught = 0;
      this.paddle = 3;
      this.newBall();
      return this.picture();
    }

    newBall() {
      this.row = 0;
      this.column = Math.floor(COLUMNS * this.random());
      this.velocity = Math.floor(3 * this.random()) - 1;
    }

    step(action) {
      this.paddle = Math.min(Math.max(this.paddle + action - 1, 0), COLUMNS - 1);
      let reward = 0;
      if (this.row === ROWS - 1) this.newBall();
      else {
        this.row++;
        if (this.column + this.velocity < 0 || this.column + this.velocity >= COLUMNS) this.velocity = -this.velocity;
        this.column += this.velocity;
        reward = this.row === ROWS - 1 && this.column === this.paddle ? 1 : 0;
      }
      this.steps++;
      this.caught += reward;
      return { obs: this.picture(), reward, over: this.steps >= 80 };
    }

    ended() {
      return this.steps >= 80 ? `${this.caught} of 10 balls caught` : "";
    }

    picture() {
      const data = new Uint8Array(SIZE * SIZE * 3);
      const put = (r, c, colour) => data.set(colour, 3 * (r * SIZE + c));
      for (let r = 0; r < SIZE; r++) {
        for (let c = 1; c < SIZE - 1; c++) if (LIT.includes(r >> 1)) put(r, c, LIGHT);
        for (const c of [0, SIZE - 1]) put(r, c, WALL);
      }
      const fill = (row, column, colour) => {
        for (let i = 0; i < 4; i++) put(2 * row + (i >> 1), 1 + 2 * column + (i & 1), colour);
      };
      fill(ROWS - 1, this.paddle, PADDLE);
      if (LIT.includes(this.row))
        fill(this.row, this.column, this.row === ROWS - 1 && this.column === this.paddle ? CAUGHT : BALL);
      return data;
    }
  }

  // An image of SIZE x SIZE x 3 numbers, bytes if it is real and 0..1 if it is dreamed.
  function drawPicture(paint, width, height, obs, hour) {
    const cell = Math.min(width, height) / SIZE, left = (width - SIZE * cell) / 2, scale = obs instanceof Uint8Array ? 1 : 255;
    paint.fillStyle = hour === "night" ? HOURS.night.ground : "#000";
    paint.fillRect(0, 0, width, height);
    for (let i = 0; i < SIZE * SIZE; i++) {
      const [r, g, b] = [0, 1, 2].map((k) => Math.round(scale * obs[3 * i + k]));
      paint.fillStyle = `rgb(${r} ${g} ${b})`;
      paint.fillRect(Math.floor(left + (i % SIZE) * cell), Math.floor(Math.floor(i / SIZE) * cell), Math.ceil(cell), Math.ceil(cell));
    }
  }

  return {
    "CartPole-v1": { World: CartPole, draw: drawCartPole, shape: [5.6, 2.7] },
    "wm_tutorial/CatchInTheDark-v0": { World: CatchInTheDark, draw: drawPicture, shape: [1, 1] },
  };
})();

if (typeof module !== "undefined") module.exports = Worlds;
