"use strict";

// A plane of the latent space with the images' latent means, and the decoder's image under the pointer.
class Explorer {
  constructor(parent, results) {
    Object.assign(this, results);
    this.at = [0, 0];
    this.focus = null; // the class that is shown alone
    this.classes = this.labels === null ? [] : [...new Set(this.labels)].sort((a, b) => a - b);
    const index = new Map(this.classes.map((label, i) => [label, i]));
    this.classOf = this.labels === null ? null : this.labels.map(label => index.get(label));
    this.plane = element("canvas", {
      class: "plane", tabindex: 0, role: "application",
      "aria-label": "latent plane: the arrow keys move, Home goes to the origin",
    });
    this.decoded = element("canvas", { class: "decoded", role: "img", "aria-label": "the decoded image" });
    this.output = element("output");
    parent.append(this.tools(), element("div", { class: "panes" }, this.plane,
      element("div", { class: "side" }, this.decoded, this.output, this.legend())));
    this.moved = () => {}; // called with the place where the pointer went
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.plane);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    this.ready = this.choose(0);
  }

  tools() {
    const check = (text, act) => element("label", {},
      element("input", { type: "checkbox", onchange: event => act(event.target.checked) }), text);
    const parts = [check("decoded images behind the points", on => { this.tiled = on; this.draw(); })];
    if (this.planes.length > 1) {
      const name = plane => plane.axes.map(axis => `latent ${axis + 1}`).join(" and ");
      parts.unshift(element("label", {}, "axes", element("select", {
        onchange: event => this.choose(Number(event.target.value)),
      }, ...this.planes.map((plane, i) => element("option", { value: i }, name(plane))))));
    }
    return element("div", { class: "tools" }, ...parts);
  }

  legend() {
    const named = label => this.names && this.names[label] || String(label);
    const button = (label, i) => element("button", {
      type: "button", "aria-pressed": "false", title: `show only images of class ${named(label)}`,
      onclick: event => {
        const on = this.focus !== i;
        for (const other of event.currentTarget.parentNode.children) other.setAttribute("aria-pressed", "false");
        event.currentTarget.setAttribute("aria-pressed", String(on));
        this.focus = on ? i : null;
        this.draw();
      },
    }, marker(i), named(label));
    return element("div", { class: "legend", role: "group", "aria-label": "classes" }, ...this.classes.map(button));
  }

  listen() {
    const pointed = event => {
      const box = this.plane.getBoundingClientRect();
      const share = (value, start, size) => clamp((value - start) / size, 0, 1) * 2 - 1;
      this.go(share(event.clientX, box.left, box.width) * this.extent,
        -share(event.clientY, box.top, box.height) * this.extent);
    };
    this.plane.addEventListener("pointermove", pointed);
    this.plane.addEventListener("pointerdown", pointed);
    this.plane.addEventListener("keydown", event => {
      const step = event.shiftKey ? 0.5 : 0.1, [x, y] = this.at;
      const goals = {
        ArrowLeft: [x - step, y], ArrowRight: [x + step, y], ArrowUp: [x, y + step], ArrowDown: [x, y - step],
        Home: [0, 0],
      };
      if (!(event.key in goals)) return;
      event.preventDefault();
      this.go(...goals[event.key]);
    });
  }

  // Take another pair of latents for the axes.
  async choose(i) {
    const plane = this.planes[i];
    if (!plane.pixels) {
      plane.image = new Image();
      plane.image.src = plane.sheet;
      await plane.image.decode();
      const { naturalWidth: width, naturalHeight: height } = plane.image;
      const context = element("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
      context.drawImage(plane.image, 0, 0);
      plane.pixels = context.getImageData(0, 0, width, height).data;
    }
    this.shown = plane;
    [, this.decoded.height, this.decoded.width] = plane.tile;
    this.points = this.positions(plane.axes);
    this.draw();
    this.go(...this.at, false);
  }

  // Where the points are, one row a latent; with one latent they are spread over the height.
  positions(axes) {
    const row = axis => this.means[this.axes.indexOf(axis)];
    const xs = row(axes[0]);
    return [xs, axes.length > 1 ? row(axes[1]) : xs.map((_, i) => ((i * 0.618034) % 1 - 0.5) * this.extent)];
  }

  go(x, y, tell = true) {
    this.at = [clamp(x, -this.extent, this.extent), clamp(y, -this.extent, this.extent)];
    if (this.shown) {
      this.decode();
      this.draw();
      this.output.textContent = this.shown.axes
        .map((axis, i) => `latent ${axis + 1} = ${this.at[i].toFixed(2)}`).join(", ")
        + (this.nLatent > 2 ? ", all others 0" : "");
    }
    if (tell) this.moved(this.at);
  }

  // The image at the place, between the four decoded images around it.
  decode() {
    const { columns, rows, tile: [, height, width], pixels } = this.shown;
    const place = (value, count) => {
      const exact = (value / this.extent + 1) / 2 * (count - 1), first = clamp(Math.floor(exact), 0, count - 2);
      return [first, exact - first];
    };
    const [column, right] = place(this.at[0], columns);
    const [row, down] = rows > 1 ? place(-this.at[1], rows) : [0, 0];
    const below = rows > 1 ? height * columns * width * 4 : 0;
    const context = this.decoded.getContext("2d", { willReadFrequently: true }), image = context.createImageData(width, height);
    for (let i = 0; i < height; i++) {
      let from = ((row * height + i) * columns + column) * width * 4;
      for (let to = i * width * 4; to < (i + 1) * width * 4; to++, from++) {
        const above = pixels[from] * (1 - right) + pixels[from + width * 4] * right;
        const under = pixels[from + below] * (1 - right) + pixels[from + below + width * 4] * right;
        image.data[to] = above * (1 - down) + under * down;
      }
    }
    context.putImageData(image, 0, 0);
  }

  draw() {
    const size = this.plane.clientWidth * devicePixelRatio;
    if (!size || !this.shown) return;
    if (this.plane.width !== Math.round(size)) this.plane.width = this.plane.height = Math.round(size);
    const context = this.plane.getContext("2d"), scale = size / (2 * this.extent);
    const x = value => (value + this.extent) * scale, y = value => (this.extent - value) * scale;
    context.fillStyle = style("--paper");
    context.fillRect(0, 0, size, size);
    if (this.tiled) this.drawTiles(context, size);
    this.drawAxes(context, size, x, y);
    this.drawPoints(context, x, y);
    context.strokeStyle = this.tiled ? "#ff3b30" : style("--ink");
    context.lineWidth = 1.5 * devicePixelRatio;
    const reach = 9 * devicePixelRatio;
    context.beginPath();
    context.arc(x(this.at[0]), y(this.at[1]), reach * 0.6, 0, 7);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x(this.at[0]) + dx * reach * 0.6, y(this.at[1]) + dy * reach * 0.6);
      context.lineTo(x(this.at[0]) + dx * reach * 1.6, y(this.at[1]) + dy * reach * 1.6);
    }
    context.stroke();
  }

  // As many of the sheet's images as can be recognised, each where it was decoded.
  drawTiles(context, size) {
    const { columns, rows, image, tile: [, height, width] } = this.shown;
    const count = Math.min(columns, Math.max(5, Math.floor(this.plane.clientWidth / 44))), cell = size / count;
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < count; j++) {
        const place = (k, of) => Math.round((k + 0.5) / count * (of - 1)), row = rows > 1 ? place(i, rows) : 0;
        context.drawImage(image, place(j, columns) * width, row * height, width, height, j * cell, i * cell, cell, cell);
      }
    }
  }

  drawAxes(context, size, x, y) {
    context.lineWidth = devicePixelRatio;
    context.strokeStyle = style("--line");
    context.fillStyle = style("--faint");
    context.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    for (const value of this.tiled ? [] : ticks(-this.extent, this.extent, 6)) {
      context.strokeRect(x(value), 0, 0, size);
      context.strokeRect(0, y(value), size, 0);
    }
    if (this.tiled) return;
    const gap = 6 * devicePixelRatio;
    for (const value of ticks(-this.extent, this.extent, 6)) {
      if (Math.abs(value) > 0.9 * this.extent) continue;
      context.fillText(value, x(value) + gap / 2, size - gap);
      if (this.shown.axes.length > 1) context.fillText(value, gap, y(value) - gap / 2);
    }
    context.textAlign = "right";
    context.fillText(`latent ${this.shown.axes[0] + 1} →`, size - gap, size - 3.5 * gap);
    context.textAlign = "left";
    if (this.shown.axes.length > 1) context.fillText(`↑ latent ${this.shown.axes[1] + 1}`, gap, 3 * gap);
  }

  drawPoints(context, x, y) {
    const [xs, ys] = this.points, size = 2.6 * devicePixelRatio;
    const shapes = this.classes.length ? this.classes.map((_, i) => new Path2D(shapeOf(i))) : [new Path2D(SHAPES[4])];
    xs.forEach((value, i) => {
      const kind = this.classOf ? this.classOf[i] : 0;
      if (this.focus !== null && kind !== this.focus) return;
      context.setTransform(size, 0, 0, size, x(value), y(ys[i]));
      context.fillStyle = colourOf(kind);
      context.globalAlpha = 0.75;
      context.fill(shapes[kind]);
    });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
  }
}
