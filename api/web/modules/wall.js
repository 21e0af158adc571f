/** The wall: all pictures of a gallery, more of them as one scrolls. */

import { changed } from "./address.js";
import { byId, h } from "./elements.js";
import { keepStop, rove } from "./grid.js";
import { complain } from "./notices.js";
import { ask, galleryPath } from "./service.js";

const PAGE = 100;
let shown = { gallery: null, after: 0, isAtEnd: false, loading: null, above: null };

/** Make the wall listen: to the keys, and to how far one has scrolled. */
export function wireWall() {
  rove(byId("wall"));
  const near = new IntersectionObserver((entries) => entries[0].isIntersecting && more(), { rootMargin: "1200px" });
  near.observe(byId("more"));
}

/**
 * Show a gallery's wall; what is already there stays.
 * @param {string} gallery
 * @param {Promise<unknown>} above  settles when what stands above the wall is there, so that it moves nothing
 */
export function showWall(gallery, above) {
  byId("wall").hidden = false;
  if (shown.gallery === gallery) return shown.loading;
  shown = { gallery, after: 0, isAtEnd: false, loading: null, above };
  byId("wall").replaceChildren();
  return more();
}

/** Put the wall away; it keeps its pictures. */
export function hideWall() {
  byId("wall").hidden = true;
}

/** Load the wall anew when it is shown next: its gallery has changed. */
export function dropWall() {
  shown = { ...shown, gallery: null };
}

/** Look for pictures that came since the end was reached. */
export function lookForMore() {
  shown.isAtEnd = false;
  return more();
}

/** The ids of the pictures on the wall, in order. */
export function wallIds() {
  return [...byId("wall").children].map((node) => Number(node.dataset.itemId));
}

async function more() {
  const now = shown;
  if (!now.gallery || now.isAtEnd || now.loading || !byId("wall").checkVisibility()) return now.loading;
  now.loading = load(now)
    .catch((error) => {
      now.isAtEnd = true;
      // That there is no such gallery is said once, by whoever asked what it holds.
      if (error.status !== 404) complain(error, lookForMore);
    })
    .finally(() => {
      now.loading = null;
      if (now === shown && isNear()) more();
    });
  return now.loading;
}

async function load(now) {
  const query = { after: now.after, limit: PAGE };
  const [page] = await Promise.all([ask(galleryPath(now.gallery, "/items"), { query }), now.above?.catch(() => null)]);
  if (now !== shown) return;
  byId("wall").append(...page.items.map(tile));
  now.after = page.next ?? page.items.at(-1)?.id ?? now.after;
  now.isAtEnd = page.next === null;
  keepStop(byId("wall"));
}

function isNear() {
  return byId("more").getBoundingClientRect().top < innerHeight + 1200;
}

function tile(item) {
  const ratio = item.width && item.height ? Math.min(2.2, Math.max(0.5, item.width / item.height)) : 1;
  const node = h("li", { "data-item-id": item.id }, link(item));
  node.style.setProperty("--ratio", ratio.toFixed(3));
  return node;
}

function link(item) {
  const picture = h("img", {
    src: `/v1/items/${item.id}/thumbnail`,
    alt: item.name,
    loading: "lazy",
    decoding: "async",
  });
  return h("a", { href: changed({ item: item.id }), "data-opens": item.id, title: item.name }, picture);
}
