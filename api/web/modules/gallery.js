/** The gallery that is looked at, and the switcher between galleries. */

import { amend, go, place, NOWHERE } from "./address.js";
import { byId, h } from "./elements.js";
import { ask, galleryPath } from "./service.js";

const LAST = "sightline.gallery";
let open = null;

/** All galleries; the switcher shows them, too. */
export async function galleries() {
  const all = await ask("/v1/galleries");
  fill(all);
  return all;
}

/**
 * Give the name of the gallery that a place means: the one it names, the last one looked at, one of the person's own,
 * or the demo's. Null where there is none.
 */
export async function nameOf(at) {
  if (at.gallery) return at.gallery;
  const all = await galleries();
  const filled = all.filter((one) => one.items > 0);
  const last = all.find((one) => one.name === remembered());
  const chosen = last ?? filled.find((one) => one.name !== "demo") ?? filled[0] ?? all[0];
  return chosen?.name ?? null;
}

/**
 * What is known of a gallery; asked for once, unless it is to be `fresh`.
 * @param {string} name
 * @param {{fresh?: boolean}} [how]
 */
export async function detail(name, { fresh = false } = {}) {
  if (fresh || open?.name !== name) open = await ask(galleryPath(name));
  remember(name);
  return open;
}

/** Forget what is known of the open gallery: it has changed. */
export function forget() {
  open = null;
}

/** Let the switcher follow the address, and the address the switcher. */
export function wireSwitcher() {
  byId("gallery").addEventListener("change", (event) => {
    const { view, q, min, precision } = place();
    const gallery = event.target.value;
    // The words and how likely a match must be mean the same everywhere; pictures and depths belong to a gallery.
    if (view === "evaluations") go({ ...NOWHERE, view, gallery });
    else go({ ...NOWHERE, gallery, q, min, precision });
  });
}

/** Show in the switcher which gallery is open. */
export function showOpen(name) {
  const select = byId("gallery");
  if (![...select.options].some((option) => option.value === name)) select.append(h("option", { value: name }, name));
  select.value = name;
  if (!place().gallery) amend({ gallery: name });
}

function fill(all) {
  const select = byId("gallery");
  const chosen = select.value || place().gallery;
  const names = all.map((one) => one.name);
  const options = names.map((name) => h("option", { value: name }, name));
  // A gallery of the address that is not there must not look like the first one that is.
  if (chosen && !names.includes(chosen)) options.unshift(h("option", { value: chosen, disabled: true }, chosen));
  if (!options.length) options.push(h("option", { value: "" }, "No gallery yet"));
  select.replaceChildren(...options);
  select.disabled = !names.length;
  if (chosen) select.value = chosen;
}

function remembered() {
  try {
    return localStorage.getItem(LAST);
  } catch {
    return null;
  }
}

function remember(name) {
  try {
    localStorage.setItem(LAST, name);
  } catch {
    // A browser that keeps nothing forgets the gallery, too.
  }
}
