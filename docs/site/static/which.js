// Which algorithm is the fastest: sums of L, o, beta and gamma by operation, ranks and algorithm are in WHICH.
"use strict";

(() => {
  const { unit, parts, table, agreement } = window.WHICH;
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];
  const INKS = ["#ffffff", "#22262b", "#ffffff", "#22262b", "#22262b", "#ffffff"];
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

  function times(p, units) { // fastest first; of equally fast ones the first of the catalogue
    const known = Object.entries(table[state.operation][state.perNode][p]);
    return known.map(([name, sums]) => ({ name, ps: timePs(sums, prices(), units) })).sort((a, b) => a.ps - b.ps);
  }

  function slowest(name) { // the sum that is the largest now, as a formula
    const sums = table[state.operation][state.perNode][state.p][name], units = 2 ** state.size;
    const [l, o, b, c] = sums.find(sum => timePs([sum], prices(), units) === timePs(sums, prices(), units));
    const term = (count, letter) => count ? [`${+count.toPrecision(4)} ${letter}`] : [];
    return [...term(l / parts[0], "L"), ...term(o, "o"), ...term(b / parts[1] / unit, "nβ"), ...term(c / unit, "nγ")].join(" + ");
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
