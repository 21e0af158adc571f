/** What there is to say about a picture: a caption, texts that describe it, similar pictures, its file. */

import { addressOf, NOWHERE, place } from "./address.js";
import { h } from "./elements.js";
import { trouble } from "./notices.js";
import { ask, galleryPath, isCalledOff, pause } from "./service.js";
import { below, bytes, decimal, fileName, folderName, listed, moment, percent } from "./wording.js";

const TEXTS = 5;
const SIMILAR = 8;
/** A moment of rest before the slow questions are asked: who leafs through pictures waits for none of them. */
const REST_SECONDS = 0.35;

/** What a card cannot say where nothing reads the pictures of a gallery; nothing where all of it can be said. */
export function silence(detail) {
  if (!detail || (detail.captioner !== null && detail.answerer !== null)) return "";
  if (detail.model === null)
    return note("This gallery was made without a model: nothing here describes its pictures or answers questions.");
  const missing = [
    detail.captioner === null && "writes no captions",
    detail.answerer === null && "answers no questions",
  ].filter(Boolean);
  return note(`This gallery's model, ${detail.model}, ${listed(missing)}.`);
}

function note(text) {
  return h("p", { class: "note" }, text);
}

/** A caption, written when the card has been open for a moment. */
export function caption(id, { signal }) {
  const text = h("p", { class: "caption waits", "aria-live": "polite" }, "Describing it.");
  const room = section("Caption", text);
  const write = async () => {
    await pause(REST_SECONDS, signal);
    return (await ask(`/v1/items/${id}/ask`, { method: "POST", json: {}, signal })).text;
  };
  fill(text, write, (said) => ((text.textContent = capital(said)), text.classList.remove("waits")));
  return room;
}

/** The gallery's texts that describe a picture best; nothing where there are none. */
export function texts(id, { detail, signal }) {
  if (detail?.texts === 0) return "";
  const list = h(
    "ul",
    { class: "texts", role: "list", "aria-label": "Texts that describe it" },
    h("li", { class: "waits" }, "Reading the gallery's texts."),
  );
  const scale = h("span", { class: "scale" });
  const room = section("Texts that describe it", scale, list);
  const read = async () => (
    await pause(REST_SECONDS, signal),
    ask(`/v1/items/${id}/texts`, { query: { k: TEXTS }, signal })
  );
  const show = (page) => {
    if (!page.hits.length) return room.remove();
    scale.textContent = scaleOf(page);
    return list.replaceChildren(...page.hits.map(textRow));
  };
  fill(list, read, show, () => room.remove());
  return room;
}

/** What the numbers beside texts are. */
function scaleOf({ stages, calibration }) {
  if (stages === "itc+itm") return `match probability${calibration ? "" : ", not calibrated"}`;
  return stages === "itc" ? "ITC similarity" : "";
}

function textRow(hit) {
  const link = h(
    "a",
    { href: addressOf({ ...NOWHERE, gallery: place().gallery, q: hit.text ?? "" }), title: "Search by this text" },
    hit.text,
  );
  const number = hit.match_probability !== null ? percent(hit.match_probability) : hit.itc_similarity;
  const words = typeof number === "number" ? decimal(number) : number;
  return h("li", {}, link, words !== null && h("span", { class: "number" }, words));
}

/** The pictures that are most similar, and the way to search on from this one. */
export function similar(id, { signal }) {
  const list = h(
    "ul",
    { class: "similar", role: "list", "aria-label": "Similar pictures" },
    Array.from({ length: SIMILAR }, () => h("li", { class: "blank", "aria-hidden": "true" })),
  );
  const more = h(
    "a",
    { class: "button", href: addressOf({ ...NOWHERE, gallery: place().gallery, like: id }) },
    "Search with this picture",
  );
  const room = section("Similar pictures", list, more);
  const { gallery } = place();
  const find = () =>
    ask(galleryPath(gallery, "/search"), {
      query: { like: id, k: SIMILAR + 1, rerank: false },
      signal,
    });
  const show = (page) => {
    const others = page.hits.filter((hit) => hit.id !== id).slice(0, SIMILAR);
    list.replaceChildren(...others.map(similarTile));
  };
  fill(list, find, show, (error) => error.status === 409 && room.remove());
  return room;
}

function similarTile(hit) {
  const words = `${fileName(hit.uri)}${hit.itc_similarity === null ? "" : `, ITC similarity ${decimal(hit.itc_similarity)}`}`;
  const link = h(
    "a",
    { href: addressOf({ ...place(), item: hit.id }), "data-opens": hit.id, title: words },
    h("img", {
      src: `/v1/items/${hit.id}/thumbnail`,
      alt: words,
      width: 96,
      height: 96,
      loading: "lazy",
      decoding: "async",
    }),
  );
  return h("li", {}, link);
}

/** What is known of the file. */
export function facts(item) {
  const sources = item.source ? [item.source] : [];
  const rows = [
    [
      "File",
      h(
        "a",
        { href: `/v1/items/${item.id}/image`, target: "_blank", rel: "noopener", title: "Open the original" },
        below(item.uri, sources),
      ),
    ],
    ["Folder", item.source && folderName(item.source, item.gallery ?? place().gallery)],
    [
      "Size",
      [item.width && `${item.width} × ${item.height}`, item.size && bytes(item.size)].filter(Boolean).join(", "),
    ],
    ["Text", item.text],
    ["Indexed", item.created_at && moment(item.created_at)],
    ["Content", item.content_hash && h("code", { title: item.content_hash }, item.content_hash.slice(0, 12))],
    ["Item", item.id],
  ];
  return h(
    "dl",
    { class: "facts" },
    rows.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

/** A part of the card under its heading. */
export function section(title, ...children) {
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
