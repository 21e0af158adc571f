/** The view of a gallery: its wall, or the hits of a query, and the card that is open. */

import { addressOf, go, hasQuery, NOWHERE, place } from "./address.js";
import { fillBox } from "./box.js";
import { byId, h } from "./elements.js";
import { detail, forget, galleries, nameOf, showOpen } from "./gallery.js";
import { hitIds } from "./hits.js";
import { begin, isActive, isFilling, showFilling, watchQuietly } from "./jobs.js";
import { onCalibrate, withoutModel } from "./notes.js";
import { complain, forgive, say } from "./notices.js";
import { calibration, dropResults, hitOf, onDrawn, searchAgain, showResults } from "./results.js";
import { count } from "./wording.js";
import { dropWall, hideWall, lookForMore, showWall, wallIds } from "./wall.js";

/** From here on a match is more likely than not. */
const BELIEVED = 0.5;
/** The open gallery: its name, what is known of it, the asking for that, and what calls its watching off. */
let open = { name: null, detail: null, learning: null, watching: null };
let visits = 0;

/** Make the view listen. */
export function wireSearch() {
  onDrawn(() => place().item !== null && refreshCard());
  onCalibrate(() =>
    begin("calibrate", open.name)
      .then(() => watchJobs())
      .catch((error) => complain(error)),
  );
}

/**
 * Show what a place asks for.
 * @param {import("./address.js").Place} at
 */
export async function showSearch(at) {
  const visit = (visits += 1);
  try {
    const name = await nameOf(at);
    if (visit !== visits) return;
    if (!name) return showNoGallery();
    showOpen(name);
    if (name !== open.name) enter(name);
    fillBox(at);
    if (hasQuery(at)) showHits(at, name);
    else showAll(name);
    await showCard(at);
  } catch (error) {
    complain(error, () => showSearch(place()));
  }
}

/** Leave the view: nothing of it is watched any more. */
export function leaveSearch() {
  visits += 1;
  open.watching?.abort();
  open = { name: null, detail: null, learning: null, watching: null };
}

function enter(name) {
  open.watching?.abort();
  open = { name, detail: null, learning: detail(name, { fresh: true }), watching: new AbortController() };
  forgive();
  byId("filling").replaceChildren();
  warn(null);
  const mine = open;
  learn(mine).catch((error) => {
    if (error.status === 404) showNoSuch(mine.name);
    complain(error, error.status === 404 ? null : () => ((open.name = null), showSearch(place())));
  });
}

/** Ask what is known of the gallery, and follow the jobs that fill it. */
async function learn(mine) {
  const known = await mine.learning;
  if (mine !== open) return;
  mine.detail = known;
  warn(known);
  if (known.jobs.length) watchJobs();
  const at = place();
  if (at.view !== "search") return;
  if (hasQuery(at)) showResults(at, mine.name, mine);
  else introduce(known);
}

function watchJobs() {
  const mine = open;
  let before = new Map();
  const look = (jobs) => {
    const active = jobs.filter(isActive);
    const ended = jobs.filter((job) => !isActive(job) && before.has(job.id));
    showFilling([...active, ...ended.filter((job) => job.state !== "done")], watchJobs);
    const hasGrown = active.some((job) => isFilling(job) && job.done > (before.get(job.id) ?? 0));
    before = new Map(active.map((job) => [job.id, job.done]));
    if (ended.length) refresh(mine, ended);
    else if (hasGrown && !hasQuery(place())) grow(mine);
  };
  mine.watching.abort();
  mine.watching = new AbortController();
  watchQuietly({ gallery: mine.name }, look, mine.watching.signal);
}

/** There are more pictures than before. */
async function grow(mine) {
  mine.detail = await detail(mine.name, { fresh: true }).catch(() => mine.detail);
  if (mine !== open || place().view !== "search" || hasQuery(place())) return;
  introduce(mine.detail);
  lookForMore();
}

/** A job has ended: the gallery, the order or the probabilities are new. */
async function refresh(mine, ended) {
  forget();
  mine.detail = await detail(mine.name, { fresh: true }).catch(() => mine.detail);
  if (mine !== open) return;
  warn(mine.detail);
  if (ended.some(isFilling)) lookForMore();
  if (hasQuery(place())) searchAgain();
  else introduce(mine.detail);
}

function showAll(name) {
  dropResults();
  if (open.detail) introduce(open.detail);
  return showWall(name, open.learning);
}

function showHits(at, name) {
  hideWall();
  byId("intro").replaceChildren();
  showResults(at, name, open);
}

/** Say above the wall and the hits what makes a gallery's numbers worth little. */
function warn(known) {
  const room = byId("warning");
  room.hidden = !known?.warning;
  room.textContent = known?.warning ?? "";
}

function introduce(known) {
  if (!known) return;
  say("");
  // With a minimum, an example that nothing in the gallery answers says so.
  const min = known.matcher ? BELIEVED : null;
  const examples = known.examples.map((text) =>
    h("li", {}, h("a", { href: addressOf({ ...NOWHERE, gallery: known.name, q: text, min }) }, text)),
  );
  byId("intro").replaceChildren(
    h("h1", {}, known.items ? count(known.items, "picture") : nothingYet(known.jobs)),
    h("p", { class: "lead" }, about(known)),
    examples.length && known.items
      ? h("ul", { class: "examples", role: "list", "aria-label": "Examples" }, examples)
      : "",
  );
}

/** What there is to see while there are no pictures. */
function nothingYet(jobs) {
  const filling = jobs.filter(isActive).find(isFilling);
  if (!filling) return "No pictures yet";
  return filling.kind === "demo" ? "The demo's postcards are being drawn" : "The first pictures are being indexed";
}

function about(known) {
  if (!known.items)
    return known.jobs.some(isFilling) ? "They appear here as they are indexed." : "Index a folder to fill this gallery.";
  if (!known.model)
    return known.jobs.some(isFilling) ? "Search it by names and captions until a model has read them." : withoutModel();
  return known.matcher
    ? "Say what a picture should show. ITC finds candidates, and ITM reads each of them and says how well it matches."
    : "Say what a picture should show.";
}

function showNoSuch(name) {
  dropWall();
  byId("intro").replaceChildren(
    h("h1", {}, `No gallery ${name}`),
    h(
      "p",
      { class: "lead" },
      "It may have been deleted. ",
      h("a", { href: "/?view=galleries" }, "See the galleries that there are"),
    ),
  );
}

function showNoGallery() {
  dropWall();
  dropResults();
  warn(null);
  awaitGallery();
}

/** Say that there is no gallery, and how to make one; or that the first is in the making. */
function introduceNone(jobs) {
  const isFilled = jobs.filter(isActive).some(isFilling);
  const lead = isFilled
    ? "They appear here as they are indexed."
    : "Make a gallery from a folder of the server, or from pictures of this device.";
  const make = h("p", {}, h("a", { class: "button", href: "/?view=galleries" }, "Make a gallery"));
  byId("intro").replaceChildren(
    h("h1", {}, nothingYet(jobs)),
    h("p", { class: "lead" }, lead),
    ...(isFilled ? [] : [make]),
  );
}

/** The first gallery may be in the making: show how far that is, and open it as soon as it is there. */
function awaitGallery() {
  open.watching?.abort();
  open.watching = new AbortController();
  const look = async (jobs) => {
    const active = jobs.filter(isActive);
    introduceNone(jobs);
    showFilling(active, awaitGallery);
    if (jobs.length && (await galleries()).length) showSearch(place());
  };
  watchQuietly({}, look, open.watching.signal);
}

async function showCard({ item }) {
  if (item === null && !byId("card").open) return;
  const [{ openCard, closeCard }] = await Promise.all([import("./card.js"), open.learning?.catch(() => null)]);
  if (place().item !== item) return;
  if (item === null) closeCard();
  else openCard(item, around);
}

/** A card that came with the address is opened before its hit is known. */
function refreshCard() {
  import("./card.js").then(({ hitMoved }) => hitMoved());
}

/** What a card wants to know of the page around it. */
const around = {
  detailOf: () => open.detail,
  calibrationOf: calibration,
  hitOf,
  ids: () => (hasQuery(place()) ? hitIds() : wallIds()),
  calibrate: () => begin("calibrate", open.name).then(watchJobs),
};

/** A link to a picture opens its card above whatever is shown. */
export function openByClick(event) {
  const link = event.target.closest?.("a[data-opens]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go({ item: Number(link.dataset.opens) });
}
