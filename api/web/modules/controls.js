/** The settings of a search: how many candidates, how deep they are reranked, how likely a match must be. */

import { amend, go, place } from "./address.js";
import { byId, h } from "./elements.js";
import { thresholdFor } from "./ranking.js";
import { percent } from "./wording.js";

const CHOICES = [16, 32, 64, 128, 256, 512, 1024];
const MOST_CANDIDATES = 2000;
const PRECISIONS = [0.5, 0.8, 0.9, 0.95, 0.99];
const parts = {};

/** Build the controls once. */
export function wireControls() {
  parts.candidates = h("select", {
    id: "candidates",
    change: () => go({ candidates: Number(parts.candidates.value) || null, depth: null }),
  });
  parts.depth = slider("depth", "Candidates reranked", (value) =>
    amend({ depth: value === Number(parts.depth.max) ? null : value }),
  );
  parts.match = slider("match", "Minimum match probability", (value) =>
    amend({ min: value ? value / 100 : null, precision: null }),
  );
  parts.precision = h("select", { id: "precision", change: choosePrecision });
  const least = percent(PRECISIONS[0]);
  parts.unreached = h("p", { class: "note" }, `By the calibration, no minimum has a precision of ${least}.`);
  byId("controls")
    .querySelector(".controls-row")
    .append(
      control("Candidates", parts.candidates, "How many pictures the first stage (ITC) hands to the matcher (ITM)"),
      control("Candidates reranked", parts.depth, "Shows the order as if only so many had been reranked", true),
      control("Minimum match probability", parts.match, "Hides the hits below it", true),
      control("Precision wanted", parts.precision, "Sets the minimum by what the calibration has measured"),
      parts.unreached,
    );
  const wide = matchMedia("(min-width: 720px)");
  const fold = () => (byId("controls").open = wide.matches);
  wide.addEventListener("change", fold);
  fold();
}

/**
 * Let the controls show what a result offers.
 * @param {object} offer
 * @param {number} offer.usual       candidates where the address names no number
 * @param {number} offer.items       how many pictures the gallery holds
 * @param {number} offer.judged      how many the matcher reads
 * @param {number} offer.depth
 * @param {number|null} offer.threshold
 * @param {object|null} offer.calibration
 * @param {boolean} offer.isReranked
 */
export function showControls({ usual, items, judged, depth, threshold, calibration, isReranked }) {
  byId("controls").hidden = !isReranked;
  if (!isReranked) return;
  const { candidates, precision } = place();
  fillCandidates(candidates, usual, items);
  parts.depth.max = judged;
  set(parts.depth, depth, `${depth} of ${judged}`);
  set(parts.match, Math.round(100 * (threshold ?? 0)), threshold ? percent(threshold) : "any");
  fillPrecisions(calibration, precision);
}

/** Put the controls away: nothing is searched. */
export function hideControls() {
  byId("controls").hidden = true;
}

function slider(id, label, act) {
  return h("input", {
    id,
    type: "range",
    min: 0,
    max: 100,
    step: 1,
    "aria-label": label,
    input: (event) => act(Number(event.target.value)),
  });
}

function control(label, input, hint, isSlider = false) {
  const name = h("label", { for: input.id }, label);
  return h("div", { class: "control", title: hint }, name, input, isSlider && h("output", { for: input.id }));
}

function set(input, value, words) {
  if (Number(input.value) !== value) input.value = value;
  input.setAttribute("aria-valuetext", words);
  input.style.setProperty("--part", `${(100 * value) / (Number(input.max) || 1)}%`);
  input.parentElement.querySelector("output").textContent = words;
}

/** No more than the gallery holds: what is beyond that is all of it. */
function fillCandidates(chosen, usual, items) {
  const most = Math.min(items, MOST_CANDIDATES);
  const [here, wanted] = [Math.min(usual, most), Math.min(chosen ?? usual, most)];
  const all = items <= MOST_CANDIDATES ? [items] : [];
  const numbers = [...new Set([...CHOICES.filter((n) => n < most), ...all, here, wanted])];
  const words = (n) => `${n === items ? "all " : ""}${n}${n === here ? " (usual)" : ""}`;
  const options = numbers
    .sort((one, other) => one - other)
    .map((n) => h("option", { value: n === here ? "" : n }, words(n)));
  refill(parts.candidates, options);
  parts.candidates.value = wanted === here ? "" : String(wanted);
}

function fillPrecisions(calibration, chosen) {
  const wanted = [...new Set([...PRECISIONS, ...(chosen === null ? [] : [chosen])])].sort();
  const rules = wanted
    .map((precision) => [precision, thresholdFor(precision, calibration)])
    .filter(([, threshold]) => threshold !== null);
  parts.precision.parentElement.hidden = !rules.length;
  parts.unreached.hidden = rules.length > 0 || !calibration;
  const options = rules.map(([precision, threshold]) =>
    h("option", { value: precision }, `${percent(precision)} → at least ${percent(threshold)}`),
  );
  refill(parts.precision, [h("option", { value: "" }, "Any"), ...options]);
  parts.precision.value = chosen === null ? "" : String(chosen);
  parts.rules = calibration;
}

/** Give a select its options, unless it has them: one that is open would close. */
function refill(select, options) {
  const same =
    options.length === select.options.length && options.every((one, at) => one.isEqualNode(select.options[at]));
  if (!same) select.replaceChildren(...options);
}

function choosePrecision() {
  const wanted = Number(parts.precision.value) || null;
  amend({ precision: wanted, min: wanted === null ? null : thresholdFor(wanted, parts.rules) });
}
