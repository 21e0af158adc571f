/** The card of a picture: how sure, why, and what else one can ask. */

import { caption, facts, section, silence, similar, texts } from "./about.js";
import { amend, leaveCard } from "./address.js";
import { conversation } from "./conversation.js";
import { byId, h, icon } from "./elements.js";
import { complain, trouble } from "./notices.js";
import { ask, isCalledOff } from "./service.js";
import { howSure } from "./sure.js";
import { fileName } from "./wording.js";

const STEPS = { previous: -1, next: 1 };

/**
 * What a card wants to know of the page around it.
 * @typedef {object} Around
 * @property {() => object|null} detailOf            what is known of the gallery
 * @property {(id: number) => object|null} hitOf     the hit, if the item is one
 * @property {() => object|null} calibrationOf       the calibration of the hits
 * @property {() => number[]} ids                    the pictures that are shown, in order
 * @property {() => Promise<void>} calibrate
 */

/** The card that is open: its item, what calls its questions off, and who had the focus before. */
let open = { id: null, calling: null, from: null };
let around = null;

/**
 * Open the card of an item.
 * @param {number} id
 * @param {Around} context
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
  const last = document.querySelector(
    `#hits:not([hidden]) a[data-opens="${open.id}"], #wall:not([hidden]) a[data-opens="${open.id}"]`,
  );
  (last ?? open.from)?.focus?.();
  open = { id: null, calling: null, from: null };
}

/** The hits have moved: say anew how sure, and where from. */
export function hitMoved() {
  if (open.id === null) return;
  byId("card").querySelector(".sure")?.replaceWith(howSure(open.id, around));
  for (const button of byId("card").querySelectorAll(".step"))
    button.disabled = to(STEPS[button.dataset.step]) === undefined;
}

function wire(dialog) {
  if (dialog.dataset.isWired) return;
  dialog.dataset.isWired = "true";
  dialog.addEventListener("cancel", (event) => (event.preventDefault(), leaveCard()));
  dialog.addEventListener("click", (event) => event.target === dialog && leaveCard());
  dialog.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
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
  const how = { signal, detail: around.detailOf() };
  const hadFocus = dialog.contains(document.activeElement) ? document.activeElement.dataset.step : undefined;
  const [name, about] = [
    h("h2", { id: "card-name" }, " "),
    section("About the file", h("p", { class: "waits" }, "Looking it up.")),
  ];
  const image = picture(id);
  dialog.replaceChildren(
    h("div", { class: "card-picture" }, image, stepper("Previous", "previous"), stepper("Next", "next")),
    h(
      "div",
      { class: "card-side" },
      h("header", {}, name, closer()),
      howSure(id, around),
      silence(how.detail),
      how.detail?.captioner !== null && caption(id, how),
      how.detail?.answerer !== null && section("Ask", conversation(id, how)),
      how.detail?.model !== null && [texts(id, how), similar(id, how)],
      about,
    ),
  );
  if (dialog.open) keepFocus(dialog, hadFocus);
  return describe(id, { name, about, image }, signal);
}

/** Who leafs by a button stays on it; nobody falls out of the card, where its keys are not heard. */
function keepFocus(dialog, step) {
  (dialog.querySelector(`[data-step="${step}"]:not(:disabled)`) ?? dialog.querySelector("header button")).focus();
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
    if (error.status === 404) {
      // There is no such picture: one sentence, and what lies below the card.
      leaveCard();
      return complain(error);
    }
    name.textContent = `Picture ${id}`;
    about.lastChild.replaceWith(trouble(error, () => draw(byId("card"), id)));
  }
  return undefined;
}

function picture(id) {
  const image = h("img", { src: `/v1/items/${id}/image`, alt: "", decoding: "async" });
  const gone = () => {
    if (!image.isConnected) return;
    image.src = `/v1/items/${id}/thumbnail`;
    image.after(
      h(
        "p",
        { class: "card-gone", role: "status" },
        "The file is missing or has changed since it was indexed. This is what it looked like. Index the gallery again.",
      ),
    );
  };
  image.addEventListener("error", gone, { once: true });
  return image;
}

function closer() {
  const named = { "aria-label": "Close", title: "Close (Escape)" };
  return h("button", { type: "button", class: "quiet", ...named, click: leaveCard }, icon("close"));
}

function stepper(label, name) {
  const by = STEPS[name];
  return h(
    "button",
    {
      type: "button",
      class: `step ${name}`,
      "data-step": name,
      "aria-label": label,
      disabled: to(by) === undefined,
      click: () => step(by),
    },
    icon(name),
  );
}
