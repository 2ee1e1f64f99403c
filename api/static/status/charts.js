// One small chart: a line over the last five minutes, with its highest value and a sentence for
// screen readers. Knows rows of numbers, not what they mean.

import { element } from "../dom.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 60;
export const SECONDS = 300;
const GAP_S = 6; // a longer pause between rows is a gap in the line: no worker reported

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** The smallest round number (1, 2 or 5 times a power of ten) that is not below the value. */
export function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((round) => round >= value * 0.999);
}

/** The rows that have a value, split at gaps. */
export function segments(rows, value) {
  const parts = [];
  let last = -Infinity;
  for (const row of rows) {
    if (value(row) === null) continue;
    if (row.at - last > GAP_S) parts.push([]);
    parts.at(-1).push(row);
    last = row.at;
  }
  return parts;
}

export class Chart {
  /** `value(row)` is a number or null; `format` turns it into text. */
  constructor(title, value, format) {
    this.title = title;
    this.value = value;
    this.format = format;
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line" });
    this.picture =
      svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.picture.append(
      svg("path", { class: "frame", d: `M0 0H${WIDTH}M0 ${HEIGHT}H${WIDTH}` }), this.area,
        this.line);
    this.most = element("span", { class: "most", "aria-hidden": "true" });
    this.now = element("span");
    this.element = element("figure", { class: "chart" },
      element("figcaption", {}, element("span", {}, title), this.now),
      element("div", { class: "plot" }, this.picture, this.most),
      element("div", { class: "axis", "aria-hidden": "true" }, element("span", {}, "5 min ago"),
        element("span", {}, "now")));
  }

  /** Draw rows, oldest first; `until` is the time of the right edge, seconds. */
  draw(rows, until) {
    const values = rows.map(this.value).filter((one) => one !== null);
    const most = ceiling(Math.max(0, ...values));
    const x = (row) => (((row.at - until) / SECONDS + 1) * WIDTH).toFixed(1);
    const y = (row) => (HEIGHT - (this.value(row) / most) * HEIGHT).toFixed(1);
    const parts = segments(rows, this.value);
    const lines = parts.map((part) =>
      `M${part.map((row) => `${x(row)} ${y(row)}`).join("L")}${part.length > 1 ? "" : "h0.1"}`);
    this.line.setAttribute("d", lines.join(""));
    this.area.setAttribute("d", parts.map((part, index) =>
      `${lines[index]}L${x(part.at(-1))} ${HEIGHT}L${x(part[0])} ${HEIGHT}Z`).join(""));
    const current = values.length ? this.format(values.at(-1)) : "–";
    if (this.now.textContent !== current) this.now.textContent = current;
    this.most.textContent = values.length ? this.format(most) : "";
    const summary = values.length ? `last ${current}, highest ${this.format(Math.max(...values))}`
      : "nothing yet";
    this.picture.setAttribute("aria-label", `${this.title} over the last five minutes: ${summary}`);
  }
}
