/** The list of hits: a card for each, with where it was and where it is now. */

import { changed } from "./address.js";
import { byId, h, icon } from "./elements.js";
import { rearrange } from "./flip.js";
import { keepStop } from "./grid.js";
import { decimal, fileName, percent } from "./wording.js";

const cards = new Map();

/**
 * What the cards of a page have in common.
 * @typedef {object} Setting
 * @property {"itc+itm"|"itc"|"names"} stages
 * @property {boolean} isCalibrated
 * @property {number} depth        how many candidates count as reranked
 */

/**
 * Show hits in this order; cards that stay move to their places.
 * @param {{hit: import("./ranking.js").Hit, place: number}[]} placed
 * @param {Setting} setting
 */
export function showHits(placed, setting) {
  const list = byId("hits");
  list.hidden = !placed.length;
  rearrange(
    list,
    placed.map(({ hit, place }) => updated(cardOf(hit), hit, place, setting)),
  );
  keepStop(list);
}

/** Put all cards away: another query follows. */
export function dropHits() {
  cards.clear();
  byId("hits").replaceChildren();
  byId("hits").hidden = true;
  keepStop(byId("hits"));
}

/** The ids of the hits that are shown, in order. */
export function hitIds() {
  return [...byId("hits").children].map((node) => Number(node.dataset.itemId));
}

/** A card that stands apart: the best hit below a threshold. */
export function lonelyCard(hit, place, setting) {
  return updated(newCard(hit), hit, place, setting);
}

function cardOf(hit) {
  if (!cards.has(hit.id)) cards.set(hit.id, newCard(hit));
  return cards.get(hit.id);
}

function newCard(hit) {
  const picture = h("img", {
    src: `/v1/items/${hit.id}/thumbnail`,
    alt: "",
    width: 288,
    height: 288,
    loading: "lazy",
    decoding: "async",
  });
  return h(
    "li",
    { class: "hit", "data-item-id": hit.id },
    h(
      "a",
      { href: changed({ item: hit.id }), "data-opens": hit.id },
      h("span", { class: "hit-picture" }, picture),
      h("span", { class: "hit-meter" }, h("span", {})),
      h("span", { class: "hit-line" }, h("span", { class: "hit-score" }), h("span", { class: "hit-ranks" })),
    ),
  );
}

function updated(node, hit, place, setting) {
  const { match_probability: match, itc_rank: found } = hit;
  const isReranked = setting.stages === "itc+itm" && found !== null && found <= setting.depth && match !== null;
  Object.assign(node.dataset, { rank: place, itcRank: found ?? "", match: match ?? "", stale: hit.stale });
  node.classList.toggle("is-judged", match !== null);
  node.classList.toggle("is-unread", setting.stages === "itc+itm" && !isReranked);
  const link = node.firstChild;
  link.href = changed({ item: hit.id });
  link.title = fileName(hit.uri);
  link.setAttribute("aria-label", inWords(hit, place, setting, isReranked));
  const [, meter, line] = link.children;
  meter.hidden = match === null;
  meter.firstChild.style.width = `${100 * (match ?? 0)}%`;
  line.firstChild.replaceChildren(...score(hit));
  line.lastChild.replaceChildren(...ranks(found, place, isReranked));
  return node;
}

function score(hit) {
  if (hit.match_probability !== null) return [percent(hit.match_probability), h("small", {}, " match")];
  if (hit.itc_similarity !== null) return [h("small", {}, "ITC "), decimal(hit.itc_similarity)];
  return [fileName(hit.uri)];
}

function ranks(found, place, isReranked) {
  if (found === null || !isReranked) return [`# ${place}`];
  const change = found - place;
  if (!change) return [h("span", { class: "same" }, `${found} → ${place}`)];
  const way = change > 0 ? "up" : "down";
  return [h("span", {}, `${found} → ${place}`), h("span", { class: way }, icon(way))];
}

function inWords(hit, place, setting, isReranked) {
  const words = [fileName(hit.uri), `rank ${place}`];
  if (isReranked) words.push(hit.itc_rank === place ? "the same by ITC" : `${hit.itc_rank} by ITC`);
  if (hit.match_probability !== null)
    words.push(`match probability ${percent(hit.match_probability)}${setting.isCalibrated ? "" : ", not calibrated"}`);
  else if (hit.itc_similarity !== null) words.push(`ITC similarity ${decimal(hit.itc_similarity)}`);
  if (hit.stale) words.push("the file has changed since it was indexed");
  return words.join(", ");
}
