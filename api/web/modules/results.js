/** A query and its hits: the order of the first stage at once, then that of the matcher, as it reads. */

import { amend, changed, place } from "./address.js";
import { marked, underline } from "./box.js";
import { hideControls, showControls } from "./controls.js";
import { byId, h } from "./elements.js";
import { dropHits, lonelyCard, showHits } from "./hits.js";
import { complain, forgive, say } from "./notices.js";
import { deeper, howDeep, notesOf } from "./notes.js";
import { arrange, judgedCount, likeliest, mayReach, thresholdFor } from "./ranking.js";
import { events, galleryPath, isCalledOff, Problem } from "./service.js";
import { amount, count, percent } from "./wording.js";

const HITS = 200;
const REDRAW_MS = 350;
const GONE = "The picture of this query is no longer kept. Choose it again, or search by words.";

/** What is known of the query that is shown. */
let result = null;
/** What is to be said beside the hits of a query: of its address, something could not be had. */
let remark = { key: null, text: null };
let redraw = { timer: null, last: 0 };
let drawn = () => {};

/** Say who else wants to know when hits have moved. */
export function onDrawn(listener) {
  drawn = listener;
}

/**
 * Show the hits of a place; a query that is already there is only drawn anew.
 * @param {import("./address.js").Place} at
 * @param {string} gallery its name
 * @param {object} known    what is known of the gallery; filled in by whoever asked for it
 */
export function showResults(at, gallery, known) {
  const key = keyOf(gallery, at);
  if (result?.key === key && !result.hasFailed) return draw();
  result?.calling.abort();
  result = {
    key,
    gallery,
    known,
    at,
    calling: new AbortController(),
    hits: new Map(),
    page: null,
    isFinal: false,
    hasFailed: false,
    read: null,
    began: performance.now(),
  };
  forgive();
  byId("hits").setAttribute("aria-busy", "true");
  byId("outcome").replaceChildren(echo(at, []));
  say("Searching.");
  return run(result);
}

/** What a query's hits depend on. */
function keyOf(gallery, { q, like, picture, candidates }) {
  return JSON.stringify([gallery, q, like, picture, candidates]);
}

/** Ask the same again: what the answer depends on has changed. */
export function searchAgain() {
  if (!result) return undefined;
  const { at, gallery, known } = result;
  result.calling.abort();
  result = null;
  return showResults({ ...at, ...place() }, gallery, known);
}

/** Put everything of a query away. */
export function dropResults() {
  result?.calling.abort();
  result = null;
  byId("outcome").replaceChildren();
  dropAnswer();
}

/** Put away what was found: it is no answer to what is asked now. */
function dropAnswer() {
  dropHits();
  hideControls();
  underline([]);
  for (const id of ["reading", "notes"]) byId(id).replaceChildren();
  byId("nothing-matches").hidden = true;
  byId("nothing-matches").replaceChildren();
}

/** What is known of a hit of this query, for its card; null for a picture that is none. */
export function hitOf(id) {
  const hit = result?.hits.get(id);
  if (!hit) return null;
  const at = order().findIndex((one) => one.id === id);
  return { hit, place: at + 1, setting: setting(), query: result.at.q };
}

/** The calibration of the scores that are shown, if there is one. */
export function calibration() {
  return result?.page?.calibration ?? null;
}

async function run(mine) {
  try {
    const query = await asked(mine);
    const onBusy = (seconds) => say(`The service is busy. Trying again in ${count(Math.ceil(seconds), "second")}.`);
    for await (const { event, data } of events(galleryPath(mine.gallery, "/search/events"), {
      query,
      onBusy,
      signal: mine.calling.signal,
    })) {
      TAKE[event]?.(mine, data);
    }
    if (!mine.isFinal) throw new Problem(0, "The answer broke off before its end.");
  } catch (error) {
    if (isCalledOff(error) || mine !== result) return;
    failed(mine, error);
  }
}

/** Say what went wrong, and what can be done about it here. */
function failed(mine, error) {
  mine.hasFailed = !mine.page;
  byId("hits").removeAttribute("aria-busy");
  byId("reading").replaceChildren();
  if (!mine.page) dropAnswer();
  say(mine.page ? "The hits are in the order of the first stage: reranking did not end." : "");
  if (error.status === 410) return complain(new Problem(410, GONE));
  if (!mine.page && (error instanceof NoPictures || (mine.at.like && error.status === 404)))
    return withoutPicture(mine, error);
  if (place().precision !== null && error.status === 409 && !mine.page) return withoutPrecision(mine);
  return complain(error, error.status === 0 || error.status >= 429 ? searchAgain : null);
}

/** An address may ask for a precision that its gallery has not measured, or does not reach. */
function withoutPrecision({ key }) {
  remark = { key, text: "The precision of this address cannot be had in this gallery, so all hits are shown." };
  result = null;
  amend({ precision: null });
}

/** The picture of a query may not be there, or its gallery cannot search by one: its words, or the wall, remain. */
function withoutPicture({ gallery, at }, { message }) {
  const left = { like: null, picture: null };
  if (at.q) remark = { key: keyOf(gallery, { ...at, ...left }), text: message };
  else complain(new Problem(404, message));
  result = null;
  amend(left);
}

/** A gallery without a model knows nothing of what pictures show. */
class NoPictures extends Problem {
  constructor() {
    super(409, "This gallery was made without a model, so it cannot be searched by a picture");
  }
}

/**
 * What the service is asked. The hits are the candidates, as many as are usual: each that is asked for beyond them would
 * be read by the matcher, too. Without one, more cost nothing, and a threshold has nothing to count.
 */
async function asked({ at: { q, like, picture, candidates, min, precision }, known }) {
  const detail = known.detail ?? (await known.learning.catch(() => null));
  if (detail?.model === null && (like || picture)) throw new NoPictures();
  const isRead = Boolean(q && detail?.matcher);
  const k = isRead ? (candidates ?? detail.candidates) : Math.max(1, Math.min(HITS, detail?.items ?? HITS));
  return {
    text: q,
    like,
    picture,
    k,
    candidates,
    target_precision: isRead ? precision : null,
    min_match: isRead && precision === null ? min : null,
  };
}

const TAKE = {
  first(mine, page) {
    mine.page = page;
    mine.hits = new Map(
      page.hits.map((hit) => [hit.id, { ...hit, score: null, rank: hit.itc_rank === null ? hit.rank : null }]),
    );
    dropStale();
    say(`${count(page.hits.length, "hit")} of the first stage.`);
    draw();
  },
  judged(mine, { done, total, hits }) {
    mine.read = { done, total };
    for (const hit of hits) Object.assign(mine.hits.get(hit.id) ?? {}, hit);
    drawSoon();
  },
  page(mine, page) {
    mine.page = page;
    mine.isFinal = true;
    mine.hits = new Map(page.hits.map((hit) => [hit.id, { ...hit, score: hit.itm_logit }]));
    mine.seconds = (performance.now() - mine.began) / 1000;
    byId("hits").removeAttribute("aria-busy");
    draw();
  },
};

/** Draw, but not so often that cards are pushed on before they have arrived. */
function drawSoon() {
  if (redraw.timer) return;
  redraw.timer = setTimeout(draw, Math.max(0, REDRAW_MS - (performance.now() - redraw.last)));
}

function draw() {
  clearTimeout(redraw.timer);
  redraw = { timer: null, last: performance.now() };
  if (!result?.page) return;
  const { page, isFinal, read, known } = result;
  const threshold = thresholdNow();
  const placed = order().map((hit, at) => ({ hit, place: at + 1 }));
  const shown = threshold === null ? placed : placed.filter(({ hit }) => mayReach(hit, threshold, isFinal));
  showHits(shown, setting());
  byId("outcome").replaceChildren(echo(result.at, page.unknown_words));
  underline(page.unknown_words);
  const isNothing = isFinal && threshold !== null && !shown.length;
  showNothing(isNothing ? placed : null, threshold);
  const depths = isNothing ? [] : howDeep(page, known.detail);
  byId("reading").replaceChildren(...(isFinal ? depths : progress(read)));
  byId("notes").replaceChildren(...notesOf(page, result.at, known, result.key === remark.key ? remark.text : null));
  showControls({
    usual: known.detail?.candidates ?? Math.max(1, judged()),
    items: known.detail?.items ?? Infinity,
    judged: judged(),
    depth: depthNow(),
    threshold,
    calibration: page.calibration && (known.detail?.calibration ?? null),
    isReranked: isReranked(),
  });
  if (isFinal) say(summary(shown.length));
  drawn();
}

function order() {
  return arrange([...result.hits.values()], depthNow());
}

function setting() {
  return { stages: result.page.stages, isCalibrated: Boolean(result.page.calibration), depth: depthNow() };
}

function isReranked() {
  return result.page.stages === "itc+itm";
}

function judged() {
  return result.isFinal ? judgedCount([...result.hits.values()]) : (result.read?.total ?? result.hits.size);
}

function depthNow() {
  const { depth } = place();
  return isReranked() ? Math.min(judged(), depth ?? judged()) : 0;
}

function thresholdNow() {
  const { min, precision } = place();
  if (!isReranked()) return null;
  if (precision === null) return min;
  return thresholdFor(precision, result.known.detail?.calibration) ?? result.page.threshold ?? min;
}

function echo({ q, like, picture }, unknown) {
  const words = new Set(unknown.map((word) => word.toLowerCase()));
  if (!q) return h("h1", {}, like ? "Pictures similar to this one" : "Pictures like yours");
  return h("h1", {}, ...marked(q, words), (like || picture) && h("small", {}, " and the picture"));
}

function progress(read) {
  if (!read || !read.total) return [];
  const words = `Reranking: ${amount(read.done)} of ${amount(read.total)} read.`;
  return [h("span", {}, words), h("progress", { max: read.total, value: read.done, "aria-label": words })];
}

function summary(shown = result.hits.size) {
  const { page, hits, at, seconds } = result;
  if (page.stages === "names" && !hits.size) return "No name or caption holds these words.";
  const all =
    shown === hits.size
      ? count(shown, "hit")
      : `${amount(shown)} of ${count(hits.size, "hit")} ${shown === 1 ? "reaches" : "reach"} ${percent(thresholdNow() ?? 0)}`;
  const reranked = depthNow() === hits.size ? "all" : amount(depthNow());
  const how =
    page.stages === "itc+itm"
      ? `${reranked} reranked by ${page.matcher ?? "the matcher"}`
      : page.stages === "itc"
        ? "ordered by ITC similarity"
        : "found by names and captions";
  const time = seconds >= 0.1 && at === result.at ? ` in ${seconds.toFixed(1)} s` : "";
  return `${all}, ${how}${time}.`;
}

/** "Nothing matches" is an answer: said first, and then the best there is below it. */
function showNothing(placed, threshold) {
  const room = byId("nothing-matches");
  const best = placed && likeliest(placed.map(({ hit }) => hit));
  room.hidden = !placed;
  if (!placed) return room.replaceChildren();
  const at = placed.find(({ hit }) => hit === best);
  return room.replaceChildren(
    h("h2", {}, "Nothing matches."),
    h("p", {}, `None of ${count(placed.length, "candidate")} reaches a match probability of ${percent(threshold)}.`),
    best &&
      h(
        "p",
        {},
        `The best below it: ${percent(best.match_probability)}${result.page.calibration ? "" : " · not calibrated"}.`,
      ),
    h(
      "p",
      { class: "buttons" },
      h("a", { class: "button", href: changed({ min: null, precision: null }) }, "Show all hits"),
      deeper(placed, result.known.detail),
    ),
    best &&
      h(
        "ul",
        { class: "hits lonely", role: "list", "aria-label": "Best below" },
        lonelyCard(best, at.place, setting()),
      ),
  );
}

/** Cards of the query before stay only as long as its hits were to be seen. */
function dropStale() {
  if (byId("hits").hidden) dropHits();
}
