// An agent in the browser: what wm_tutorial/*.py computes, for one state at a time and without gradients.
//
//   const agent = WorldModel.load(arrayBuffer)         a file that `wm-tutorial export` or Agent.save wrote
//   let state = agent.initial()                        {memory, latent}: Float64Array each
//   state = agent.infer(state, action, first, obs)     with eyes open: q(z_t | h_t, o_t)
//   state = agent.imagine(state, action)               with eyes closed: p(z_t | h_t)
//   agent.decode(state)  agent.reward(state)  agent.continues(state)  agent.act(state, greedy)
//
// Actions are what the network sees: one-hot, or numbers in -1..1. Where something is sampled, `agent.uniform` and
// `agent.normal` are asked for random numbers, in the order of PyTorch; a test hands over PyTorch's own.
//
// Each function stands under the name it has in the package: networks.py, encoder.py, dynamics.py, latents.py, heads.py.
"use strict";

const WorldModel = (() => {
  // --- Files (safetensors: 8 bytes of length, a header in JSON, then all numbers) -----------------------------------

  function half(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 0x1f, fraction = bits & 0x3ff;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }

  function parse(buffer) {
    const view = new DataView(buffer), length = Number(view.getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    const told = JSON.parse(header.__metadata__.wm_tutorial), tensors = {};
    delete header.__metadata__;
    for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(header)) {
      const size = { F32: 4, F16: 2 }[dtype];
      if (!size) throw new Error(`${name} is of type ${dtype}; an agent has F32 or F16.`);
      const numbers = new Float64Array((end - begin) / size);
      for (let i = 0, at = 8 + length + begin; i < numbers.length; i++, at += size)
        numbers[i] = size === 4 ? view.getFloat32(at, true) : half(view.getUint16(at, true));
      tensors[name] = Object.assign(numbers, { shape });
    }
    return { told, tensors };
  }

  // --- Numbers --------------------------------------------------------------------------------------------------------

  const map = (x, f) => Float64Array.from(x, f);
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const silu = (x) => map(x, (v) => v * sigmoid(v));
  const symlog = (x) => Math.sign(x) * Math.log1p(Math.abs(x));
  const symexp = (x) => Math.sign(x) * Math.expm1(Math.abs(x));

  function joined(...parts) {
    const all = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) (all.set(part, at), (at += part.length));
    return all;
  }

  // weight (outputs, inputs), bias (outputs), x (inputs) -> (outputs)
  function affine(weight, bias, x) {
    const y = Float64Array.from(bias);
    for (let i = 0, at = 0; i < y.length; i++) for (let j = 0; j < x.length; j++) y[i] += weight[at++] * x[j];
    return y;
  }

  function softmax(logits) {
    const most = Math.max(...logits), shares = map(logits, (v) => Math.exp(v - most));
    const sum = shares.reduce((a, b) => a + b, 0);
    return map(shares, (v) => v / sum);
  }

  // One class as a one-hot vector: the most likely, or the one in whose share a uniform number falls.
  function oneHot(probabilities, uniform) {
    let index = 0;
    if (uniform === null) index = probabilities.indexOf(Math.max(...probabilities));
    else for (let upper = probabilities[0]; upper <= uniform && index < probabilities.length - 1; )
      upper += probabilities[++index];
    const hot = new Float64Array(probabilities.length);
    hot[index] = 1;
    return hot;
  }

  // An action as the environment executes it: a continuous sample may lie outside of -1..1.
  const executed = (action) => map(action, (a) => a / Math.max(1, Math.abs(a)));
  const unimixed = (logits, unimix) => map(softmax(logits), (share) => (1 - unimix) * share + unimix / logits.length);

  // The bins of symexp two-hot, from the middle upwards: 0 and then each positive one.
  function upperBins(count) {
    const half = (count - 1) / 2;
    return Float64Array.from({ length: half + 1 }, (_, i) => Math.expm1((20 * i) / half));
  }

  // --- The agent ------------------------------------------------------------------------------------------------------

  class Agent {
    constructor({ told, tensors }) {
      Object.assign(this, { spaces: told.spaces, config: told.config, told, tensors });
      this.uniform = Math.random;
      this.normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    }

    has(name) {
      return name in this.tensors;
    }

    // networks.py: layers

    linear(name, x) {
      return affine(this.tensors[`${name}.weight`], this.tensors[`${name}.bias`], x);
    }

    norm(name, x) {
      const weight = this.tensors[`${name}.weight`], bias = this.tensors[`${name}.bias`];
      const mean = bias ? x.reduce((a, b) => a + b, 0) / x.length : 0; // RMS norm has no bias, and takes off no mean
      const square = x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / x.length;
      const size = Math.sqrt(square + (bias ? 1e-5 : 1e-4));
      return map(x, (v, i) => ((v - mean) / size) * weight[i] + (bias ? bias[i] : 0));
    }

    block(name, x) {
      return silu(this.norm(`${name}.1`, this.linear(`${name}.0`, x)));
    }

    mlp(name, x) {
      let layer = 0;
      while (this.has(`${name}.${layer}.0.weight`)) x = this.block(`${name}.${layer++}`, x);
      return this.linear(`${name}.${layer}`, x);
    }

    // Each block of x (blocks, inputs) has a matrix of its own: -> (blocks, outputs), flat.
    blockLinear(name, x) {
      const weight = this.tensors[`${name}.weight`], y = Float64Array.from(this.tensors[`${name}.bias`]);
      const [blocks, inputs, outputs] = weight.shape;
      for (let b = 0; b < blocks; b++)
        for (let i = 0; i < inputs; i++) {
          const from = x[b * inputs + i], row = (b * inputs + i) * outputs;
          for (let o = 0; o < outputs; o++) y[b * outputs + o] += from * weight[row + o];
        }
      return y;
    }

    // Images are {channels, height, width, data}, channel by channel.
    conv(name, image) {
      const weight = this.tensors[`${name}.weight`], bias = this.tensors[`${name}.bias`];
      const [outputs, inputs, kernel] = weight.shape, edge = kernel >> 1, { height, width, data } = image;
      const y = new Float64Array(outputs * height * width);
      for (let o = 0; o < outputs; o++)
        for (let r = 0; r < height; r++)
          for (let c = 0; c < width; c++) {
            let sum = bias[o];
            for (let i = 0; i < inputs; i++)
              for (let u = Math.max(0, edge - r); u < Math.min(kernel, height + edge - r); u++)
                for (let v = Math.max(0, edge - c); v < Math.min(kernel, width + edge - c); v++)
                  sum += weight[((o * inputs + i) * kernel + u) * kernel + v] *
                    data[(i * height + r + u - edge) * width + c + v - edge];
            y[(o * height + r) * width + c] = sum;
          }
      return { channels: outputs, height, width, data: y };
    }

    channelNorm(name, image) {
      const { channels, height, width, data } = image, size = height * width, y = new Float64Array(data.length);
      for (let place = 0; place < size; place++) {
        const pixel = this.norm(`${name}.norm`, Float64Array.from({ length: channels }, (_, i) => data[i * size + place]));
        for (let i = 0; i < channels; i++) y[i * size + place] = pixel[i];
      }
      return { ...image, data: silu(y) };
    }

    // encoder.py

    encode(obs) {
      const name = "world_model.encoder.net", { obs_kind: kind, obs_shape: shape } = this.spaces;
      if (kind === "image") return this.encodeImage(`${name}`, obs, shape);
      let x = kind === "vector" ? map(obs, symlog) : Float64Array.from(obs);
      for (let layer = 0; this.has(`${name}.${layer}.0.weight`); layer++) x = this.block(`${name}.${layer}`, x);
      return x;
    }

    encodeImage(name, obs, [height, width, channels]) {
      const data = new Float64Array(obs.length), size = height * width;
      for (let i = 0; i < obs.length; i++) data[(i % channels) * size + Math.floor(i / channels)] = obs[i] / 255 - 0.5;
      let image = { channels, height, width, data };
      for (let at = 0; this.has(`${name}.${at}.weight`); at += 4)
        image = this.channelNorm(`${name}.${at + 2}`, pooled(this.conv(`${name}.${at}`, image)));
      return image.data;
    }

    // latents.py

    latent(raw, greedy) {
      const { latent, latent_classes: classes, unimix } = this.config, size = raw.length;
      if (latent === "gaussian") {
        const mean = raw.subarray(0, size / 2), spread = raw.subarray(size / 2);
        return map(mean, (m, i) => (greedy ? m : m + Math.exp((-10 + 12 * sigmoid(spread[i])) / 2) * this.normal()));
      }
      const parts = [];
      for (let at = 0; at < size; at += classes)
        parts.push(oneHot(unimixed(raw.subarray(at, at + classes), unimix), greedy ? null : this.uniform()));
      return joined(...parts);
    }

    // dynamics.py

    initial() {
      const { memory, memory_size: size, latent, latent_size: variables, latent_classes: classes } = this.config;
      return {
        memory: new Float64Array(memory === "rssm" ? size : 0),
        latent: new Float64Array(variables * (latent === "categorical" ? classes : 1)),
      };
    }

    remember({ memory, latent }, action) {
      const core = "world_model.dynamics.core", taken = executed(action);
      return this.has(`${core}.cell.weight_ih`) ? this.gru(core, memory, latent, taken) : this.blockGru(core, memory, latent, taken);
    }

    gru(core, memory, latent, action) {
      const mixed = silu(this.norm(`${core}.mix_norm`, this.linear(`${core}.mix`, joined(latent, action))));
      const size = memory.length, { tensors } = this;
      const side = (kind, x) => affine(tensors[`${core}.cell.weight_${kind}`], tensors[`${core}.cell.bias_${kind}`], x);
      const input = side("ih", mixed), hidden = side("hh", memory);
      return map(memory, (old, i) => {
        const reset = sigmoid(input[i] + hidden[i]), keep = sigmoid(input[size + i] + hidden[size + i]);
        const candidate = Math.tanh(input[2 * size + i] + reset * hidden[2 * size + i]);
        return (1 - keep) * candidate + keep * old;
      });
    }

    blockGru(core, memory, latent, action) {
      const shared = joined(
        this.block(`${core}.memory_in`, memory), this.block(`${core}.latent_in`, latent),
        this.block(`${core}.action_in`, action),
      );
      const [blocks] = this.tensors[`${core}.mix.weight`].shape, size = memory.length / blocks, parts = [];
      for (let b = 0; b < blocks; b++) parts.push(memory.subarray(b * size, (b + 1) * size), shared);
      const mixed = silu(this.norm(`${core}.mix_norm`, this.blockLinear(`${core}.mix`, joined(...parts))));
      const gates = this.blockLinear(`${core}.gates`, mixed);
      return map(memory, (old, i) => {
        const at = Math.floor(i / size) * 3 * size + (i % size); // reset, candidate, update of one block
        const candidate = Math.tanh(sigmoid(gates[at]) * gates[at + size]);
        const update = sigmoid(gates[at + 2 * size] - 1);
        return old + update * (candidate - old);
      });
    }

    // What is inferred of an observation; where an episode begins, what came before is forgotten.
    infer(state, action, first, obs, greedy = false) {
      const name = "world_model.dynamics.posterior_net", embedding = this.encode(obs);
      if (this.config.memory !== "rssm") return { memory: state.memory, latent: this.latent(this.linear(name, embedding), greedy) };
      const memory = first
        ? this.remember(this.initial(), new Float64Array(action.length))
        : this.remember(state, action);
      return { memory, latent: this.latent(this.mlp(name, joined(memory, embedding)), greedy) };
    }

    imagine(state, action, greedy = false) {
      const name = "world_model.dynamics.prior_net";
      if (this.config.memory !== "rssm") {
        return { memory: state.memory, latent: this.latent(this.mlp(name, joined(state.latent, executed(action))), greedy) };
      }
      const memory = this.remember(state, action);
      return { memory, latent: this.latent(this.mlp(name, memory), greedy) };
    }

    // heads.py

    feature({ memory, latent }) {
      return joined(memory, latent);
    }

    // The observation in the units of the environment; of an image, numbers in 0..1, (height, width, channels).
    decode(state) {
      const name = "world_model.decoder.net", { obs_kind: kind } = this.spaces;
      if (kind === "image") return this.decodeImage(name, state);
      const said = this.mlp(name, this.feature(state));
      return kind === "vector" ? map(said, symexp) : softmax(said);
    }

    decodeImage(name, { memory, latent }) {
      const start = `${name}.start`, [rows, columns, colours] = this.spaces.obs_shape;
      let total = this.mlp(`${start}.from_latent`, latent);
      if (this.has(`${start}.from_memory.weight`)) {
        const more = this.blockLinear(`${start}.from_memory`, memory);
        total = map(total, (v, i) => v + more[i]);
      }
      const channels = this.tensors[`${start}.finish.0.norm.weight`].length;
      let stages = 1;
      while (this.has(`${name}.stack.${3 * stages}.conv.weight`)) stages++;
      let image = { channels, height: Math.ceil(rows / 2 ** stages), width: Math.ceil(columns / 2 ** stages), data: total };
      image = this.channelNorm(`${start}.finish.0`, image);
      for (let stage = 0; stage < stages; stage++) {
        image = this.conv(`${name}.stack.${3 * stage}.conv`, doubled(image));
        if (stage < stages - 1) image = this.channelNorm(`${name}.stack.${3 * stage + 1}`, image);
      }
      const said = new Float64Array(rows * columns * colours);
      for (let r = 0, at = 0; r < rows; r++)
        for (let c = 0; c < columns; c++)
          for (let k = 0; k < colours; k++)
            said[at++] = sigmoid(image.data[(k * image.height + r) * image.width + c]);
      return said;
    }

    scalar(name, x, unit = 1) {
      const said = this.mlp(name, x);
      if (this.config.heads !== "two-hot") return unit * said[0];
      const shares = softmax(said), bins = upperBins(shares.length), middle = bins.length - 1;
      return bins.reduce((sum, bin, i) => sum + bin * (shares[middle + i] - shares[middle - i]), 0);
    }

    reward(state) {
      return this.scalar("world_model.reward_head.net", this.feature(state));
    }

    continues(state) {
      return sigmoid(this.mlp("world_model.continue_head.net", this.feature(state))[0]);
    }

    // actor_critic.py: the action as the network sees it, one-hot or within about -1..1
    act(state, greedy = true) {
      const said = this.mlp("behaviour.actor.net", this.feature(state)), half = said.length / 2;
      if (this.spaces.action_kind === "discrete")
        return oneHot(unimixed(said, this.config.policy_unimix), greedy ? null : this.uniform());
      return map(said.subarray(0, half), (raw, i) =>
        Math.tanh(raw) + (greedy ? 0 : (0.9 * sigmoid(said[half + i] + 2) + 0.1) * this.normal()));
    }
  }

  // The largest of each 2 x 2 pixels; an odd last row or column counts alone.
  function pooled({ channels, height, width, data }) {
    const h = Math.ceil(height / 2), w = Math.ceil(width / 2), y = new Float64Array(channels * h * w).fill(-Infinity);
    for (let i = 0; i < channels; i++)
      for (let r = 0; r < height; r++)
        for (let c = 0; c < width; c++) {
          const at = (i * h + (r >> 1)) * w + (c >> 1);
          y[at] = Math.max(y[at], data[(i * height + r) * width + c]);
        }
    return { channels, height: h, width: w, data: y };
  }

  // Every pixel 2 x 2 times.
  function doubled({ channels, height, width, data }) {
    const h = 2 * height, w = 2 * width, y = new Float64Array(channels * h * w);
    for (let i = 0; i < channels; i++)
      for (let r = 0; r < h; r++)
        for (let c = 0; c < w; c++) y[(i * h + r) * w + c] = data[(i * height + (r >> 1)) * width + (c >> 1)];
    return { channels, height: h, width: w, data: y };
  }

  return { load: (buffer) => new Agent(parse(buffer)), parse };
})();

if (typeof module !== "undefined") module.exports = WorldModel;
