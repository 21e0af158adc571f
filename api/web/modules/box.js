/** The box: words, a picture, or both. A picture is chosen, pasted or dropped. */

import { go, NOWHERE, place } from "./address.js";
import { byId, h, icon } from "./elements.js";
import { complain, forgive, say } from "./notices.js";
import { ask, Problem } from "./service.js";

const WORDS = /([\p{L}\p{N}'’-]+)/u;
let drags = 0;

/** Make the box listen. */
export function wireBox() {
  const [form, input, file, add] = ["search", "query", "picture-file", "add-picture"].map(byId);
  add.append(icon("picture"));
  form.querySelector(".go").append(icon("search"));
  form.addEventListener("submit", (event) => (event.preventDefault(), submit()));
  add.addEventListener("click", () => file.click());
  file.addEventListener("change", () => file.files[0] && searchBy(file.files[0]).finally(() => (file.value = "")));
  input.addEventListener("input", () => underline([]));
  input.addEventListener("scroll", follow);
  document.addEventListener("keydown", focusBySlash);
  document.addEventListener("paste", pasted);
  wireDrops();
}

/**
 * Let the box say what an address asks for.
 * @param {import("./address.js").Place} at
 */
export function fillBox(at) {
  const input = byId("query");
  if (input.value.trim() !== at.q) input.value = at.q;
  if (at.like) showChip(`/v1/items/${at.like}/thumbnail`);
  else if (at.picture) showChip(`/v1/pictures/${at.picture}`);
  else hideChip();
}

/**
 * Underline the words that the model does not know.
 * @param {string[]} unknown
 */
export function underline(unknown) {
  const words = new Set(unknown.map((word) => word.toLowerCase()));
  byId("search")
    .querySelector(".mirror")
    .replaceChildren(...(words.size ? marked(byId("query").value, words) : []));
  follow();
}

/** A text with the unknown words in it marked. */
export function marked(text, words) {
  return text
    .split(WORDS)
    .map((part) =>
      words.has(part.toLowerCase()) ? h("mark", { title: "The model does not know this word" }, part) : part,
    );
}

/** Search by a picture of this device, together with the words that are in the box. */
async function searchBy(file) {
  const preview = URL.createObjectURL(file);
  showChip(preview, true);
  say("Sending the picture.");
  try {
    const { picture } = await ask("/v1/pictures", { method: "POST", body: form(file) });
    forgive();
    find({ picture });
  } catch (error) {
    fillBox(place());
    say("");
    complain(error, error.status === 0 || error.status >= 500 ? () => searchBy(file) : null);
  } finally {
    URL.revokeObjectURL(preview);
  }
}

function submit() {
  const { like, picture } = place();
  find({ like, picture });
}

function find(picture) {
  const { gallery, candidates, min, precision } = place();
  go({ ...NOWHERE, gallery, candidates, min, precision, ...picture, q: byId("query").value.trim() });
}

function form(file) {
  const body = new FormData();
  body.append("image", file, file.name || "picture");
  return body;
}

function showChip(source, isBusy = false) {
  const chip = byId("chip");
  if (chip.dataset.source === source) return;
  const gone = () => chip.classList.add("is-gone");
  chip.className = isBusy ? "chip is-busy" : "chip";
  chip.dataset.source = source;
  chip.replaceChildren(
    h("img", { src: source, alt: "The picture that is searched by", error: gone }),
    h(
      "button",
      { type: "button", "aria-label": "Remove the picture", title: "Remove the picture", click: removePicture },
      icon("close"),
    ),
  );
  chip.hidden = false;
}

function hideChip() {
  const chip = byId("chip");
  delete chip.dataset.source;
  chip.replaceChildren();
  chip.hidden = true;
}

function removePicture() {
  hideChip();
  byId("query").focus();
  find({});
}

function follow() {
  byId("search").querySelector(".mirror").scrollLeft = byId("query").scrollLeft;
}

function focusBySlash(event) {
  const isWriting = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isWriting || isDialogOpen()) return;
  event.preventDefault();
  byId("query").focus();
  byId("query").select();
}

function pasted(event) {
  const file = pictureIn(event.clipboardData);
  if (!file || isDialogOpen()) return;
  event.preventDefault();
  searchBy(file);
}

function wireDrops() {
  const show = (is) => (byId("drop").hidden = !is);
  addEventListener("dragenter", (event) => holdsFiles(event) && ((drags += 1), show(true)));
  addEventListener("dragleave", (event) => holdsFiles(event) && ((drags = Math.max(0, drags - 1)), show(drags > 0)));
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    drags = 0;
    show(false);
    if (!holdsFiles(event)) return;
    event.preventDefault();
    const file = pictureIn(event.dataTransfer);
    if (file) searchBy(file);
    else complain(new Problem(415, "That is not a picture. Drop a JPEG, PNG or WebP file, for example."));
  });
}

/** Files are for the box unless a dialog is open, which may want them for itself. */
function holdsFiles(event) {
  return event.dataTransfer?.types.includes("Files") && !isDialogOpen() && !event.defaultPrevented;
}

function pictureIn(transfer) {
  return [...(transfer?.files ?? [])].find(
    (file) => file.type.startsWith("image/") || /\.(heic|heif|tiff?|bmp)$/i.test(file.name),
  );
}

function isDialogOpen() {
  return document.querySelector("dialog[open]") !== null;
}
