/** What a person should know about a result: unknown words, what the numbers are, and how good. */

import { changed, place } from "./address.js";
import { h } from "./elements.js";
import { likeliest } from "./ranking.js";
import { count, decimal, listed, percent } from "./wording.js";

const DEEPER = 4;
const MOST_CANDIDATES = 2000;
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
export function notesOf(page, at, known, remark) {
  return [
    remark && note(remark),
    unknownWords(page),
    page.stages === "names" ? note(...withoutModel()) : howFound(page, at),
    page.stages !== "itc+itm" && countsNot(place()),
    page.stages === "itc+itm" && howSure(page.calibration, known.detail),
  ].filter(Boolean);
}

/** What a gallery without a model can do, and how to have one with a model. */
export function withoutModel() {
  return [
    "Names and captions are searched, and not what the pictures show: this gallery was made without a model. Choose a model when you make a gallery, or on the server: ",
    h("code", {}, "sightline index FOLDER ", whole("--gallery NEW"), " ", whole("--model blip-itm-base-coco")),
  ];
}

/** Words of a command that stay on one line. */
function whole(words) {
  return h("span", { class: "whole" }, words);
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
export function calibrationSentence(calibration, detail) {
  const { queries, source, ece, is_current: isCurrent } = calibration;
  const writer = detail?.captioner ?? "a model";
  const what =
    source === "captions"
      ? `${count(queries, "caption")} that ${writer} wrote itself`
      : count(queries, "query", "queries");
  const words = `Match probabilities are calibrated on ${what}, expected calibration error ${decimal(ece)}.`;
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

/** A threshold of the address has nothing to hold against hits that no matcher has read. */
function countsNot({ min, precision }) {
  if (min === null && precision === null) return null;
  const what = precision === null ? "The minimum match probability" : "The precision";
  return note(`${what} of this address does not count here: no matcher has read these pictures.`);
}

function howFound(page, { q }) {
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
      calibrationSentence(calibration, detail),
      calibration.is_current === false && canCalibrate(detail) ? button("Calibrate again") : null,
    );
  return note(
    "Match probabilities are the softmax of the ITM head, not calibrated.",
    canCalibrate(detail) ? button("Calibrate") : null,
  );
}

/** What is not among the first candidates may be there among more. */
export function howDeep({ hits }, detail) {
  const [best, more] = [likeliest(hits), deeper(hits, detail)];
  if (!best || !more) return [];
  const words =
    best.match_probability < LIKELY
      ? `The best is ${percent(best.match_probability)}.`
      : `There are ${count(detail.items, "picture")}.`;
  return [h("span", {}, `${words} `, more)];
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
