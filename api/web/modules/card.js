/** The card of a picture: how sure, why, and what else one can ask. */

import { addressOf, amend, hasQuery, leaveCard, NOWHERE, place } from "./address.js";
import { conversation } from "./conversation.js";
import { byId, h, icon } from "./elements.js";
import { calibrationSentence, canCalibrate } from "./notes.js";
import { trouble } from "./notices.js";
import { ask, isCalledOff, pause } from "./service.js";
import { below, bytes, decimal, fileName, moment, percent } from "./wording.js";

const TEXTS = 5;
const SIMILAR = 8;
const STEPS = { previous: -1, next: 1 };
/** A moment of rest before the slow questions are asked: who leafs through pictures waits for none of them. */
const REST_SECONDS = 0.35;

/** The card that is open: its item, what calls its questions off, and who had the focus before. */
let open = { id: null, calling: null, from: null };
let around = null;

/**
 * Open the card of an item.
 * @param {number} id
 * @param {object} context
 * @param {() => object|null} context.detailOf  what is known of the gallery
 * @param {(id: number) => object|null} context.hitOf  the hit, if the item is one
 * @param {() => object|null} context.calibrationOf  the calibration of the hits
 * @param {() => number[]} context.ids          the pictures before and after
 * @param {() => Promise<void>} context.calibrate
 */
export function openCard(id, context) {
  const dialog = byId("card");
  if (open.id === id && dialog.open) return;
  around = context;
  open.calling?.abort();
  open = { id, calling: new AbortController(), from: dialog.open ? open.from : document.activeElement };
  wire(dialog);
  draw(dialog, id);
  if (!dialog.open) dialog.showModal();
  dialog.querySelector(".card-side").scrollTop = 0;
}

/** Close the card and give the focus back to the picture that it belongs to. */
export function closeCard() {
  const dialog = byId("card");
  open.calling?.abort();
  if (dialog.open) dialog.close();
  const last = document.querySelector(`#hits:not([hidden]) a[data-opens="${open.id}"], #wall:not([hidden]) a[data-opens="${open.id}"]`);
  (last ?? open.from)?.focus?.();
  open = { id: null, calling: null, from: null };
}

/** The hits have moved: say anew how sure, and where from. */
export function hitMoved() {
  if (open.id === null) return;
  byId("card").querySelector(".sure")?.replaceWith(howSure(open.id));
  for (const button of byId("card").querySelectorAll(".step")) button.disabled = to(STEPS[button.dataset.step]) === undefined;
}

function wire(dialog) {
  if (dialog.dataset.isWired) return;
  dialog.dataset.isWired = "true";
  dialog.addEventListener("cancel", (event) => (event.preventDefault(), dismiss()));
  dialog.addEventListener("click", (event) => event.target === dialog && dismiss());
  dialog.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
}

function dismiss() {
  leaveCard();
}

function step(by) {
  if (to(by) !== undefined) amend({ item: to(by) });
}

/** The picture before or after this one, if this is one of those that are shown. */
function to(by) {
  const ids = around.ids();
  const at = ids.indexOf(open.id);
  return at < 0 ? undefined : ids[at + by];
}

function draw(dialog, id) {
  const { signal } = open.calling;
  const focused = dialog.contains(document.activeElement) ? document.activeElement.dataset.step : null;
  const [name, about] = [h("h2", { id: "card-name" }, " "), section("About the file", h("p", { class: "waits" }, "Looking it up."))];
  const image = picture(id);
  dialog.replaceChildren(
    h("div", { class: "card-picture" }, image, stepper("Previous", "previous"), stepper("Next", "next")),
    h(
      "div",
      { class: "card-side" },
      h("header", {}, name, h("button", { type: "button", class: "quiet", "aria-label": "Close", title: "Close (Escape)", click: dismiss }, icon("close"))),
      howSure(id),
      caption(id, signal),
      section("Ask", conversation(id, { signal, canAnswer: () => around.detailOf()?.answerer !== null })),
      texts(id, signal),
      similar(id, signal),
      about,
    ),
  );
  if (focused) dialog.querySelector(`[data-step="${focused}"]:not(:disabled)`)?.focus();
  return describe(id, { name, about, image }, signal);
}

async function describe(id, { name, about, image }, signal) {
  try {
    const item = await ask(`/v1/items/${id}`, { signal });
    name.textContent = item.name ?? fileName(item.uri);
    image.alt = name.textContent;
    if (item.width && item.height) Object.assign(image, { width: item.width, height: item.height });
    about.lastChild.replaceWith(facts(item));
  } catch (error) {
    if (isCalledOff(error)) return undefined;
    if (error.status === 404) return showMissing(error);
    name.textContent = `Picture ${id}`;
    about.lastChild.replaceWith(trouble(error, () => draw(byId("card"), id)));
  }
  return undefined;
}

/** There is no such picture: one sentence in place of everything about it. */
function showMissing(error) {
  open.calling.abort();
  const side = byId("card").querySelector(".card-side");
  byId("card").querySelector(".card-picture").replaceChildren();
  byId("card-name").textContent = "No such picture";
  side.replaceChildren(side.firstChild, h("p", {}, error.message));
}

function picture(id) {
  const image = h("img", { src: `/v1/items/${id}/image`, alt: "", decoding: "async" });
  const gone = () => {
    if (!image.isConnected) return;
    image.src = `/v1/items/${id}/thumbnail`;
    image.after(h("p", { class: "card-gone", role: "status" }, "The file is missing or has changed since it was indexed. This is what it looked like. Index the gallery again."));
  };
  image.addEventListener("error", gone, { once: true });
  return image;
}

function stepper(label, name) {
  const by = STEPS[name];
  return h("button", { type: "button", class: `step ${name}`, "data-step": name, "aria-label": label, disabled: to(by) === undefined, click: () => step(by) }, icon(name));
}

/** How sure, and why: every number says what it is. */
function howSure(id) {
  const known = around.hitOf(id);
  if (!known) return notAmong();
  const { hit, place: at, setting, query } = known;
  return h("section", { class: "sure", "aria-label": "How sure" }, query && h("p", { class: "sure-query" }, `“${query}”`), probability(hit, setting), ranks(hit, at, setting), scores(hit), hit.stale && h("p", { class: "note is-warning" }, "The file has changed since it was indexed."));
}

/** What is said of a picture that is no hit: nothing, unless hits are shown. */
function notAmong() {
  const isSearched = hasQuery(place()) && around.ids().length > 0;
  return h("section", { class: "sure", "aria-label": "How sure", hidden: !isSearched }, h("p", { class: "note" }, "This picture is not among the hits of the query."));
}

function probability(hit, { stages, isCalibrated }) {
  const p = hit.match_probability;
  if (p === null) return h("p", { class: "note" }, stages === "names" ? "Found by its name or caption; there is no score." : "No matcher has read this picture.");
  const meter = h("div", { class: "meter", role: "meter", "aria-label": "Match probability", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": (100 * p).toFixed(1), "aria-valuetext": percent(p) }, h("span", {}));
  meter.firstChild.style.width = `${100 * p}%`;
  return [
    h("p", { class: "sure-number" }, h("strong", {}, percent(p)), " match probability", isCalibrated ? "" : " · not calibrated"),
    meter,
    isCalibrated ? calibrated() : uncalibrated(),
  ];
}

function calibrated() {
  const calibration = around.calibrationOf() ?? around.detailOf()?.calibration;
  return calibration ? h("p", { class: "note" }, calibrationSentence(calibration)) : "";
}

function uncalibrated() {
  if (!canCalibrate(around.detailOf())) return "";
  const button = h("button", { type: "button", class: "text", click: () => start() }, "Calibrate this gallery");
  const start = () => {
    button.disabled = true;
    around.calibrate().then(() => button.replaceWith("Calibrating. The numbers follow by themselves."), (error) => button.replaceWith(error.message));
  };
  return h("p", { class: "note" }, button);
}

function ranks(hit, at, { stages }) {
  if (hit.itc_rank === null) return h("p", { class: "ranks" }, `Rank ${at}`);
  if (stages !== "itc+itm") return h("p", { class: "ranks" }, `ITC rank ${hit.itc_rank}`);
  const change = hit.itc_rank - at;
  const words = change > 0 ? `up ${change}` : change < 0 ? `down ${-change}` : "stays";
  const name = change > 0 ? "up" : change < 0 ? "down" : "same";
  return h("p", { class: "ranks" }, h("span", {}, `ITC ${hit.itc_rank} → final ${at}`), h("span", { class: `change ${name}` }, icon(name), words));
}

function scores(hit) {
  const parts = [];
  if (hit.itc_similarity !== null) parts.push(["ITC similarity", decimal(hit.itc_similarity)]);
  if (hit.itm_logit !== null) parts.push(["ITM logit", decimal(hit.itm_logit, 2)]);
  return parts.length ? h("dl", { class: "scores" }, parts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))) : "";
}

function caption(id, signal) {
  const text = h("p", { class: "caption waits", "aria-live": "polite" }, "Describing it.");
  const room = section("Caption", text);
  const write = async () => {
    await pause(REST_SECONDS, signal);
    if (around.detailOf()?.captioner === null) return "This gallery's model writes no captions.";
    return (await ask(`/v1/items/${id}/ask`, { method: "POST", json: {}, signal })).text;
  };
  fill(text, write, (said) => ((text.textContent = capital(said)), text.classList.remove("waits")));
  return room;
}

function texts(id, signal) {
  if (around.detailOf()?.texts === 0) return "";
  const list = h("ul", { class: "texts", role: "list", "aria-label": "Texts that describe it" }, h("li", { class: "waits" }, "Reading the gallery's texts."));
  const room = section("Texts that describe it", list);
  const read = async () => (await pause(REST_SECONDS, signal), ask(`/v1/items/${id}/texts`, { query: { k: TEXTS }, signal }));
  const show = (page) => (page.hits.length ? list.replaceChildren(...page.hits.map(textRow)) : room.remove());
  fill(list, read, show, () => room.remove());
  return room;
}

function textRow(hit) {
  const link = h("a", { href: addressOf({ ...NOWHERE, gallery: place().gallery, q: hit.text ?? "" }), title: "Search by this text" }, hit.text);
  if (hit.match_probability === null) return h("li", {}, link, hit.itc_similarity === null ? "" : h("span", { class: "number" }, `ITC ${decimal(hit.itc_similarity)}`));
  return h("li", {}, link, h("span", { class: "number", title: "Match probability" }, h("span", { class: "visually-hidden" }, "match probability "), percent(hit.match_probability)));
}

function similar(id, signal) {
  const list = h("ul", { class: "similar", role: "list", "aria-label": "Similar pictures" }, Array.from({ length: SIMILAR }, () => h("li", { class: "blank", "aria-hidden": "true" })));
  const more = h("a", { class: "button", href: addressOf({ ...NOWHERE, gallery: place().gallery, like: id }) }, "Search with this picture");
  const room = section("Similar pictures", list, more);
  const { gallery } = place();
  const find = () => ask(`/v1/galleries/${encodeURIComponent(gallery)}/search`, { query: { like: id, k: SIMILAR + 1, rerank: false }, signal });
  const show = (page) => {
    const others = page.hits.filter((hit) => hit.id !== id).slice(0, SIMILAR);
    list.replaceChildren(...others.map(similarTile));
  };
  fill(list, find, show, (error) => error.status === 409 && room.remove());
  return room;
}

function similarTile(hit) {
  const words = `${fileName(hit.uri)}${hit.itc_similarity === null ? "" : `, ITC similarity ${decimal(hit.itc_similarity)}`}`;
  const link = h("a", { href: addressOf({ ...place(), item: hit.id }), "data-opens": hit.id, title: words }, h("img", { src: `/v1/items/${hit.id}/thumbnail`, alt: words, width: 96, height: 96, loading: "lazy", decoding: "async" }));
  return h("li", {}, link);
}

function facts(item) {
  const sources = item.source ? [item.source] : (around.detailOf()?.sources ?? []);
  const rows = [
    ["File", h("a", { href: `/v1/items/${item.id}/image`, target: "_blank", rel: "noopener", title: "Open the original" }, below(item.uri, sources))],
    ["Folder", item.source],
    ["Size", [item.width && `${item.width} × ${item.height}`, item.size && bytes(item.size)].filter(Boolean).join(", ")],
    ["Text", item.text],
    ["Indexed", item.created_at && moment(item.created_at)],
    ["Content", item.content_hash && h("code", { title: item.content_hash }, item.content_hash.slice(0, 12))],
    ["Item", item.id],
  ];
  return h("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function section(title, ...children) {
  const id = `card-${title.toLowerCase().replaceAll(" ", "-")}`;
  return h("section", { "aria-labelledby": id }, h("h3", { id }, title), children);
}

/** Fill a place with an answer, or with what went wrong and a way to try again. */
async function fill(room, question, show, onError = () => false) {
  try {
    show(await question());
  } catch (error) {
    if (isCalledOff(error) || onError(error)) return;
    const again = () => {
      said.remove();
      room.hidden = false;
      fill(room, question, show, onError);
    };
    const said = trouble(error, again);
    room.hidden = true;
    room.after(said);
  }
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}
