/** The view of evaluations: how well a gallery is searched, before and after reranking, and how true its numbers are. */

import { addressOf, NOWHERE, place } from "./address.js";
import { precisionChart, recallChart, reliabilityChart } from "./curves.js";
import { byId, h } from "./elements.js";
import { detail, forget, nameOf, showOpen } from "./gallery.js";
import { begin, isActive, showJobs, watchQuietly } from "./jobs.js";
import { calibrationSentence, canCalibrate } from "./notes.js";
import { complain, trouble } from "./notices.js";
import { ask, galleryPath } from "./service.js";
import { decimal, moment, share } from "./wording.js";

const KINDS = ["evaluate", "calibrate"];
const WORDS = { "text->image": "Text → picture", "image->text": "Picture → text" };
const AT = ["recall@1", "recall@5", "recall@10"];

let parts = null;
let open = { name: null, known: null, all: [], watching: null };

/**
 * Show the evaluations of the gallery that a place names.
 * @param {import("./address.js").Place} at
 */
export async function show(at) {
  if (!parts) build();
  const name = await nameOf(at);
  if (!name)
    return parts.head.replaceChildren(
      h("h1", {}, "Evaluations"),
      h("p", { class: "lead" }, "There is no gallery yet. Make one first."),
    );
  showOpen(name);
  if (open.name !== name) enter(name);
  else draw();
  return undefined;
}

/** Leave the view: its jobs go on, unwatched. */
export function leave() {
  open.watching?.abort();
  open = { name: null, known: null, all: [], watching: null };
}

function build() {
  parts = {
    head: h("div", {}),
    form: h("form", { class: "evaluate", submit: evaluate, novalidate: true }),
    said: h("div", {}),
    jobs: h("ul", { class: "jobs", role: "list", "aria-label": "Jobs" }),
    table: h("div", {}),
    charts: h("div", { class: "charts" }),
  };
  parts.candidates = h("input", { type: "number", min: 1, max: 2000, placeholder: "as usual" });
  parts.queries = h("input", { type: "number", min: 1, placeholder: "all" });
  parts.go = h("button", { type: "submit", class: "primary" }, "Evaluate");
  parts.calibrate = h("button", { type: "button", click: () => start("calibrate") }, "Calibrate");
  const labelled = (words, input) => h("label", { class: "field" }, h("span", {}, words), input);
  parts.form.append(
    labelled("Candidates", parts.candidates),
    labelled("Queries", parts.queries),
    h("div", { class: "buttons" }, parts.go, parts.calibrate),
  );
  byId("view-evaluations").append(parts.head, parts.form, parts.said, parts.jobs, parts.table, parts.charts);
}

function enter(name) {
  open.watching?.abort();
  open = { name, known: null, all: [], watching: null };
  for (const part of [parts.head, parts.jobs, parts.table, parts.charts, parts.said]) part.replaceChildren();
  load();
  watch();
}

async function load() {
  const mine = open;
  try {
    const [known, all] = await Promise.all([
      detail(mine.name, { fresh: true }),
      ask(galleryPath(mine.name, "/evaluations")),
    ]);
    if (mine !== open) return;
    Object.assign(open, { known, all });
    draw();
  } catch (error) {
    if (mine === open) complain(error, load);
  }
}

function watch() {
  const mine = open;
  open.watching?.abort();
  open.watching = new AbortController();
  let before = new Set();
  const look = (jobs) => {
    const ours = jobs.filter((job) => KINDS.includes(job.kind));
    const active = new Set(ours.filter(isActive).map((job) => job.id));
    // Of those that have ended, only the last is news.
    showJobs(
      parts.jobs,
      ours.filter((job, at) => isActive(job) || (at === 0 && job.state !== "done")),
      watch,
    );
    if ([...before].some((id) => !active.has(id))) {
      forget();
      load();
    }
    before = active;
  };
  watchQuietly({ gallery: mine.name }, look, open.watching.signal);
}

function evaluate(event) {
  event.preventDefault();
  const number = (input) => (input.value === "" ? null : Number(input.value));
  return start("evaluate", {
    candidates: number(parts.candidates),
    queries: number(parts.queries),
    seed: 0,
    rerank: Boolean(open.known?.matcher),
  });
}

async function start(kind, more = {}) {
  parts.said.replaceChildren();
  try {
    await begin(kind, open.name, more);
    watch();
  } catch (error) {
    parts.said.replaceChildren(trouble(error));
  }
}

function draw() {
  const { known, all } = open;
  if (!known) return;
  parts.head.replaceChildren(
    h("h1", {}, `How well ${known.name} is searched`),
    h("p", { class: "lead" }, about(known)),
  );
  parts.form.hidden = !known.model;
  parts.go.disabled = known.pairs === 0;
  parts.calibrate.hidden = !canCalibrate(known);
  const chosen = all.find((one) => one.id === place().evaluation) ?? all[0];
  parts.table.replaceChildren(all.length ? tableOf(all, chosen) : "");
  parts.charts.replaceChildren(...chartsOf(chosen, known));
}

function about(known) {
  if (!known.model) return "This gallery has no model, so there is nothing to measure.";
  if (!known.pairs)
    return "An evaluation needs texts that belong to pictures: put a captions.jsonl into the folder and index again.";
  return "Its texts are the queries, and each should find its own picture: recall at k says how many do, among the first k.";
}

function tableOf(all, chosen) {
  const directions = Object.keys(WORDS).filter((name) =>
    all.some((one) => one.directions.some((direction) => direction.name === name)),
  );
  const head = [
    "When",
    "Matcher",
    "Candidates",
    ...directions.flatMap((name) =>
      AT.map((measure, at) => (at ? short(measure) : `${WORDS[name]}, ${short(measure)}`)),
    ),
    "ECE",
  ];
  return h(
    "div",
    { class: "scrolls", tabindex: 0, role: "region", "aria-label": "Table of evaluations" },
    h(
      "table",
      { "aria-label": "Evaluations" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          head.map((words) => h("th", { scope: "col" }, words)),
        ),
      ),
      h(
        "tbody",
        {},
        all.map((one) => row(one, directions, one === chosen)),
      ),
    ),
  );
}

function row(one, directions, isChosen) {
  const link = h(
    "a",
    {
      href: addressOf({ ...NOWHERE, view: "evaluations", gallery: one.gallery, evaluation: one.id }),
      "aria-current": isChosen && "true",
    },
    one.created_at ? moment(one.created_at) : `Evaluation ${one.id}`,
  );
  const of = (name) => one.directions.find((direction) => direction.name === name);
  const eces = one.directions.map((direction) => direction.calibration?.ece).filter((ece) => ece !== undefined);
  return h(
    "tr",
    { class: isChosen && "is-chosen" },
    h("th", { scope: "row" }, link),
    h("td", {}, one.matcher ?? "none"),
    h("td", {}, one.candidates),
    directions.flatMap((name) => AT.map((measure) => h("td", { class: "recall" }, beforeAfter(of(name), measure)))),
    h("td", {}, eces.length ? decimal(Math.max(...eces)) : "–"),
  );
}

function beforeAfter(direction, measure) {
  const [before, after] = [direction?.before?.[measure], direction?.after?.[measure]];
  if (before === undefined) return "–";
  if (after === undefined) return share(before);
  return [h("span", { class: "before" }, share(before)), " → ", h("strong", {}, share(after))];
}

function short(measure) {
  return measure.replace("recall", "R");
}

function chartsOf(chosen, known) {
  const curves = chosen
    ? chosen.directions.map((direction) => recallChart(direction, WORDS[direction.name] ?? direction.name))
    : [];
  const measured = known.calibration ?? chosen?.directions.map((direction) => direction.calibration).find(Boolean);
  if (curves.length) curves.unshift(h("h2", { class: "charts-head" }, "How much is found"));
  if (!measured) return curves;
  const first =
    measured.ece_first === undefined
      ? ""
      : ` Over first hits alone it is ${decimal(measured.ece_first)}, uncalibrated ${decimal(measured.ece_first_uncalibrated)}.`;
  const words = `${calibrationSentence(measured, known)} Uncalibrated it would be ${decimal(measured.ece_uncalibrated)}.${first}`;
  return [
    ...curves,
    h(
      "div",
      { class: "charts-head" },
      h("h2", {}, "How true the match probabilities are"),
      h("p", { class: "note" }, words),
    ),
    reliabilityChart(measured),
    measured.precisions?.length ? precisionChart(measured) : "",
  ];
}
