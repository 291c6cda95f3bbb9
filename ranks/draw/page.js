// What a reader does with the picture of a run: zoom, move, step, play, hover.

const PLAY_MS = 12000; // how long it takes to play what is in view
const HELP = "wheel: zoom in time, with Shift: in ranks · drag: move · ← →: step · space: play · 0: whole run";

class Viewer extends Drawing {
  constructor(figure) {
    super(figure);
    const { bars, messages } = this.data;
    const happens = [...bars.start, ...bars.end, ...messages.sent, ...messages.received.filter(ps => ps !== null)];
    this.times = [...new Set(happens)].sort((a, b) => a - b);
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
      const item = this.make("span", parent);
      this.make("i", item).style.cssText = style;
      item.append(text);
    }
  }

  listen() {
    const canvas = this.canvas;
    new ResizeObserver(() => this.redraw()).observe(canvas);
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

// Light or dark as the system is, until a page that frames this one says "light", "dark" or "auto".

const system = matchMedia("(prefers-color-scheme: dark)");
let theme = "auto";

function dress(wanted) {
  theme = wanted;
  document.documentElement.classList.toggle("dark", theme === "dark" || (theme === "auto" && system.matches));
  for (const figure of document.querySelectorAll("figure.trace")) figure.viewer?.redraw();
}

dress("auto");
system.addEventListener("change", () => dress(theme));
addEventListener("message", event => { if (["light", "dark", "auto"].includes(event.data)) dress(event.data); });

const figures = document.querySelectorAll("figure.trace");
for (const figure of figures) figure.viewer = new Viewer(figure);
if (figures.length === 1) figures[0].focus({ preventScroll: true });
