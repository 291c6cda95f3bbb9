"use strict";
// Each figure.trace holds the events of a run as JSON, as ranks/draw/page.py writes them; times are in picoseconds.

const KINDS = ["waiting", "compute", "send", "receive"];
const UNITS = [["s", 1e12], ["ms", 1e9], ["µs", 1e6], ["ns", 1e3], ["ps", 1]];
const LEFT = 56, BOTTOM = 36, TALLEST = 46; // pixels beside and below the rows, and of a row
const MESSAGES = 3000, HEADS = 1000; // so many messages are drawn at once, and so many with an arrow's head

function unitOf(ps) { return UNITS.find(([, size]) => ps >= size) || UNITS[4]; }

function nice(ps) {
  const [unit, size] = unitOf(ps);
  return `${Number((ps / size).toPrecision(6))} ${unit}`;
}

function roundUp(value) { // to 1, 2 or 5 times a power of ten
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find(each => each * power >= value * (1 - 1e-12));
}

function firstAfter(values, low, high, limit) { // the first place from low up to high whose value is above limit
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] > limit) high = middle; else low = middle + 1;
  }
  return low;
}

class Drawing { // the picture of a run, as much of it as is in view
  constructor(figure) {
    this.figure = figure;
    this.data = JSON.parse(figure.querySelector("script").textContent);
    const { bars, size, end } = this.data;
    this.offsets = new Uint32Array(size + 1); // where the bars of each rank begin
    for (const rank of bars.rank) this.offsets[rank + 1]++;
    for (let rank = 0; rank < size; rank++) this.offsets[rank + 1] += this.offsets[rank];
    this.now = end;
  }

  measure() { // reading a canvas's size is slow: once a frame
    const words = this.data.marks.text.reduce((most, text) => Math.max(most, 7 * text.length), 0); // about as wide
    this.width = Math.max(1, this.canvas.clientWidth - LEFT - Math.min(8 + words, 0.45 * this.canvas.clientWidth));
    this.height = Math.max(1, this.canvas.clientHeight - BOTTOM);
  }

  x(ps) { return LEFT + (ps - this.from) / (this.to - this.from) * this.width; }
  y(rank) { return (rank - this.top) * this.row; }

  redraw() { this.frame ||= requestAnimationFrame(() => { this.frame = null; this.draw(); }); }

  draw() {
    this.measure();
    const { canvas, context } = this, scale = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * scale, canvas.clientHeight * scale].map(Math.round);
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const style = getComputedStyle(this.figure);
    this.colour = name => style.getPropertyValue(`--${name}`);
    this.first = Math.max(0, Math.floor(this.top));
    this.last = Math.min(this.data.size - 1, Math.ceil(this.top + this.height / this.row));
    this.skip = Math.max(1, Math.floor(1 / this.row)); // ranks that share a row of pixels are drawn once
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, this.width, this.height);
    context.clip();
    this.drawBars();
    this.drawRegions();
    this.drawMarks();
    this.drawMessages();
    this.drawNow();
    context.restore();
    this.drawAxes();
  }

  inside() { // how far down in a row its bars begin, and how high they are
    return this.row >= 30 ? [0.38 * this.row, 0.46 * this.row] : [0.2 * this.row, Math.max(1, Math.round(0.6 * this.row))];
  }

  shown(rank) { return rank >= this.first && rank <= this.last && (rank - this.first) % this.skip === 0; }

  drawBars() {
    const { context } = this, { start, end, what } = this.data.bars, boxes = KINDS.map(() => []);
    const [inset, height] = this.inside();
    for (let rank = this.first; rank <= this.last; rank += this.skip) {
      const y = Math.round(this.y(rank) + inset), drawn = [-1, -1, -1, -1], stop = this.offsets[rank + 1];
      for (let i = firstAfter(end, this.offsets[rank], stop, this.from); i < stop && start[i] < this.to; i++) {
        const x = Math.round(this.x(start[i])), till = Math.max(Math.round(this.x(end[i])), x + 1), kind = what[i];
        if (till <= drawn[kind]) continue; // its pixel has this colour
        drawn[kind] = till;
        boxes[kind].push(x, y, till - x);
      }
    }
    KINDS.forEach((name, kind) => {
      context.fillStyle = this.colour(name);
      for (let i = 0; i < boxes[kind].length; i += 3)
        context.fillRect(boxes[kind][i], boxes[kind][i + 1], boxes[kind][i + 2], height);
    });
  }

  drawRegions() {
    const { context } = this, { rank, start, end, name } = this.data.regions, named = new Set();
    context.strokeStyle = context.fillStyle = this.colour("region");
    context.font = "12px system-ui, sans-serif";
    for (let i = 0; i < rank.length; i++) {
      if (!this.shown(rank[i]) || end[i] < this.from || start[i] > this.to || this.row < 8) continue;
      const x = Math.max(this.x(start[i]), LEFT - 9), y = this.y(rank[i]) + 0.08 * this.row;
      context.strokeRect(x, y, Math.min(this.x(end[i]), LEFT + this.width + 9) - x, 0.84 * this.row);
      if (this.row >= 30 && !named.has(name[i])) context.fillText(this.data.names[name[i]], Math.max(x, LEFT) + 4, y + 11);
      named.add(name[i]);
    }
  }

  drawMarks() { // what hangs has a bar, what failed a cross
    const { context } = this, { rank, start, role } = this.data.marks, [inset, height] = this.inside();
    for (let i = 0; i < rank.length; i++) {
      if (!this.shown(rank[i]) || role[i] === "returned") continue;
      const x = this.x(start[i]), y = this.y(rank[i]) + inset;
      context.fillStyle = this.colour({ core: "core", failed: "lost" }[role[i]] || "faint");
      if (role[i] === "failed") { context.fillText("✖", x - 5, y + height / 2 + 4); continue; }
      context.globalAlpha = 0.5;
      context.fillRect(x, y, LEFT + this.width - x, height);
      context.globalAlpha = 1;
    }
  }

  drawMessages() {
    const { context } = this, { source, dest, sent, received } = this.data.messages, inView = [], lost = [];
    for (let i = 0; i < sent.length; i++) {
      const [low, high] = source[i] < dest[i] ? [source[i], dest[i]] : [dest[i], source[i]];
      if (sent[i] > this.to || high < this.first || low > this.last) continue;
      if (received[i] === null) lost.push(i);
      else if (received[i] >= this.from) inView.push(i);
    }
    this.every = Math.ceil(inView.length / MESSAGES);
    this.visible = inView.filter(i => i % this.every === 0);
    this.lines(this.visible, "ink", 0.75, this.visible.length <= HEADS && this.row > 6);
    this.lines(lost, "lost", 1.5, false, [5, 4]);
    if (this.marked !== undefined) this.lines([this.marked], "core", 2.5, true);
    this.visible.push(...lost);
  }

  ends(i) { // of the arrow of a message, x and y of both; one that nobody received stops on the way
    const { source, dest, sent, received } = this.data.messages, [inset, height] = this.inside(), half = inset + height / 2;
    const from = [this.x(sent[i]), this.y(source[i]) + half];
    if (received[i] !== null) return [...from, this.x(received[i]), this.y(dest[i]) + half];
    const x = Math.min(from[0] + 0.15 * this.width, this.x(this.data.end));
    return [...from, x, from[1] + 0.75 * (this.y(dest[i]) + half - from[1])];
  }

  lines(messages, colour, width, heads, dash = []) {
    const { context } = this;
    context.strokeStyle = context.fillStyle = this.colour(colour);
    context.lineWidth = width;
    context.setLineDash(dash);
    context.beginPath();
    for (const i of messages) {
      const [x0, y0, x1, y1] = this.ends(i);
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.stroke();
    context.setLineDash([]);
    context.lineWidth = 1;
    if (dash.length) for (const i of messages) context.fillText("✕", this.ends(i)[2] - 5, this.ends(i)[3] + 4);
    if (!heads) return;
    context.beginPath();
    for (const i of messages) {
      const [x0, y0, x1, y1] = this.ends(i), angle = Math.atan2(y1 - y0, x1 - x0);
      context.moveTo(x1, y1);
      context.lineTo(x1 - 8 * Math.cos(angle - 0.35), y1 - 8 * Math.sin(angle - 0.35));
      context.lineTo(x1 - 8 * Math.cos(angle + 0.35), y1 - 8 * Math.sin(angle + 0.35));
    }
    context.fill();
  }

  drawNow() { // what is yet to come is veiled; messages on their way are dots
    if (this.now >= this.data.end) return;
    const { context } = this, { sent, received } = this.data.messages, x = this.x(this.now);
    context.globalAlpha = 0.75;
    context.fillStyle = this.colour("paper");
    context.fillRect(x, 0, LEFT + this.width - x, this.height);
    context.globalAlpha = 1;
    context.fillStyle = this.colour("core");
    context.fillRect(x - 0.5, 0, 1.5, this.height);
    for (const i of this.visible) {
      if (received[i] === null || sent[i] > this.now || received[i] < this.now) continue;
      const [x0, y0, x1, y1] = this.ends(i), share = (this.now - sent[i]) / (received[i] - sent[i] || 1);
      context.beginPath();
      context.arc(x0 + share * (x1 - x0), y0 + share * (y1 - y0), Math.min(5, 2 + this.row / 10), 0, 7);
      context.fill();
    }
  }

  drawAxes() {
    const { context } = this, [unit, size] = unitOf(this.to), span = (this.to - this.from) / size;
    const step = roundUp(110 * span / this.width);
    context.fillStyle = context.strokeStyle = this.colour("faint");
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "center";
    for (let tick = Math.ceil(this.from / size / step); tick * step <= this.to / size * (1 + 1e-12); tick++) {
      const x = this.x(tick * step * size);
      context.fillRect(x, this.height, 1, 4);
      context.fillText((tick * step).toFixed(Math.max(0, Math.min(9, -Math.floor(Math.log10(step))))), x, this.height + 17);
    }
    const thin = this.every > 1 ? `; one of every ${this.every} messages is drawn` : "";
    context.fillText(`virtual time, ${unit}${thin}`, LEFT + this.width / 2, this.height + 31);
    context.textAlign = "right";
    const [inset, height] = this.inside(), half = inset + height / 2;
    const apart = Math.max(1, roundUp(16 / this.row));
    for (let rank = Math.ceil(this.first / apart) * apart; rank <= this.last; rank += apart) {
      const y = this.y(rank) + half;
      if (y > 0 && y < this.height - 2) context.fillText(rank, LEFT - 8, Math.max(y + 4, 9)); // whole, however thin its row
    }
    context.fillText("rank", LEFT - 8, this.height + 31);
    context.textAlign = "left";
    const { marks } = this.data;
    for (let i = 0; i < marks.rank.length; i++) {
      const y = this.y(marks.rank[i]) + half;
      if (this.row < 10 || y < 4 || y > this.height) continue;
      context.fillStyle = this.colour({ core: "core", failed: "lost" }[marks.role[i]] || "faint");
      context.fillText(marks.text[i], LEFT + this.width + 8, y + 4);
    }
    context.strokeRect(LEFT - 0.5, 0.5, this.width + 1, this.height);
  }
}
