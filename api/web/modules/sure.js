/** How sure a hit is, and why: every number says what it is. */

import { hasQuery, place } from "./address.js";
import { h, icon } from "./elements.js";
import { calibrationSentence, canCalibrate } from "./notes.js";
import { decimal, percent } from "./wording.js";

/**
 * Say how sure a hit is and where it came from.
 * @param {number} id
 * @param {import("./card.js").Around} around
 */
export function howSure(id, around) {
  const known = around.hitOf(id);
  if (!known) return notAmong(around);
  const { hit, place: at, setting, query } = known;
  return h(
    "section",
    { class: "sure", "aria-label": "How sure" },
    query && h("p", { class: "sure-query" }, `“${query}”`),
    probability(hit, setting, around),
    ranks(hit, at, setting),
    scores(hit),
    hit.stale && h("p", { class: "note is-warning" }, "The file has changed since it was indexed."),
  );
}

/** What is said of a picture that is no hit: nothing, unless hits are shown. */
function notAmong(around) {
  const isSearched = hasQuery(place()) && around.ids().length > 0;
  return h(
    "section",
    { class: "sure", "aria-label": "How sure", hidden: !isSearched },
    h("p", { class: "note" }, "This picture is not among the hits of the query."),
  );
}

function probability(hit, { stages, isCalibrated }, around) {
  const p = hit.match_probability;
  if (p === null)
    return h(
      "p",
      { class: "note" },
      stages === "names" ? "Found by its name or caption; there is no score." : "No matcher has read this picture.",
    );
  return [
    h(
      "p",
      { class: "sure-number" },
      h("strong", {}, percent(p)),
      " match probability",
      isCalibrated ? "" : " · not calibrated",
    ),
    meter(p),
    isCalibrated ? calibrated(around) : uncalibrated(around),
  ];
}

function meter(p) {
  const bar = h(
    "div",
    {
      class: "meter",
      role: "meter",
      "aria-label": "Match probability",
      "aria-valuemin": 0,
      "aria-valuemax": 100,
      "aria-valuenow": (100 * p).toFixed(1),
      "aria-valuetext": percent(p),
    },
    h("span", {}),
  );
  bar.firstChild.style.width = `${100 * p}%`;
  return bar;
}

function calibrated(around) {
  const calibration = around.calibrationOf() ?? around.detailOf()?.calibration;
  return calibration ? h("p", { class: "note" }, calibrationSentence(calibration, around.detailOf())) : "";
}

function uncalibrated(around) {
  if (!canCalibrate(around.detailOf())) return "";
  const button = h("button", { type: "button", class: "text", click: () => start() }, "Calibrate this gallery");
  const start = () => {
    button.disabled = true;
    around.calibrate().then(
      () => button.replaceWith("Calibrating. The numbers follow by themselves."),
      (error) => button.replaceWith(error.message),
    );
  };
  return h("p", { class: "note" }, button);
}

function ranks(hit, at, { stages }) {
  if (hit.itc_rank === null) return h("p", { class: "ranks" }, `Rank ${at}`);
  if (stages !== "itc+itm") return h("p", { class: "ranks" }, `ITC rank ${hit.itc_rank}`);
  const change = hit.itc_rank - at;
  const words = change > 0 ? `up ${change}` : change < 0 ? `down ${-change}` : "stays";
  const name = change > 0 ? "up" : change < 0 ? "down" : "same";
  return h(
    "p",
    { class: "ranks" },
    h("span", {}, `ITC ${hit.itc_rank} → final ${at}`),
    h("span", { class: `change ${name}` }, icon(name), words),
  );
}

function scores(hit) {
  const parts = [];
  if (hit.itc_similarity !== null) parts.push(["ITC similarity", decimal(hit.itc_similarity)]);
  if (hit.itm_logit !== null) parts.push(["ITM logit", decimal(hit.itm_logit, 2)]);
  return parts.length
    ? h(
        "dl",
        { class: "scores" },
        parts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
      )
    : "";
}
