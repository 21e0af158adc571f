/** The address: everything that is looked at, so that a page can be shared, reloaded and gone back to. */

/**
 * What the address says. `null` where it says nothing.
 * @typedef {object} Place
 * @property {"search"|"galleries"|"evaluations"} view
 * @property {string|null} gallery
 * @property {string} q             the words of the query
 * @property {number|null} like     an item whose picture is the query's
 * @property {string|null} picture  the digest of a picture that was sent
 * @property {number|null} candidates
 * @property {number|null} min      the minimum match probability
 * @property {number|null} precision the precision that the threshold is to reach
 * @property {number|null} depth    how many candidates are shown reranked
 * @property {number|null} item     the card that is open
 * @property {number|null} evaluation
 */

const VIEWS = ["search", "galleries", "evaluations"];
/** What changes everything that is seen. */
const SEEN = ["view", "gallery", "q", "like", "picture"];
const listeners = new Set();

/**
 * Say what the address means; what makes no sense in it is left out.
 * @param {string} [search] the part from the question mark on
 * @returns {Place}
 */
export function place(search = location.search) {
  const given = new URLSearchParams(search);
  const view = given.get("view") ?? "search";
  return {
    view: VIEWS.includes(view) ? view : "search",
    gallery: given.get("gallery") || null,
    q: (given.get("q") ?? "").trim(),
    like: number(given.get("like"), 1),
    picture: /^[0-9a-f]{64}$/.test(given.get("picture") ?? "") ? given.get("picture") : null,
    candidates: number(given.get("candidates"), 1, 2000),
    min: number(given.get("min"), 0, 1, false),
    precision: number(given.get("precision"), 0, 1, false),
    depth: number(given.get("depth"), 0),
    item: number(given.get("item"), 1),
    evaluation: number(given.get("evaluation"), 1),
  };
}

/**
 * Write a place as an address.
 * @param {Partial<Place>} to
 */
export function addressOf(to) {
  const said = Object.entries(to).filter(
    ([key, value]) => value !== null && value !== "" && !(key === "view" && value === "search"),
  );
  const query = new URLSearchParams(said.map(([key, value]) => [key, String(value)])).toString();
  return query ? `/?${query}` : "/";
}

/** Whether a place asks for pictures, rather than showing them all. */
export function hasQuery(at) {
  return Boolean(at.q || at.like || at.picture);
}

/** Put the address right: what makes no sense in it is left out of it, too. */
export function putRight() {
  const right = addressOf(place());
  const said = (search) => JSON.stringify([...new URLSearchParams(search)].sort());
  if (said(location.search) !== said(right.slice(1))) history.replaceState(history.state, "", right + location.hash);
}

/** The address that changes some of this place and keeps the rest. */
export function changed(changes) {
  return addressOf({ ...place(), ...changes });
}

/** Go somewhere: a new entry in the history. */
export function go(changes) {
  const to = changed(changes);
  if (to === location.pathname + location.search) return tell();
  const before = place();
  history.pushState({ cards: cardsAfter(changes) }, "", to);
  if (SEEN.some((key) => before[key] !== place()[key])) scrollTo(0, 0);
  return tell();
}

/** How many entries back the page without a card is; 0 where that is not known. */
function cardsAfter({ item = null }) {
  if (item === null) return 0;
  const before = history.state?.cards ?? 0;
  return place().item !== null && !before ? 0 : before + 1;
}

/** Change where we are, without a new entry in the history. */
export function amend(changes) {
  history.replaceState(history.state, "", changed(changes));
  tell();
}

/** Leave the card: back to where it was opened, or only out of the address where it came with that. */
export function leaveCard() {
  const cards = history.state?.cards ?? 0;
  if (cards) history.go(-cards);
  else amend({ item: null });
}

/**
 * Hear of every change of place.
 * @param {(now: Place) => void} listener
 */
export function onPlace(listener) {
  listeners.add(listener);
}

/** Follow links to this page without loading it again, and the browser's back and forward. */
export function followLinks() {
  addEventListener("popstate", tell);
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented) return;
    const link = event.target.closest?.("a[href^='/?'], a[href='/']");
    if (!link || link.target || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
      return;
    event.preventDefault();
    go({ ...NOWHERE, ...place(new URL(link.href).search) });
  });
}

/** A place of which nothing is said. */
export const NOWHERE = Object.freeze(place(""));

function tell() {
  putRight();
  const now = place();
  for (const listener of listeners) listener(now);
}

function number(text, least, most = Infinity, isWhole = true) {
  if (text === null || text.trim() === "") return null;
  const value = Number(text);
  if (!Number.isFinite(value) || value < least || value > most) return null;
  return isWhole && !Number.isInteger(value) ? null : value;
}
