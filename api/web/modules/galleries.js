/** The view of all galleries: what each holds, what is being done, and how to make or delete one. */

import { addressOf, NOWHERE } from "./address.js";
import { byId, h, icon } from "./elements.js";
import { forget, galleries } from "./gallery.js";
import { begin, isActive, showJobs, watchQuietly } from "./jobs.js";
import { makeGallery } from "./making.js";
import { complain, confirmed } from "./notices.js";
import { ask, galleryPath } from "./service.js";
import { amount, count, fileName, folderName, listed } from "./wording.js";
import { dropWall } from "./wall.js";

const COVER = 4;
let watching = null;
let parts = null;

/** Show the view. */
export function show() {
  if (!parts) build();
  refresh();
  watch();
}

/** Leave the view: its jobs go on, unwatched. */
export function leave() {
  watching?.abort();
}

function build() {
  const list = h("ul", { class: "galleries", role: "list", "aria-label": "All galleries" });
  const jobs = h("ul", { class: "jobs", role: "list", "aria-label": "Jobs" });
  const [report, work] = [
    h("div", { class: "reports" }),
    h("section", { hidden: true, "aria-labelledby": "jobs-title" }, h("h2", { id: "jobs-title" }, "Jobs"), jobs),
  ];
  const add = h(
    "button",
    { type: "button", class: "primary", click: () => makeGallery({ onMade, onSkipped }) },
    icon("plus"),
    "New gallery",
  );
  byId("view-galleries").append(h("div", { class: "view-head" }, h("h1", {}, "Galleries"), add), report, list, work);
  parts = { list, jobs, work, report };
}

async function refresh() {
  try {
    showGalleries(await galleries());
  } catch (error) {
    complain(error, refresh);
  }
}

function watch() {
  watching?.abort();
  watching = new AbortController();
  let active = new Set();
  const look = (jobs) => {
    parts.work.hidden = !jobs.length;
    showJobs(parts.jobs, jobs, watch);
    const now = new Set(jobs.filter(isActive).map((job) => job.id));
    const changed = now.size !== active.size || [...now].some((id) => !active.has(id));
    if (changed || now.size) refresh();
    active = now;
  };
  watchQuietly({}, look, watching.signal);
}

function onMade() {
  forget();
  dropWall();
  refresh();
  watch();
}

/** Files that were sent and are no pictures: named here, for the dialog that sent them is gone. */
function onSkipped(name, skipped) {
  parts.report.replaceChildren(
    h(
      "details",
      { open: true, class: "report" },
      h("summary", {}, `${count(skipped.length, "file")} for ${name} could not be taken`),
      skippedList(skipped),
    ),
  );
}

function showGalleries(all) {
  const rows = new Map([...parts.list.children].map((row) => [row.dataset.gallery, row]));
  const wanted = all.map((one) => updated(rows.get(one.name) ?? newRow(one.name), one));
  parts.list.replaceChildren(...(sameOrder(wanted) ? [...parts.list.children] : wanted));
  if (!all.length)
    parts.list.replaceChildren(
      h(
        "li",
        { class: "plain" },
        "There is no gallery yet. Make the first one from a folder of the server, or from pictures of this device.",
      ),
    );
}

function sameOrder(wanted) {
  return wanted.length === parts.list.children.length && wanted.every((row, at) => row === parts.list.children[at]);
}

function newRow(name) {
  const act = (doing) => () => doing(name).catch((error) => complain(error));
  return h(
    "li",
    { class: "gallery", "data-gallery": name },
    h("a", { class: "cover", href: addressOf({ ...NOWHERE, gallery: name }), tabindex: -1, "aria-hidden": "true" }),
    h(
      "div",
      { class: "gallery-words" },
      h("h2", {}, h("a", { href: addressOf({ ...NOWHERE, gallery: name }) }, name)),
      h("p", { class: "gallery-counts" }),
      h("p", { class: "note gallery-source" }),
      h("div", { class: "gallery-skipped" }),
    ),
    h(
      "div",
      { class: "buttons" },
      h(
        "button",
        { type: "button", click: act(indexAgain), title: "Take in what was added, changed or removed" },
        "Index again",
      ),
      h("a", { class: "button", href: addressOf({ ...NOWHERE, view: "evaluations", gallery: name }) }, "Evaluate"),
      h("button", { type: "button", class: "danger", click: act(remove) }, "Delete"),
    ),
  );
}

function updated(row, one) {
  const [cover, words] = row.children;
  const [, counts, source, skipped] = words.children;
  counts.textContent = [
    count(one.items, "picture"),
    one.texts ? count(one.texts, "text") : "",
    one.model ? `model ${one.model}` : "no model: names and captions",
  ]
    .filter(Boolean)
    .join(" · ");
  source.textContent = listed(one.sources.map((folder) => folderName(folder, one.name)));
  if (skipped.dataset.failed !== String(one.failed)) skipped.replaceChildren(...(one.failed ? [skippedOf(one)] : []));
  skipped.dataset.failed = one.failed;
  const enough = Math.min(COVER, one.items);
  if (cover.childElementCount < enough) showCover(cover, one.name);
  return row;
}

async function showCover(cover, name) {
  const { items } = await ask(galleryPath(name, "/items"), { query: { limit: COVER } }).catch(() => ({ items: [] }));
  cover.replaceChildren(
    ...items.slice(0, COVER).map((item) =>
      h("img", {
        src: `/v1/items/${item.id}/thumbnail`,
        alt: "",
        width: 80,
        height: 80,
        loading: "lazy",
        decoding: "async",
      }),
    ),
  );
}

function skippedOf(one) {
  const room = h("div", {});
  const load = () =>
    ask(galleryPath(one.name, "/failed"))
      .then((failed) => room.replaceChildren(skippedList(failed)))
      .catch((error) => complain(error));
  return h(
    "details",
    { toggle: (event) => event.target.open && load() },
    h("summary", {}, `${amount(one.failed)} skipped`),
    room,
  );
}

function skippedList(skipped) {
  return h(
    "ul",
    { class: "skipped" },
    skipped.map((one) => h("li", {}, h("strong", { title: one.uri }, fileName(one.uri)), ` ${one.reason ?? ""}`)),
  );
}

async function indexAgain(name) {
  await begin("index", name, { folder: null, model: null });
  watch();
}

async function remove(name) {
  const text =
    "Its index and its evaluations go. Pictures in a folder of the server stay where they are; pictures that were uploaded are deleted.";
  if (!(await confirmed({ title: `Delete ${name}?`, text, yes: "Delete", no: "Keep" }))) return;
  await ask(galleryPath(name), { method: "DELETE" });
  forget();
  dropWall();
  await refresh();
}
