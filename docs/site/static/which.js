// Which algorithm is the fastest: sums of L, o, beta and gamma by operation, ranks and algorithm are in WHICH. Those that
// cut arrays into segments are worked out here, as in segments.py.
"use strict";

(() => {
  const { unit, item, segment, few, parts, trees, table, agreement } = window.WHICH;
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a800", "#7f7f7f"];
  const INKS = ["#ffffff", "#22262b", "#ffffff", "#22262b", "#22262b", "#ffffff", "#22262b", "#ffffff"];
  const SIZES = [...Array(15).keys()]; // powers of two of the unit
  const root = document.getElementById("which");
  const state = { operation: "allreduce", perNode: "1", p: "16", size: 8, latency: 2.3, overhead: 0.2, bandwidth: 12, gamma: 1.5 };

  // -- the model: latency and overhead in microseconds, bandwidth in GB/s, gamma in picoseconds a byte

  function prices() {
    return [1e6 * state.latency / parts[0], 1e6 * state.overhead, 1e3 / state.bandwidth / parts[1], state.gamma];
  }

  function timePs(sums, [latency, overhead, beta, gamma], units) {
    return Math.max(...sums.map(([l, o, b, c]) => l * latency + o * overhead + units * (b * beta + c * gamma)));
  }

  function linksInto(p, [latency, , beta]) { // latency and time of a byte on the way into each rank of a node
    const far = [parts[0] * latency, parts[1] * beta], near = [latency, beta], many = +state.perNode;
    if (many === 1) return [far];
    return p <= many ? [near] : [far, ...Array(many - 1).fill(near)];
  }

  function cut(bytes) { // the number of segments, and the bytes of each
    const count = Math.max(1, Math.ceil(bytes / segment));
    return [count, bytes / count];
  }

  function chainPs(p, bytes, prices) { // the first segment goes all the way, the others follow as fast as the slowest hop
    const [count, size] = cut(bytes), overhead = prices[1], into = linksInto(p, prices);
    let way = 0, step = overhead * Math.min(p - 1, 2);
    for (let rank = 1; rank < p; rank++) {
      const [latency, beta] = into[rank % into.length];
      way += latency + 2 * overhead + size * beta;
      step = Math.max(step, size * beta);
    }
    return way + (count - 1) * step;
  }

  function ringPs(p, bytes, prices) { // each rank takes segment after segment, and passes each on at once
    const [count, size] = cut(bytes / p), [, overhead, , gamma] = prices, into = linksInto(p, prices);
    const now = into.map(() => 0), port = into.map(() => 0);
    let came = into.map(() => Array(count).fill(0));
    for (let step = -1; step < 2 * p - 2; step++) {
      const then = into.map(() => Array(count).fill(0));
      for (let place = 0; place < into.length; place++) {
        const right = (place + 1) % into.length, [latency, beta] = into[right];
        for (let number = 0; number < count; number++) {
          if (step >= 0) now[place] = Math.max(now[place], came[place][number]) + overhead + (step < p - 1 ? size * gamma : 0);
          if (step >= 2 * p - 3) continue;
          now[place] += overhead;
          port[place] = Math.max(port[place], now[place]) + size * beta;
          then[right][number] = port[place] + latency;
        }
      }
      came = then;
    }
    return Math.max(...now);
  }

  function doubleTreePs(p, bytes, prices) { // each half has its tree; of many segments, by what a few and twice as many take
    const half = bytes / 2 / item, [count] = cut(bytes / 2), size = Math.floor(half / count), longer = half % count;
    const played = some => playedPs(p, +state.perNode, prices, some, item * size, longer);
    if (count <= 2 * few) return played(count);
    return played(2 * few) + (played(2 * few) - played(few)) * (count - 2 * few) / few;
  }

  const playedPs = remembered((p, perNode, [latency, overhead, beta, gamma], count, size, longer) => {
    // Up and down both trees go `count` segments of `size` bytes; the first of them, `longer`, have an item more.
    const now = Array(p).fill(0), outPort = Array(p).fill(0), inPort = Array(p).fill(0), coming = new Soonest();
    const came = Array.from({ length: 2 * p * p }, () => []); // by receiver, sender and tree
    const lane = (receiver, sender, tree) => came[2 * (receiver * p + sender) + tree];
    const bytesOf = number => size + (number < longer ? item : 0);
    const node = now.map((_, rank) => Math.floor(rank / perNode));
    const done = Array(p).fill(0); // how many steps each rank has behind it

    function play(rank) {
      const todo = steps(p, rank, count);
      for (; done[rank] < todo.length; done[rank]++) {
        const { other, tree, number, isSent, isReduced } = todo[done[rank]], bytes = bytesOf(number);
        if (isSent) {
          const isFar = node[rank] !== node[other], transfer = bytes * beta * (isFar ? parts[1] : 1);
          now[rank] += overhead;
          const begin = Math.max(outPort[rank], now[rank]);
          outPort[rank] = begin + transfer;
          const time = begin + latency * (isFar ? parts[0] : 1);
          coming.add({ time, rank, number: done[rank], other, tree, transfer });
        } else {
          const queue = lane(rank, other, tree);
          if (!queue.length) return;
          now[rank] = Math.max(now[rank], queue.shift()) + overhead + (isReduced ? bytes * gamma : 0);
        }
      }
    }

    for (let rank = 0; rank < p; rank++) play(rank);
    for (let next = coming.take(); next; next = coming.take()) { // who comes first to an in-port takes it first
      const { time, rank, other, tree, transfer } = next;
      inPort[other] = Math.max(inPort[other], time) + transfer;
      lane(other, rank, tree).push(inPort[other]);
      play(other);
    }
    return Math.max(...now);
  });

  const steps = remembered((p, rank, count) => { // up first where a rank is a leaf, down first where it is not
    const families = trees[p][rank], found = [];
    const add = (other, tree, number, isSent, isReduced) => found.push({ other, tree, number, isSent, isReduced });
    for (const [tree, number] of inTurn(count, families.map(([, children]) => children.length > 0))) {
      const [parent, children] = families[tree];
      for (const child of children) add(child, tree, number, false, true);
      if (parent !== null) add(parent, tree, number, true, false);
    }
    for (const [tree, number] of inTurn(count, families.map(([, children]) => !children.length))) {
      const [parent, children] = families[tree];
      if (parent !== null) add(parent, tree, number, false, false);
      for (const child of children) add(child, tree, number, true, false);
    }
    return found;
  });

  function inTurn(count, isLate) { // tree and number of all segments, the trees in turn unless one is late
    const all = Array.from({ length: 2 * count }, (_, k) => [k % 2, Math.floor(k / 2)]);
    return all.sort((a, b) => isLate[a[0]] - isLate[b[0]]);
  }

  function remembered(work) { // what was worked out, by what was given; now and then all of it is forgotten
    const known = new Map();
    return (...given) => {
      const key = given.join();
      if (known.size > 2000) known.clear();
      if (!known.has(key)) known.set(key, work(...given));
      return known.get(key);
    };
  }

  class Soonest { // a heap of messages: by time, then by sender and by its number
    heap = [];

    isBefore(a, b) {
      return (a.time - b.time || a.rank - b.rank || a.number - b.number) < 0;
    }

    add(message) {
      const { heap } = this;
      let place = heap.push(message) - 1;
      for (let above = (place - 1) >> 1; place && this.isBefore(message, heap[above]); above = (place - 1) >> 1) {
        heap[place] = heap[above];
        place = above;
      }
      heap[place] = message;
    }

    take() {
      const { heap } = this, first = heap[0], last = heap.pop();
      if (!heap.length) return first;
      let place = 0;
      for (let below = 1; below < heap.length; below = 2 * place + 1) {
        if (below + 1 < heap.length && this.isBefore(heap[below + 1], heap[below])) below++;
        if (!this.isBefore(heap[below], last)) break;
        heap[place] = heap[below];
        place = below;
      }
      heap[place] = last;
      return first;
    }
  }

  const formulas = { chain: chainPs, segmented_ring: ringPs, double_tree: doubleTreePs };

  function psOf(name, p, units, prices) {
    const sums = table[state.operation][state.perNode][p][name];
    return sums ? timePs(sums, prices, units) : formulas[name](+p, unit * units, prices);
  }

  function times(p, units) { // fastest first; of equally fast ones the first of the catalogue
    const found = names().map(name => ({ name, ps: psOf(name, p, units, prices()) }));
    return found.sort((a, b) => a.ps - b.ps);
  }

  function slowest(name) { // what is in the slowest chain now: by how much the time grows when a price does
    const units = 2 ** state.size, now = prices(), ps = psOf(name, state.p, units, now), bit = 1e-5;
    const counts = now.map((price, place) => {
      const more = now.map((each, k) => k === place ? each * (1 + bit) : each);
      return (psOf(name, state.p, units, more) - ps) / (bit * price);
    });
    const [l, o, b, c] = [counts[0] / parts[0], counts[1], counts[2] / parts[1] / unit / units, counts[3] / unit / units];
    const term = (count, letter) => count > 1e-3 ? [`${+count.toPrecision(3)} ${letter}`] : [];
    return [...term(l, "L"), ...term(o, "o"), ...term(b, "nβ"), ...term(c, "nγ")].join(" + ");
  }

  // -- the page

  const make = (tag, parent, more = {}) => parent.appendChild(Object.assign(document.createElement(tag), more));
  const names = () => Object.keys(Object.values(table[state.operation]["1"])[0]);
  const ranks = () => Object.keys(table[state.operation][state.perNode]);
  const letter = name => String.fromCharCode(65 + names().indexOf(name));

  function nice(number, units, step) {
    let place = 0;
    while (number >= step && place < units.length - 1) { number /= step; place++; }
    return `${+number.toPrecision(3)} ${units[place]}`;
  }
  const niceBytes = size => nice(unit * 2 ** size, ["B", "KiB", "MiB"], 1024);
  const niceTime = ps => nice(ps, ["ps", "ns", "µs", "ms", "s"], 1000);

  function slider(parent, text, min, max, get, set, show) {
    const label = make("label", parent, { textContent: text });
    const output = make("output", label), input = make("input", label, { type: "range", min, max, step: "any" });
    input.oninput = () => { set(+input.value); draw(); };
    return () => { input.max = max instanceof Function ? max() : max; input.value = get(); output.textContent = show(); };
  }

  function logarithmic(parent, text, name, least, most, show) {
    const span = Math.log(most / least), value = x => +(least * Math.exp(x * span)).toPrecision(3);
    return slider(parent, text, 0, 1, () => Math.log(state[name] / least) / span, x => { state[name] = value(x); }, show);
  }

  function choice(parent, text, options, name) {
    const label = make("label", parent, { textContent: text }), select = make("select", label);
    for (const option of options) make("option", select, { value: option, textContent: option });
    select.onchange = () => { state[name] = select.value; draw(); };
    return () => { select.value = state[name]; };
  }

  root.replaceChildren();
  const controls = make("div", root, { className: "controls" });
  const shown = [
    choice(controls, "operation", Object.keys(table), "operation"),
    choice(controls, "ranks per node", Object.keys(table.allreduce), "perNode"),
    slider(controls, "ranks p", 0, () => ranks().length - 1, () => ranks().indexOf(state.p),
      x => { state.p = ranks()[Math.round(x)]; }, () => state.p),
    slider(controls, "bytes n", 0, SIZES.length - 1, () => state.size, x => { state.size = Math.round(x); },
      () => niceBytes(state.size)),
    logarithmic(controls, "L, latency", "latency", 0.1, 100, () => `${state.latency} µs`),
    logarithmic(controls, "o, overhead of each side", "overhead", 0.01, 10, () => `${state.overhead} µs`),
    logarithmic(controls, "1/β, bandwidth", "bandwidth", 0.1, 400, () => `${state.bandwidth} GB/s`),
    logarithmic(controls, "γ, reducing a byte", "gamma", 0.01, 100, () => `${state.gamma} ps`),
  ];
  const map = make("table", make("div", root, { className: "box" }), { className: "map" });
  const list = make("table", make("div", root, { className: "box" }), { className: "times" });

  function paint(element, name) {
    const place = names().indexOf(name) % COLOURS.length;
    element.style.background = COLOURS[place];
    element.style.color = INKS[place];
  }

  function drawMap() {
    map.replaceChildren();
    const head = make("tr", make("thead", map)), body = make("tbody", map);
    make("th", head, { textContent: "ranks" });
    for (const size of SIZES) make("th", head, { textContent: niceBytes(size) });
    for (const p of ranks().reverse()) {
      const line = make("tr", body);
      make("th", line, { textContent: p });
      for (const size of SIZES) {
        const { name } = times(p, 2 ** size)[0];
        const cell = make("button", make("td", line), { textContent: letter(name), type: "button" });
        cell.title = `${p} ranks, ${niceBytes(size)}: ${name}`;
        cell.ariaPressed = p === state.p && size === state.size;
        cell.onclick = () => { Object.assign(state, { p, size }); draw(); };
        paint(cell, name);
      }
    }
  }

  function drawList() {
    list.replaceChildren();
    const found = times(state.p, 2 ** state.size), longest = found.at(-1).ps;
    for (const { name, ps } of found) {
      const line = make("tr", list);
      const label = make("td", line);
      paint(make("b", label, { textContent: letter(name) }), name);
      label.append(name.replaceAll("_", " "));
      const number = make("td", line, { className: "number", textContent: niceTime(ps) });
      Object.assign(number.dataset, { name, ps });
      const bar = make("i", make("td", line, { className: "bar" }));
      bar.style.width = `${100 * ps / longest}%`;
      paint(bar, name);
      make("td", line, { textContent: slowest(name) });
    }
  }

  function draw() {
    if (!ranks().includes(state.p)) state.p = ranks().findLast(p => +p <= +state.p) ?? ranks()[0];
    for (const show of shown) show();
    drawMap();
    drawList();
  }

  const { draws, exact, lost } = agreement, worst = Math.max(...lost);
  document.getElementById("which-agreement").textContent =
    `of ${draws} draws, all times were those of the formulas in ${exact}, to the picosecond. ` +
    `The algorithm that the page names was the fastest in ${lost.filter(part => part === 0).length}` +
    (worst ? `, and at most ${(100 * worst).toFixed(1)} % slower in the others.` : ".");
  draw();
  window.which = { state, draw };
})();
