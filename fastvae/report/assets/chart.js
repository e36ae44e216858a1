"use strict";

// Curves over the iterations, of which a range can be looked at.
class Chart {
  constructor(parent, series) {
    this.series = series.filter(one => one.points.length);
    this.last = Math.max(...this.series.map(one => one.points[one.points.length - 1][0]));
    this.range = [0, this.last];
    const button = (text, label, act) => element("button", { type: "button", "aria-label": label, onclick: act }, text);
    const tools = element("div", { class: "tools" }, ...this.series.map(one => this.key(one)), element(
      "span", { class: "right" },
      button("+", "zoom in", () => this.zoom(0.5)),
      button("−", "zoom out", () => this.zoom(2)),
      button("all", "show the whole run", () => this.show(0, this.last))));
    this.plot = element("svg:svg", {
      class: "plot", tabindex: 0, role: "img",
      "aria-label": "ELBO per image over the iterations; plus and minus zoom, the arrow keys move, 0 shows all",
    });
    this.output = element("output");
    parent.append(tools, this.plot, this.output);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.plot);
    this.say("Drag over a range to zoom in, double-click to see all. Keys: + − ← → 0.");
  }

  key(one) {
    const line = element("svg:path", {
      d: "M0 5H22", stroke: one.colour, "stroke-width": one.faint ? 1 : 2, opacity: one.faint ? 0.5 : 1, "stroke-dasharray": one.dashed ? "5 3" : "none" });
    return element("span", { class: "key" }, element("svg:svg", { width: 22, height: 10 }, line), one.name);
  }

  listen() {
    let start = null;
    const at = event => event.clientX - this.plot.getBoundingClientRect().left;
    this.plot.addEventListener("pointerdown", event => {
      start = at(event);
      this.plot.setPointerCapture(event.pointerId);
    });
    this.plot.addEventListener("pointermove", event => {
      if (start === null) this.read(this.iteration(at(event)));
      else this.mark(start, at(event));
    });
    this.plot.addEventListener("pointerup", event => {
      const end = at(event);
      if (start !== null && Math.abs(end - start) > 8) {
        this.show(...[this.iteration(start), this.iteration(end)].sort((a, b) => a - b));
      }
      start = null;
    });
    this.plot.addEventListener("pointercancel", () => { start = null; this.draw(); });
    this.plot.addEventListener("dblclick", () => this.show(0, this.last));
    this.plot.addEventListener("keydown", event => {
      const step = (this.range[1] - this.range[0]) / 5;
      const acts = {
        "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2),
        "0": () => this.show(0, this.last), ArrowLeft: () => this.move(-step), ArrowRight: () => this.move(step),
      };
      if (!(event.key in acts) || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      acts[event.key]();
    });
  }

  zoom(factor) {
    const [from, to] = this.range, middle = (from + to) / 2, half = (to - from) / 2 * factor;
    this.show(middle - half, middle + half);
  }

  move(step) {
    const moved = clamp(step, -this.range[0], this.last - this.range[1]);
    this.show(this.range[0] + moved, this.range[1] + moved);
  }

  show(from, to) {
    const least = Math.min(4, this.last);
    from = clamp(from, 0, this.last - least);
    this.range = [from, clamp(to, from + least, this.last)];
    this.draw();
    this.say(`iterations ${Math.ceil(this.range[0]).toLocaleString("en")} to ` +
      `${Math.floor(this.range[1]).toLocaleString("en")}`);
  }

  say(text) { this.output.textContent = text; }

  iteration(x) {
    const { left, width } = this.box;
    return this.range[0] + clamp((x - left) / width, 0, 1) * (this.range[1] - this.range[0]);
  }

  read(iteration) {
    const near = points => points.reduce((a, b) => Math.abs(b[0] - iteration) < Math.abs(a[0] - iteration) ? b : a);
    const values = this.series.map(one => [one.name, near(one.points)[1]]);
    this.say(`iteration ${Math.round(iteration).toLocaleString("en")}: ` +
      values.map(([name, value]) => `${name} ${value.toFixed(2)}`).join(", "));
  }

  // The range of values to draw: all that are in view, unless a few at the start would flatten the rest.
  heights() {
    const values = this.series.flatMap(one => one.points.filter(([x]) => x >= this.range[0] && x <= this.range[1]))
      .map(([, y]) => y).sort((a, b) => a - b);
    if (!values.length) return [0, 1, false];
    const high = values[values.length - 1], most = values[Math.floor(values.length * 0.05)];
    const cut = values[0] < most - 1.5 * (high - most);
    const low = cut ? most - 0.3 * (high - most) : values[0], pad = (high - low) * 0.05 || 1;
    return [low - pad, high + pad, cut];
  }

  draw() {
    const width = this.plot.clientWidth, height = this.plot.clientHeight;
    if (!width) return;
    const [low, high, cut] = this.heights();
    const box = this.box = { left: 62, top: 8, width: width - 92, height: height - 48 };
    const x = value => box.left + (value - this.range[0]) / (this.range[1] - this.range[0]) * box.width;
    const y = value => box.top + (high - value) / (high - low) * box.height;
    const parts = [element("svg:clipPath", { id: "inside" }, element("svg:rect",
      { x: box.left, y: box.top, width: box.width, height: box.height }))];
    const text = (label, at, anchor) => parts.push(element("svg:text", { ...at, "text-anchor": anchor }, label));
    for (const value of ticks(low, high, 5)) {
      parts.push(element("svg:path", { class: "grid", d: `M${box.left} ${y(value)}h${box.width}` }));
      text(value.toLocaleString("en"), { x: box.left - 8, y: y(value) + 4 }, "end");
    }
    for (const value of ticks(...this.range, width < 500 ? 4 : 8)) {
      text(value.toLocaleString("en"), { x: x(value), y: box.top + box.height + 18 }, "middle");
    }
    text("iteration", { x: box.left + box.width / 2, y: height - 6 }, "middle");
    text("nats", { x: 4, y: box.top + 10 }, "start");
    if (cut) text("the start lies below", { x: box.left + 8, y: box.top + box.height - 8 }, "start");
    for (const one of this.series) {
      const d = one.points.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
      parts.push(element("svg:path", {
        d, fill: "none", stroke: one.colour, "stroke-width": one.faint ? 1 : 2, opacity: one.faint ? 0.3 : 1,
        "stroke-dasharray": one.dashed ? "6 4" : "none", "stroke-linejoin": "round", "clip-path": "url(#inside)" }));
      if (one.points.length < 60 && !one.faint) {
        for (const [a, b] of one.points) {
          parts.push(element("svg:circle",
            { cx: x(a), cy: y(b), r: 3, fill: one.colour, "clip-path": "url(#inside)" }));
        }
      }
    }
    this.marked = element("svg:rect", { class: "range", y: box.top, height: box.height, width: 0 });
    this.plot.replaceChildren(...parts, this.marked);
  }

  mark(start, end) {
    this.marked.setAttribute("x", Math.min(start, end));
    this.marked.setAttribute("width", Math.abs(end - start));
  }
}

// Round numbers within a range, about `count` of them.
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(one => one >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

// The running mean of a curve, over a fiftieth of it.
function smoothed(points) {
  const window = Math.max(1, Math.floor(points.length / 50));
  let sum = 0;
  return points.map(([x, y], i) => {
    sum += y - (i >= window ? points[i - window][1] : 0);
    return [x, sum / Math.min(i + 1, window)];
  });
}
