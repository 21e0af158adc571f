/** Questions about a picture and their answers: what was said before stays to be read. */

import { h } from "./elements.js";
import { unknownSentence } from "./notes.js";
import { trouble } from "./notices.js";
import { ask, isCalledOff } from "./service.js";

const IDEAS = ["What is this?", "Where is it?", "What time is it?", "Is it raining?"];

/**
 * Make the conversation about an item: kept while the tab is open.
 * @param {number} id
 * @param {{signal: AbortSignal}} how
 */
export function conversation(id, { signal }) {
  const said = remembered(id);
  const log = h(
    "div",
    { class: "log", role: "log", "aria-label": "Conversation", tabindex: 0, hidden: !said.length },
    said.map(exchange),
  );
  const input = h("input", {
    type: "text",
    "aria-label": "Ask about this picture",
    placeholder: "Ask about this picture",
    maxlength: 10000,
    autocomplete: "off",
    enterkeyhint: "send",
  });
  const ideas = h(
    "p",
    { class: "ideas", hidden: said.length > 0 },
    IDEAS.map((text) => h("button", { type: "button", class: "chip-button", click: () => put(text) }, text)),
  );
  const put = async (question) => {
    ideas.hidden = true;
    input.value = "";
    const pending = exchange({ question, text: null });
    log.hidden = false;
    log.append(pending);
    pending.scrollIntoView({ block: "nearest" });
    try {
      const {
        text,
        model,
        unknown_words: unknown,
      } = await ask(`/v1/items/${id}/ask`, { method: "POST", json: { question }, signal });
      said.push({ question, text, model, unknown });
      remember(id, said);
      pending.replaceWith(exchange(said.at(-1)));
      log.lastChild.scrollIntoView({ block: "nearest" });
    } catch (error) {
      if (isCalledOff(error)) return;
      pending.lastChild.replaceWith(trouble(error, () => (pending.remove(), put(question))));
    }
  };
  const submit = (event) => {
    event.preventDefault();
    if (input.value.trim()) put(input.value.trim());
  };
  return [log, h("form", { class: "asking", submit }, input, h("button", { type: "submit" }, "Ask")), ideas];
}

function exchange({ question, text, model, unknown = [] }) {
  const answer =
    text === null
      ? h("p", { class: "answer waits" }, "Looking at the picture.")
      : h("p", { class: "answer", title: `Answered by ${model}` }, text);
  return h(
    "div",
    { class: "exchange" },
    h("p", { class: "asked" }, question),
    unknown.length ? h("p", { class: "note is-warning" }, unknownSentence(unknown, "It answered without")) : "",
    answer,
  );
}

function remembered(id) {
  try {
    return JSON.parse(sessionStorage.getItem(`conversation:${id}`)) ?? [];
  } catch {
    return [];
  }
}

function remember(id, said) {
  try {
    sessionStorage.setItem(`conversation:${id}`, JSON.stringify(said));
  } catch {
    // A full or forbidden store: the conversation lives as long as the card.
  }
}
