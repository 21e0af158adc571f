/** What the page says to a person: how it stands, and what went wrong with what can be done. */

import { byId, h } from "./elements.js";
import { isCalledOff } from "./service.js";

/** Say how things stand; a screen reader says it, too, when it has time. */
export function say(text) {
  const status = byId("status");
  if (status.textContent !== text) status.textContent = text;
}

/**
 * Show what went wrong, with a button to try again where that may help.
 * @param {Error} error
 * @param {(() => void) | null} [again]
 */
export function complain(error, again = null) {
  if (isCalledOff(error)) return;
  if (!("status" in error)) console.error(error);
  const text = "status" in error ? error.message : "The page met a defect of its own. Load it again.";
  byId("problem").replaceChildren(
    h("p", {}, text),
    ...(again ? [h("button", { type: "button", click: () => (forgive(), again()) }, "Try again")] : []),
    h("button", { type: "button", class: "quiet", click: forgive }, "Dismiss"),
  );
}

/** Take back what was complained about. */
export function forgive() {
  byId("problem").replaceChildren();
}

/**
 * A sentence about what went wrong, for the place where it went wrong.
 * @param {Error} error
 * @param {(() => void) | null} [again]
 */
export function trouble(error, again = null) {
  return h(
    "p",
    { class: "trouble", role: "alert" },
    error.message,
    again && " ",
    again && h("button", { type: "button", class: "text", click: again }, "Try again"),
  );
}

/**
 * Ask before something that cannot be undone. Resolves to whether it was agreed to.
 * @param {{title: string, text: string, yes: string, no: string}} words
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, text, yes, no }) {
  const dialog = byId("question");
  dialog.replaceChildren(
    h("h2", { id: "question-title" }, title),
    h("p", {}, text),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", class: "danger", click: () => dialog.close("yes") }, yes),
      h("button", { type: "button", autofocus: true, click: () => dialog.close("no") }, no),
    ),
  );
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
}
