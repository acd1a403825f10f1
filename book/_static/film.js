/* Films that can be stopped and moved through, and that are as dark as their page. In a notebook a film is an animated GIF,
   or an SVG whose parts move; where scripts are off it stays one. Whoever asks for less motion finds it stopped, at its end. */
(() => {
  // Colours of figures and drawings on a light page and on a dark one, as figures/style.py and figures/svg.py have them;
  // those of a drawing at night are the same on both.
  const PARTNERS = {
    "#0072B2": "#559EFF", "#D55E00": "#F55100", "#009E73": "#66ECD1", "#E69F00": "#F6B53E", "#CC79A7": "#BA739A",
    "#1F2A37": "#E6EAF0", "#667080": "#A3ADBA", "#D5D9DE": "#3A424D", "#FDFCFA": "#121212", "#E8EDF2": "#222B36",
    "#EFF4F8": "#17212C", "#FBF1E8": "#2A2018", "#A9B4C0": "#5F6B79",
  };
  const PAGE = [18, 18, 18];
  const SEEN = 3; // contrast of a line with what is behind it: WCAG 2.2, 1.4.11
  const SMALLEST = 50; // pixels of a side of what counts as a picture in a film
  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const mixed = (a, b, share) => a.map((x, i) => x + share * (b[i] - x));
  const far = (a, b) => Math.hypot(...a.map((x, i) => x - b[i]));
  const bright = (color) => {
    const [r, g, b] = color.map((x) => (x <= 10 ? x / 3295 : ((x / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };

  /* What a colour becomes on a dark page. Letters and lines have soft edges, so most colours are a mixture of two that
     the figures know; `paper` is the one behind everything. A colour that is not is made bright enough to be seen. */
  function darkened(color, paper) {
    const known = [[paper, PAGE], ...Object.entries(PARTNERS).map((pair) => pair.map(rgb))];
    let best = { error: Infinity, turned: color };
    known.forEach(([a, dark], i) => {
      for (const [b, other] of known.slice(i + 1)) {
        const length = far(a, b) ** 2;
        const along = a.reduce((sum, x, j) => sum + (color[j] - x) * (b[j] - x), 0) / length;
        const share = length ? Math.min(1, Math.max(0, along)) : 0;
        const error = far(color, mixed(a, b, share)) + (i && share > 0 && share < 1 ? 4 : 0); // most edges are on paper
        if (error < best.error) best = { error, turned: mixed(dark, other, share) };
      }
    });
    if (best.error < 24) return best.turned;
    for (let share = 0; share < 1; share += 0.02) {
      const lighter = mixed(color, [255, 255, 255], share);
      if (bright(lighter) / bright(PAGE) >= SEEN) return lighter;
    }
    return color;
  }

  // --- An animated GIF -------------------------------------------------------------------------------------------------

  /* The numbers that LZW has packed. */
  function unpacked(data, least, pixels) {
    const clear = 1 << least, prefix = new Uint16Array(4096), suffix = new Uint8Array(4096);
    const stack = new Uint8Array(4097), out = new Uint8Array(pixels);
    for (let i = 0; i < clear; i++) suffix[i] = i;
    let size = least + 1, next = clear + 2, old = -1, first = 0, held = 0, bits = 0, at = 0, read = 0;
    while (at < pixels) {
      while (bits < size) {
        if (read === data.length) throw new Error("The film ends in the middle of a picture.");
        held |= data[read++] << bits;
        bits += 8;
      }
      const code = held & ((1 << size) - 1);
      held >>>= size;
      bits -= size;
      if (code === clear) { size = least + 1; next = clear + 2; old = -1; continue; }
      if (code === clear + 1) break;
      let walk = code, top = 0;
      if (old >= 0 && code >= next) { stack[top++] = first; walk = old; }
      while (walk >= clear) { stack[top++] = suffix[walk]; walk = prefix[walk]; }
      stack[top++] = first = suffix[walk];
      while (top && at < pixels) out[at++] = stack[--top];
      if (old >= 0 && next < 4096) {
        prefix[next] = old;
        suffix[next++] = first;
        if (next === 1 << size && size < 12) size++;
      }
      old = code;
    }
    return out;
  }

  /* The pictures of a film: size, colours, and for each picture its pixels (numbers of colours) and when it ends (ms). */
  function decoded(bytes) {
    let at = 6;
    const word = () => bytes[at++] | (bytes[at++] << 8);
    const blocks = () => {
      const pieces = [];
      for (let length = bytes[at++]; length; length = bytes[at++]) { pieces.push(bytes.subarray(at, at + length)); at += length; }
      const joined = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
      pieces.reduce((place, piece) => (joined.set(piece, place), place + piece.length), 0);
      return joined;
    };
    const colors = [], numbers = new Map();
    const table = (flags) => {
      if (!(flags & 128)) return null;
      return Array.from({ length: 2 << (flags & 7) }, () => {
        const color = [bytes[at++], bytes[at++], bytes[at++]], key = color.join();
        if (!numbers.has(key)) { numbers.set(key, colors.length); colors.push(color); }
        return numbers.get(key);
      });
    };
    const width = word(), height = word(), flags = bytes[at++];
    at += 2;
    const shared = table(flags), pictures = [];
    let shown = new Uint16Array(width * height), delay = 100, clear = -1, end = 0;
    for (let kind = bytes[at++]; kind !== 0x3b && at < bytes.length; kind = bytes[at++]) {
      if (kind === 0x21) {
        const label = bytes[at++], told = blocks();
        if (label === 0xf9) { delay = 10 * (told[1] | (told[2] << 8)) || 100; clear = told[0] & 1 ? told[3] : -1; }
        continue;
      }
      const left = word(), top = word(), wide = word(), high = word(), how = bytes[at++];
      const own = table(how) ?? shared, least = bytes[at++], packed = unpacked(blocks(), least, wide * high);
      const order = [];
      for (const [start, step] of how & 64 ? [[0, 8], [4, 8], [2, 4], [1, 2]] : [[0, 1]])
        for (let row = start; row < high; row += step) order.push(row);
      shown = shown.slice();
      order.forEach((row, i) => {
        for (let x = 0, to = (top + row) * width + left; x < wide; x++, to++) {
          const color = packed[i * wide + x];
          if (color !== clear) shown[to] = own[color];
        }
      });
      pictures.push({ pixels: shown, ends: (end += delay) });
    }
    if (!pictures.length) throw new Error("There is no picture in the film.");
    return { width, height, colors, pictures };
  }

  /* Rectangles that are filled to their edges, as [left, top, right, bottom]: where a film shows pictures. */
  function filled(pixels, width, paper) {
    const seen = new Uint8Array(pixels.length), found = [], waiting = [];
    for (let begin = 0; begin < pixels.length; begin++) {
      if (seen[begin] || pixels[begin] === paper) continue;
      let [left, top, right, bottom, count] = [width, Infinity, 0, 0, 0];
      seen[begin] = waiting.push(begin) && 1;
      while (waiting.length) {
        const at = waiting.pop(), x = at % width, y = (at - x) / width;
        count++;
        [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
        for (const [to, inside] of [[at - 1, x > 0], [at + 1, x < width - 1], [at - width, true], [at + width, true]])
          if (inside && to >= 0 && to < pixels.length && !seen[to] && pixels[to] !== paper) seen[to] = waiting.push(to) && 1;
      }
      const [wide, high] = [right - left + 1, bottom - top + 1];
      if (Math.min(wide, high) >= SMALLEST && count > 0.95 * wide * high) found.push([left, top, right, bottom]);
    }
    return found;
  }

  /* A GIF on a canvas: how long it lasts, what is said of a moment, how it is shown, how it is made as dark as the page. */
  function ofPictures(bytes) {
    const { width, height, colors, pictures } = decoded(bytes);
    const corner = pictures[0].pixels[0], paper = colors[corner], frames = filled(pictures[0].pixels, width, corner);
    const packed = (color) => new Uint32Array(new Uint8Array([...color.map(Math.round), 255]).buffer)[0];
    const light = colors.map(packed), dark = colors.map((color) => packed(darkened(color, paper)));
    const element = document.createElement("canvas");
    Object.assign(element, { width, height });
    const context = element.getContext("2d"), image = context.createImageData(width, height);
    const target = new Uint32Array(image.data.buffer);
    const which = (time) => Math.max(0, pictures.findIndex((picture) => time < picture.ends));
    const byDay = colors.map((color) => Object.keys(PARTNERS).slice(5).some((known) => far(color, rgb(known)) < 8));
    /* What a picture in the film shows has its own colours, unless it is drawn by day: then evening falls. */
    const keep = (pixels, [left, top, right, bottom]) => {
      const often = new Uint32Array(colors.length);
      const each = (call) => {
        for (let y = top; y <= bottom; y++) for (let at = y * width + left; at <= y * width + right; at++) call(at);
      };
      each((at) => often[pixels[at]]++);
      if (!byDay[often.indexOf(Math.max(...often))]) each((at) => { target[at] = light[pixels[at]]; });
    };
    let now = -1, mode = null;
    const show = (time, isDark) => {
      const number = which(time);
      if (number === now && isDark === mode) return;
      [now, mode] = [number, isDark];
      const palette = isDark ? dark : light, { pixels } = pictures[number];
      for (let i = 0; i < pixels.length; i++) target[i] = palette[pixels[i]];
      if (isDark) for (const frame of frames) keep(pixels, frame);
      context.putImageData(image, 0, 0);
    };
    const starts = pictures.map((_, i) => (i ? pictures[i - 1].ends : 0));
    return {
      element, show, starts, lasts: pictures.at(-1).ends,
      told: (time) => `${which(time) + 1} of ${pictures.length}`,
      name: (time) => `picture ${which(time) + 1} of ${pictures.length}`,
    };
  }

  // --- An SVG whose parts move -----------------------------------------------------------------------------------------

  const BY_SYSTEM = /@media\(prefers-color-scheme:dark\)\{((?:[^{}]*\{[^{}]*\})*)\}/;
  const BY_MOTION = /@media\(prefers-reduced-motion:reduce\)\{(?:[^{}]*\{[^{}]*\})*\}/;

  /* The same for an SVG: it stands in a tree of its own, so that its names and styles meet no others. */
  function ofParts(text) {
    const element = document.createElement("div"), tree = element.attachShadow({ mode: "open" });
    const svg = document.importNode(new DOMParser().parseFromString(text, "image/svg+xml").documentElement, true);
    const sheet = svg.querySelector("style"), night = document.createElement("style");
    if (!sheet?.textContent.includes("@keyframes")) throw new Error("Nothing moves in this picture.");
    night.textContent = sheet.textContent.match(BY_SYSTEM)?.[1] ?? "";
    sheet.textContent = sheet.textContent.replace(BY_SYSTEM, "").replace(BY_MOTION, "");
    svg.setAttribute("style", "display: block; height: auto; width: 100%");
    tree.append(svg, night);
    let moves = [];
    const lasts = () => Number(moves[0]?.effect.getComputedTiming().duration ?? 0);
    const seconds = (time) => `${(Math.max(time, 0) / 1000).toFixed(1)} s of ${(lasts() / 1000).toFixed(1)} s`;
    return {
      element,
      begin() {
        moves = tree.getAnimations();
        for (const move of moves) move.pause();
      },
      show(time, isDark) {
        night.media = isDark ? "all" : "not all";
        for (const move of moves) move.currentTime = Math.min(time, lasts() - 1);
      },
      get lasts() { return lasts(); },
      told: seconds,
      name: seconds,
    };
  }

  // --- The player ------------------------------------------------------------------------------------------------------

  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const isDark = () => document.documentElement.dataset.theme === "dark";
  const bytesOf = async (image) => new Uint8Array(await (await fetch(image.src)).arrayBuffer());

  /* Put a player in the place of an image. */
  async function replace(image) {
    const bytes = await bytesOf(image);
    const isGif = bytes[0] === 0x47;
    const film = isGif ? ofPictures(bytes) : ofParts(new TextDecoder().decode(bytes));
    const player = document.createElement("div");
    player.className = "film";
    player.innerHTML =
      '<div class="film-bar"><button type="button"></button><input type="range" min="0" value="0"><output></output></div>';
    const [button, range, output] = player.querySelectorAll("button, input, output");
    film.element.setAttribute("role", "img");
    film.element.setAttribute("aria-label", image.alt);
    film.element.className = "film-picture";
    player.prepend(film.element);
    image.replaceWith(player);
    film.begin?.();
    const lasts = film.lasts, starts = film.starts;
    Object.assign(range, starts ? { max: starts.length - 1, step: 1 } : { max: lasts, step: 20 });
    range.setAttribute("aria-label", "Moment of the film");
    // Time at a place of the range, and back: a GIF is moved through picture by picture.
    const timeAt = (place) => (starts ? starts[place] : place);
    const placeOf = (time) => (starts ? starts.findLastIndex((start) => start <= time) : time);
    let time = still.matches ? lasts - 1 : 0, plays = false, inView = true, last = 0, asked = 0;
    const show = () => {
      film.show(time, isDark());
      range.value = placeOf(time);
      range.setAttribute("aria-valuetext", film.name(time));
      output.textContent = film.told(time);
    };
    const tick = (now) => {
      time = (time + Math.min(now - last, 200)) % lasts; // a page that slept goes on where it stopped
      last = now;
      show();
      asked = plays && inView ? requestAnimationFrame(tick) : 0;
    };
    const go = () => {
      if (asked || !plays || !inView) return;
      last = performance.now();
      asked = requestAnimationFrame(tick);
    };
    const run = (on) => {
      plays = on;
      button.textContent = on ? "Pause" : "Play";
      player.classList.toggle("plays", on);
      go();
    };
    button.addEventListener("click", () => run(!plays));
    range.addEventListener("input", () => { run(false); time = timeAt(Number(range.value)); show(); });
    still.addEventListener("change", () => still.matches && run(false));
    new MutationObserver(show).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    new IntersectionObserver(([entry]) => { inView = entry.isIntersecting; go(); }).observe(player);
    addEventListener("beforeprint", () => { run(false); time = lasts - 1; show(); });
    show();
    run(!still.matches);
  }

  /* Films are unpacked as they come near, and all of them before a page is printed. One that cannot be stays an image. */
  document.addEventListener("DOMContentLoaded", () => {
    const moves = ({ src, alt }) => /^data:image\/gif|\.gif$/.test(src) || (/^data:image\/svg/.test(src) && /^Film/.test(alt));
    const waiting = new Set([...document.querySelectorAll("article img")].filter(moves));
    const play = (image) => waiting.delete(image) && replace(image).catch(() => image.classList.add("not-played"));
    const near = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) play(target);
    }, { rootMargin: "400px" });
    for (const image of waiting) near.observe(image);
    window.wmFilms = () => Promise.all([...waiting].map(play)); // tools/book_pdf.py
  });
})();
