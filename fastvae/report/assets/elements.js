"use strict";

// An element with attributes and children; `svg:` before its name makes it one of SVG.
function element(name, attributes = {}, ...children) {
  const made = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Colours that colour-blind people tell apart (Okabe and Ito; Tol), each with a shape of its own beside it.
const PALETTE = [
  "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#b8a900", "#882255", "#44aa99", "#7f7f7f",
];
const SHAPES = [
  "M-1-1H1V1H-1Z", // square
  "M0-1.3L1.2 .9H-1.2Z", // triangle
  "M0-1.4L1.4 0L0 1.4L-1.4 0Z", // diamond
  "M-.4-1.3H.4V-.4H1.3V.4H.4V1.3H-.4V.4H-1.3V-.4H-.4Z", // cross
  "M1.1 0A1.1 1.1 0 1 1-1.1 0A1.1 1.1 0 1 1 1.1 0Z", // circle
];
const colourOf = i => PALETTE[i % PALETTE.length];
// Colours repeat after ten, shapes after five, shifted by one each time: fifty pairs.
const shapeOf = i => SHAPES[(i + Math.floor(i / PALETTE.length)) % SHAPES.length];

function marker(i) {
  const path = element("svg:path", { d: shapeOf(i), transform: "scale(4.2)", fill: colourOf(i) });
  return element("svg:svg", { width: 14, height: 14, viewBox: "-7 -7 14 14", "aria-hidden": "true" }, path);
}
