/** What a person should know about a result: unknown words, what the numbers are, and how good. */

import { changed } from "./address.js";
import { h } from "./elements.js";
import { likeliest } from "./ranking.js";
import { count, decimal, listed, percent } from "./wording.js";

const DEEPER = 4;
const MOST_CANDIDATES = 1024;
const LIKELY = 0.5;

let calibrate = () => {};

/** Say what the button "Calibrate" does. */
export function onCalibrate(act) {
  calibrate = act;
}

/**
 * Write the sentences about a page of hits.
 * @returns {HTMLElement[]}
 */
export function notesOf(page, at, known, isUnreached) {
  return [
    isUnreached && note("The precision of this address cannot be had in this gallery, so all hits are shown."),
    unknownWords(page),
    howFound(page, at),
    page.stages === "itc+itm" && howSure(page.calibration, known.detail),
  ].filter(Boolean);
}

/** A link to the same query among more candidates; nothing where there are none. */
export function deeper(hits, detail) {
  const more = Math.min(MOST_CANDIDATES, DEEPER * hits.length, detail?.items ?? 0);
  return more > hits.length
    ? h("a", { href: changed({ candidates: more, depth: null }) }, `Look among ${count(more, "candidate")}`)
    : null;
}

/** The sentence about the words that a model does not know. */
export function unknownSentence(words, what = "It searched without") {
  if (!words.length) return "";
  const [noun, them] = words.length === 1 ? ["the word", "it"] : ["the words", "them"];
  return `The model does not know ${noun} ${listed(words.map((word) => `“${word}”`))}. ${what} ${them}.`;
}

/** The sentence about how well match probabilities are calibrated. */
export function calibrationSentence(calibration) {
  const { queries, ece, is_current: isCurrent } = calibration;
  const words = `Match probabilities are calibrated on ${count(queries, "query", "queries")}, expected calibration error ${decimal(ece)}.`;
  return isCurrent ? words : `${words} The gallery has changed since.`;
}

/** Whether a gallery has what a calibration needs. */
export function canCalibrate(detail) {
  return Boolean(detail?.matcher && (detail.pairs > 0 || detail.captioner));
}

function unknownWords(page) {
  const text = unknownSentence(page.unknown_words);
  return text && h("p", { id: "unknown-words", class: "note is-warning" }, text);
}

function howFound(page, { q }) {
  if (page.stages === "names")
    return note("This gallery has no model: the hits are found by names and captions, and have no scores.");
  if (page.stages !== "itc") return null;
  return note(
    q
      ? "The number of a hit is its ITC similarity: no matcher has read these pictures."
      : "The number of a hit is its ITC similarity, from −1 to 1. The matcher needs words: add some to have the order checked.",
  );
}

function howSure(calibration, detail) {
  if (calibration)
    return note(
      calibrationSentence(calibration),
      calibration.is_current === false && canCalibrate(detail) ? button("Calibrate again") : null,
    );
  return note(
    "Match probabilities are the softmax of the ITM head, not calibrated.",
    canCalibrate(detail) ? button("Calibrate") : null,
  );
}

/** What is unlikely among the first candidates may be there among more. */
export function howDeep({ hits }, detail) {
  const best = likeliest(hits);
  if (!best || best.match_probability >= LIKELY || !deeper(hits, detail)) return [];
  return [h("span", {}, `The best is ${percent(best.match_probability)}. `, deeper(hits, detail))];
}

function button(words) {
  return h("button", { type: "button", class: "text", click: calibrate }, words);
}

function note(text, ...more) {
  return h(
    "p",
    { class: "note" },
    text,
    more.filter(Boolean).map((one) => [" ", one]),
  );
}
