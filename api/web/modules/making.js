/** Making a gallery: a name, pictures from the server or from this device, a model. */

import { byId, h } from "./elements.js";
import { galleries } from "./gallery.js";
import { begin } from "./jobs.js";
import { trouble } from "./notices.js";
import { ask } from "./service.js";
import { listFiles, upload } from "./uploads.js";
import { bytes, count } from "./wording.js";

/** The dialog that is open: its parts, and the files that were chosen. */
let form = null;

/**
 * Ask what gallery to make, and make it.
 * @param {object} then
 * @param {() => void} then.onMade       a job fills the gallery
 * @param {(name: string, skipped: {uri: string, reason: string}[]) => void} then.onSkipped
 */
export function makeGallery(then) {
  const dialog = byId("question");
  form = { files: [], then, calling: new AbortController() };
  dialog.replaceChildren(...build());
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener("close", () => form.calling.abort(), { once: true });
  offerModels();
}

function build() {
  form.name = field("text", "Name", {
    required: true,
    maxlength: 64,
    pattern: "[a-z0-9][a-z0-9_\\-]*",
    autocapitalize: "none",
    spellcheck: "false",
    title: "Small letters, digits, - and _",
  });
  form.folder = field("text", "Server folder", { placeholder: "/srv/photos", spellcheck: "false" });
  form.pictures = field("file", "Pictures to upload", {
    multiple: true,
    accept: "image/*,.heic,.heif,.jsonl",
    change: takeChosen,
  });
  form.tree = field("file", "Folder to upload", { webkitdirectory: true, change: takeChosen });
  form.model = h("select", {}, h("option", { value: "" }, "The best that is here"));
  form.chosen = h("p", { class: "note", role: "status" }, "Nothing chosen yet. Pictures may also be dropped here.");
  form.said = h("div", {});
  form.bar = h("progress", { "aria-label": "Upload", max: 1, value: 0, hidden: true });
  form.go = h("button", { type: "submit", class: "primary" }, "Make gallery");
  form.server = h("div", { class: "fields" }, labelled("Server folder", form.folder));
  form.device = h(
    "div",
    { class: "fields drop-here", hidden: true },
    labelled("Pictures to upload", form.pictures),
    labelled("Folder to upload", form.tree),
    form.chosen,
  );
  return [
    h("h2", { id: "question-title" }, "New gallery"),
    h(
      "form",
      {
        class: "fields",
        submit: make,
        dragover: (event) => event.preventDefault(),
        drop: takeDropped,
        novalidate: true,
      },
      labelled("Name", form.name),
      h(
        "fieldset",
        {},
        h("legend", {}, "Where the pictures are"),
        choice("server", "From a folder of the server", true),
        choice("device", "From this device"),
      ),
      form.server,
      form.device,
      labelled("Model", form.model),
      form.said,
      form.bar,
      h(
        "div",
        { class: "buttons" },
        h("button", { type: "button", click: () => byId("question").close() }, "Not now"),
        form.go,
      ),
    ),
  ];
}

function field(type, label, more) {
  return h("input", { type, name: label, ...more });
}

function labelled(words, input) {
  return h("label", { class: "field" }, h("span", {}, words), input);
}

function choice(value, words, checked = false) {
  const choose = () => showWhere(value);
  return h(
    "label",
    { class: "choice" },
    h("input", { type: "radio", name: "where", value, checked, change: choose }),
    words,
  );
}

function showWhere(where) {
  form.where = where;
  form.server.hidden = where === "device";
  form.device.hidden = where !== "device";
}

async function offerModels() {
  const mine = form;
  const models = await ask("/v1/models", { query: { role: "encoder" } }).catch(() => []);
  const words = ({ name, family, roles }) =>
    `${name} (${family}: ${roles.includes("matcher") ? "finds and reranks" : "finds"})`;
  mine.model.append(...models.map((model) => h("option", { value: model.name }, words(model))));
}

function takeChosen(event) {
  take([...event.target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
}

async function takeDropped(event) {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  const files = await listFiles(event.dataTransfer);
  byId("question").querySelector("input[value=device]").checked = true;
  showWhere("device");
  take(files);
}

function take(files) {
  form.files = files;
  const size = files.reduce((sum, { file }) => sum + file.size, 0);
  form.chosen.textContent = files.length ? `${count(files.length, "file")}, ${bytes(size)}.` : "Nothing chosen.";
}

async function make(event) {
  event.preventDefault();
  const mine = form;
  const missing = whatIsMissing();
  if (missing) return mine.said.replaceChildren(trouble(new Error(missing)));
  mine.said.replaceChildren();
  mine.go.disabled = true;
  try {
    await begun(mine);
    byId("question").close();
  } catch (error) {
    if (!mine.calling.signal.aborted) mine.said.replaceChildren(trouble(error));
  } finally {
    mine.go.disabled = false;
    mine.bar.hidden = true;
  }
  return undefined;
}

function whatIsMissing() {
  if (!form.name.value.trim()) return "Give the gallery a name.";
  if (!form.name.checkValidity())
    return "A name is made of small letters, digits, - and _, and begins with a letter or a digit.";
  if (form.where === "device" && !form.files.length) return "Choose pictures or a folder first.";
  if (form.where !== "device" && !form.folder.value.trim()) return "Say which folder of the server holds the pictures.";
  return null;
}

/** Send what has to be sent, and begin the job that indexes it. */
async function begun(mine) {
  const name = mine.name.value.trim();
  // What this dialog has sent already may be sent again.
  if (name !== mine.sent && (await galleries()).some((one) => one.name === name))
    throw new Error(
      `There is a gallery ${name} already. Choose another name; to look at its folders again, use Index again.`,
    );
  const skipped = mine.where === "device" ? await sent(mine, name) : [];
  const folder = mine.where === "device" ? null : mine.folder.value.trim();
  await begin("index", name, { folder, model: mine.model.value || null });
  if (skipped.length) mine.then.onSkipped(name, skipped);
  mine.then.onMade();
}

async function sent(mine, name) {
  mine.bar.hidden = false;
  const onProgress = (part) => (mine.bar.value = part);
  mine.sent = name;
  const { stored, skipped } = await upload(name, mine.files, { onProgress, signal: mine.calling.signal });
  if (!stored) throw new Error(`None of these files could be taken. ${skipped[0]?.reason ?? ""}`.trim());
  return skipped;
}
