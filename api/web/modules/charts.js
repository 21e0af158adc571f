/** Curves as drawings, each with the same numbers as a table. Values are shares between 0 and 1. */

import { h, svg } from "./elements.js";
import { amount } from "./wording.js";

const [WIDTH, HEIGHT] = [440, 300];
const EDGE = { left: 46, right: 16, top: 14, bottom: 44 };
const SHARES = [0, 0.25, 0.5, 0.75, 1];
/** More points than this are a line without dots. */
const MOST_DOTS = 12;
let drawn = 0;

/**
 * A line of a chart.
 * @typedef {object} Series
 * @property {string} name
 * @property {"before"|"after"|"ideal"} look
 * @property {[number, number][]} points
 * @property {number[]} [weights]     how large each point is drawn, as a dot on its own; without them a line joins all
 */

/**
 * Draw lines over an axis.
 * @param {object} chart
 * @param {string} chart.title
 * @param {string} chart.about     a sentence that says what is to be seen
 * @param {string} chart.across    what the axis across says
 * @param {string} chart.up        what the axis up says
 * @param {number[]} chart.ticks   values on the axis across
 * @param {boolean} [chart.isLog]
 * @param {Series[]} chart.series
 * @param {{head: string[], rows: (string|number)[][]}} chart.numbers
 * @returns {HTMLElement}
 */
export function chart({ title, about, across, up, ticks, isLog = false, series, numbers }) {
  drawn += 1;
  const names = { title: `chart-${drawn}-title`, about: `chart-${drawn}-about` };
  const x = scale([...ticks, ...series.flatMap((one) => one.points.map(([at]) => at))], isLog);
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-labelledby": names.title, "aria-describedby": names.about },
    svg("title", { id: names.title }, title),
    svg("desc", { id: names.about }, about),
    axes(x, ticks, across, up),
    series.map((one) => line(one, x)),
  );
  return h(
    "figure",
    { class: "chart" },
    h("figcaption", {}, h("h3", {}, title), legend(series)),
    drawing,
    table(title, numbers),
  );
}

function axes(x, ticks, across, up) {
  const bottom = HEIGHT - EDGE.bottom;
  return svg(
    "g",
    { class: "axes", "aria-hidden": "true" },
    SHARES.map((share) => [
      svg("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(share), y2: y(share) }),
      svg("text", { x: EDGE.left - 8, y: y(share) + 4, "text-anchor": "end" }, `${100 * share}`),
    ]),
    ticks.map((tick) =>
      svg(
        "text",
        { x: x(tick), y: bottom + 18, "text-anchor": "middle" },
        tick < 1 && tick > 0 ? `${100 * tick}` : amount(tick === 1 && Math.max(...ticks) === 1 ? 100 : tick),
      ),
    ),
    svg("text", { x: (EDGE.left + WIDTH - EDGE.right) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, across),
    svg("text", { transform: `translate(12 ${(EDGE.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, up),
  );
}

function line({ name, look, points, weights }, x) {
  const path = points.map(([at, share], i) => `${i ? "L" : "M"}${x(at).toFixed(1)} ${y(share).toFixed(1)}`).join("");
  const most = Math.max(1, ...(weights ?? []));
  const radius = (i) => (weights ? 2.5 + 7 * Math.sqrt(weights[i] / most) : 3);
  const dots =
    look === "ideal" || (!weights && points.length > MOST_DOTS)
      ? []
      : points.map(([at, share], i) =>
          svg(
            "circle",
            { cx: x(at), cy: y(share), r: radius(i).toFixed(1) },
            svg("title", {}, `${name}: ${(100 * share).toFixed(1)} %`),
          ),
        );
  return svg("g", { class: `series ${look}` }, weights ? [] : svg("path", { d: path }), dots);
}

function legend(series) {
  return h(
    "p",
    { class: "legend", "aria-hidden": "true" },
    series.map(({ name, look }) => h("span", { class: look }, name)),
  );
}

function table(title, { head, rows }) {
  const [first, ...others] = head;
  return h(
    "details",
    {},
    h("summary", {}, "Numbers"),
    h(
      "div",
      { class: "scrolls", tabindex: 0, role: "region", "aria-label": `Numbers: ${title}` },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, first),
            others.map((words) => h("th", { scope: "col" }, words)),
          ),
        ),
        h(
          "tbody",
          {},
          rows.map(([name, ...values]) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, name),
              values.map((value) => h("td", {}, value)),
            ),
          ),
        ),
      ),
    ),
  );
}

/** From a value to its place across, so that all of these have one. */
function scale(values, isLog) {
  const bend = isLog ? Math.log : Number;
  const [least, most] = [bend(Math.min(...values)), bend(Math.max(...values))];
  const room = WIDTH - EDGE.left - EDGE.right;
  return (value) => EDGE.left + (room * (bend(value) - least)) / (most - least || 1);
}

/** From a share to its place up. */
function y(share) {
  return EDGE.top + (1 - share) * (HEIGHT - EDGE.top - EDGE.bottom);
}
