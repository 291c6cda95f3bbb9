"use strict";
// Each figure.trace holds the events of a run as JSON, as ranks/draw/page.py writes them; times are in picoseconds.

const KINDS = ["waiting", "compute", "send", "receive"];
const UNITS = [["s", 1e12], ["ms", 1e9], ["µs", 1e6], ["ns", 1e3], ["ps", 1]];
const LEFT = 56, BOTTOM = 36, TALLEST = 46; // pixels beside and below the rows, and of a row
const MESSAGES = 3000, HEADS = 1000; // so many messages are drawn at once, and so many with an arrow's head
const PLAY_MS = 12000; // how long it takes to play what is in view
const HELP = "wheel: zoom in time, with Shift: in ranks · drag: move · ← →: step · space: play · 0: whole run";

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

class Viewer {
  constructor(figure) {
    this.figure = figure;
    this.data = JSON.parse(figure.querySelector("script").textContent);
    const { bars, messages, size } = this.data;
    this.offsets = new Uint32Array(size + 1); // where the bars of each rank begin
    for (const rank of bars.rank) this.offsets[rank + 1]++;
    for (let rank = 0; rank < size; rank++) this.offsets[rank + 1] += this.offsets[rank];
    const happens = [...bars.start, ...bars.end, ...messages.sent, ...messages.received.filter(ps => ps !== null)];
    this.times = [...new Set(happens)].sort((a, b) => a - b);
    this.now = this.data.end;
    this.build();
    this.fit();
    this.listen();
  }

  make(tag, parent, options) { return parent.appendChild(Object.assign(document.createElement(tag), options)); }

  build() {
    const bar = this.make("div", this.figure, { className: "bar" });
    const button = (textContent, title, onclick) => this.make("button", bar, { textContent, title, onclick });
    button("◀", "one event back (←)", () => this.step(-1));
    this.playing = button("▶ play", "play what is in view (space)", () => this.play());
    button("▶|", "one event on (→)", () => this.step(1));
    button("+", "zoom in", () => this.zoom(0.5, 0.5));
    button("−", "zoom out", () => this.zoom(2, 0.5));
    button("whole run", "show all (0)", () => { this.now = this.data.end; this.fit(); });
    this.slider = this.make("input", bar, { type: "range", min: 0, max: 1000, value: 1000, title: "time" });
    this.slider.oninput = () => this.goto(this.slider.value / 1000 * this.data.end);
    this.legend(this.make("span", bar, { className: "legend" }));
    this.canvas = this.make("canvas", this.figure);
    this.canvas.style.height = `${Math.min(0.68 * innerHeight, TALLEST * this.data.size + BOTTOM)}px`;
    this.tip = this.make("div", this.figure, { className: "tip", hidden: true });
    this.note = this.make("p", this.figure, { className: "now", ariaLive: "polite", textContent: HELP });
    this.context = this.canvas.getContext("2d");
  }

  legend(parent) { // only what is there
    const { bars, regions, messages, marks } = this.data, roles = new Set(marks.role);
    const items = KINDS.filter((_, kind) => bars.what.includes(kind)).map(what => [what, `background: var(--${what})`]);
    if (regions.rank.length) items.push(["region", "border: 1px solid var(--region)"]);
    if (messages.sent.length) items.push(["message", "height: 1px; vertical-align: middle; background: var(--ink)"]);
    if (messages.received.includes(null)) items.push(["never received", "height: 2px; background: var(--lost)"]);
    if (roles.has("core")) items.push(["core of the hang", "background: var(--core); opacity: 0.5"]);
    if (roles.has("behind")) items.push(["behind it", "background: var(--faint); opacity: 0.5"]);
    for (const [text, style] of items) {
      this.make("i", parent).style.cssText = style;
      parent.append(text);
    }
  }

  listen() {
    const canvas = this.canvas;
    new ResizeObserver(() => this.redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    canvas.addEventListener("wheel", event => {
      if (document.activeElement !== this.figure) return; // the page scrolls until the picture is clicked
      event.preventDefault();
      const factor = Math.exp(0.002 * (event.deltaY || event.deltaX));
      if (event.shiftKey) this.stretch(factor, event.offsetY);
      else this.zoom(factor, (event.offsetX - LEFT) / this.width);
    }, { passive: false });
    canvas.addEventListener("pointerdown", event => {
      this.figure.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      this.drag = [event.offsetX, event.offsetY];
    });
    canvas.addEventListener("pointermove", event => {
      if (this.drag) {
        this.pan((this.drag[0] - event.offsetX) / this.width, (this.drag[1] - event.offsetY) / this.row);
        this.drag = [event.offsetX, event.offsetY];
      } else this.hover(event.offsetX, event.offsetY);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { this.drag = null; });
    canvas.addEventListener("pointerleave", () => this.hover(-1, -1));
    this.figure.addEventListener("keydown", event => {
      const keys = { ArrowLeft: () => this.step(-1), ArrowRight: () => this.step(1), " ": () => this.play(),
        "+": () => this.zoom(0.5, 0.5), "-": () => this.zoom(2, 0.5), 0: () => this.fit() };
      if (event.target === this.slider || !keys[event.key] || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  // -- what is in view -----------------------------------------------------------------------------------------

  measure() { // reading a canvas's size is slow: once a frame
    const words = Math.max(0, ...this.data.marks.text.map(text => 7 * text.length)); // about as wide
    this.width = Math.max(1, this.canvas.clientWidth - LEFT - Math.min(8 + words, 0.45 * this.canvas.clientWidth));
    this.height = Math.max(1, this.canvas.clientHeight - BOTTOM);
  }

  x(ps) { return LEFT + (ps - this.from) / (this.to - this.from) * this.width; }
  y(rank) { return (rank - this.top) * this.row; }

  fit() {
    this.measure();
    [this.from, this.to, this.top] = [0, this.data.end || 1, 0];
    this.row = Math.min(TALLEST, this.height / this.data.size);
    this.redraw();
  }

  zoom(factor, share) { // share: of the width, where time stays in its place
    const whole = this.data.end || 1, span = Math.min(whole, Math.max(10, (this.to - this.from) * factor));
    const still = this.from + share * (this.to - this.from);
    this.from = Math.min(whole - span, Math.max(0, still - share * span));
    this.to = this.from + span;
    this.redraw();
  }

  stretch(factor, y) {
    const still = this.top + y / this.row;
    this.row = Math.min(TALLEST, Math.max(this.height / this.data.size, this.row / factor));
    this.top = still - y / this.row;
    this.pan(0, 0);
  }

  pan(share, rows) {
    const span = this.to - this.from;
    this.from = Math.min((this.data.end || 1) - span, Math.max(0, this.from + share * span));
    this.to = this.from + span;
    this.top = Math.max(0, Math.min(this.data.size - this.height / this.row, this.top + rows));
    this.redraw();
  }

  // -- time ----------------------------------------------------------------------------------------------------

  goto(ps) {
    this.now = Math.min(this.data.end, Math.max(0, ps));
    this.slider.value = 1000 * this.now / (this.data.end || 1);
    this.redraw();
  }

  step(direction) { // to the time of the next event, or the one before; say what happens then
    this.stop();
    const next = firstAfter(this.times, 0, this.times.length, this.now);
    const place = direction > 0 ? next : next - (this.times[next - 1] === this.now ? 2 : 1);
    if (place >= 0 && place < this.times.length) this.goto(this.times[place]);
    if (this.now < this.from || this.now > this.to) this.pan((this.now - this.from) / (this.to - this.from) - 0.5, 0);
    const lines = [], { bars } = this.data;
    for (let i = 0; i < bars.rank.length && lines.length < 3; i++)
      if (bars.end[i] === this.now) lines.push(this.sayBar(i).replaceAll("\n", ", "));
    this.note.textContent = [`At ${nice(this.now)}:`, ...lines].join("\n");
  }

  play() {
    if (this.timer) { this.stop(); return; }
    if (this.now >= this.to || this.now < this.from) this.goto(this.from);
    this.playing.textContent = "❚❚ pause";
    let last = performance.now();
    const tick = at => {
      this.goto(Math.min(this.to, this.now + Math.max(0, at - last) / PLAY_MS * (this.to - this.from)));
      last = at;
      this.timer = requestAnimationFrame(tick);
      if (this.now >= this.to) this.stop();
    };
    this.timer = requestAnimationFrame(tick);
  }

  stop() {
    cancelAnimationFrame(this.timer);
    this.timer = null;
    this.playing.textContent = "▶ play";
  }

  // -- drawing -------------------------------------------------------------------------------------------------

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
      if (y > 4 && y < this.height - 2) context.fillText(rank, LEFT - 8, y + 4);
    }
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

  // -- what is under the mouse ---------------------------------------------------------------------------------

  hover(x, y) {
    const message = this.messageAt(x, y), bar = message === undefined ? this.barAt(x, y) : undefined;
    const text = message !== undefined ? this.sayMessage(message) : bar !== undefined ? this.sayBar(bar) : this.sayMark(x, y);
    if (message !== this.marked) { this.marked = message; this.redraw(); }
    this.tip.hidden = !text;
    this.tip.textContent = text;
    const left = Math.min(x + 14, this.canvas.clientWidth - this.tip.offsetWidth - 4);
    this.tip.style.left = `${Math.max(0, left)}px`;
    this.tip.style.top = `${this.canvas.offsetTop + y + 16}px`;
  }

  messageAt(x, y) {
    let best, nearest = 6;
    if (x < LEFT || y < 0 || y > this.height) return best;
    for (const i of this.visible || []) {
      const [x0, y0, x1, y1] = this.ends(i), dx = x1 - x0, dy = y1 - y0;
      const share = Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1)));
      const distance = Math.hypot(x - x0 - share * dx, y - y0 - share * dy);
      if (distance < nearest) [best, nearest] = [i, distance];
    }
    return best;
  }

  barAt(x, y) {
    const rank = Math.floor(this.top + y / this.row), { start, end } = this.data.bars;
    if (x < LEFT || y < 0 || y > this.height || rank < 0 || rank >= this.data.size) return undefined;
    const ps = this.from + (x - LEFT) / this.width * (this.to - this.from);
    const i = firstAfter(end, this.offsets[rank], this.offsets[rank + 1], ps);
    return i < this.offsets[rank + 1] && start[i] <= ps ? i : undefined;
  }

  sayMark(x, y) { // what a rank waits for when all hangs
    const { rank, start, more } = this.data.marks, row = Math.floor(this.top + y / this.row);
    const i = x < LEFT || y < 0 || y > this.height ? -1 : rank.indexOf(row);
    return i < 0 || x < this.x(start[i]) || !more[i] ? "" : `rank ${row}: ${more[i]}`;
  }

  sayMessage(i) {
    const { source, dest, sent, received, tag, bytes, sendSite, receiveSite } = this.data.messages, { sites } = this.data;
    const got = received[i] === null ? "never received" : `received ${nice(received[i])}, ${sites[receiveSite[i]]}`;
    const head = `rank ${source[i]} → rank ${dest[i]}: ${bytes[i].toLocaleString("en")} B, tag ${tag[i]}`;
    return `${head}\nsent ${nice(sent[i])}, ${sites[sendSite[i]]}\n${got}`;
  }

  sayBar(i) {
    const { rank, start, end, what, peer, site } = this.data.bars, kind = KINDS[what[i]];
    const other = peer[i] < 0 ? "" : ` (rank ${peer[i]})`;
    const times = `${nice(start[i])} to ${nice(end[i])}, ${nice(end[i] - start[i])}`;
    return `rank ${rank[i]}: ${kind}${other}\n${times}\n${this.data.sites[site[i]]}`;
  }
}

const figures = document.querySelectorAll("figure.trace");
for (const figure of figures) figure.viewer = new Viewer(figure);
if (figures.length === 1) figures[0].focus({ preventScroll: true });
