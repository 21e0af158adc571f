/** Jobs: what the service does at length, how far it is, and what a person may do about it. */

import { byId, h } from "./elements.js";
import { complain } from "./notices.js";
import { ask, galleryPath, isCalledOff, pause } from "./service.js";
import { amount, count, duration, fileName, listed } from "./wording.js";

const EVERY_SECONDS = 1;
const VERBS = {
  index: "Indexing",
  demo: "Drawing the postcards of",
  evaluate: "Evaluating",
  calibrate: "Calibrating",
};
/** The demo's job is several in a row. */
const DEMO_STAGES = {
  postcards: "Drawing the postcards of",
  pictures: "Indexing the postcards of",
  texts: "Indexing",
  queries: "Calibrating",
};
/** Jobs that bring pictures into a gallery. */
const FILLING = ["index", "demo"];

/**
 * Watch jobs until none is active any more, or it is called off.
 * @param {{gallery?: string|null, limit?: number}} which
 * @param {(jobs: any[]) => void} onChange hears of every look
 * @param {AbortSignal} signal
 */
async function watch({ gallery = null, limit = 20 }, onChange, signal) {
  for (;;) {
    const jobs = await patiently(() => ask("/v1/jobs", { query: { gallery, limit }, signal }), signal);
    await onChange(jobs);
    if (!jobs.some(isActive)) return;
    await pause(EVERY_SECONDS, signal);
  }
}

/** Watch in the background; being called off is no error. */
export function watchQuietly(which, onChange, signal) {
  watch(which, onChange, signal).catch(
    (error) => isCalledOff(error) || complain(error, () => watchQuietly(which, onChange, signal)),
  );
}

/** Start a job. */
export function begin(kind, gallery, more = {}) {
  return ask("/v1/jobs", { method: "POST", json: { kind, gallery, ...more } });
}

/** Whether a job brings pictures into its gallery. */
export function isFilling(job) {
  return FILLING.includes(job.kind);
}

/** Whether a job waits or runs. */
export function isActive(job) {
  return job.state === "waiting" || job.state === "running";
}

/**
 * Show jobs in a list; rows stay the same elements, so that focus stays where it is.
 * @param {HTMLElement} list
 * @param {any[]} jobs
 * @param {() => void} onAct after a job was cancelled or continued
 */
export function showJobs(list, jobs, onAct) {
  const rows = new Map([...list.children].map((row) => [row.dataset.jobId, row]));
  const wanted = jobs.map((job) => updated(rows.get(String(job.id)) ?? newRow(job, onAct), job));
  wanted.forEach((row, at) => list.children[at] !== row && list.insertBefore(row, list.children[at] ?? null));
  while (list.children.length > wanted.length) list.lastChild.remove();
}

/** Ask more than once before giving up: a service that is being started again answers soon. */
async function patiently(look, signal) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await look();
    } catch (error) {
      if (error.status !== 0 || tried === 3) throw error;
      await pause(tried, signal);
    }
  }
}

function newRow(job, onAct) {
  const act = (what) => () =>
    ask(`/v1/jobs/${job.id}/${what}`, { method: "POST" })
      .then(onAct)
      .catch((error) => complain(error));
  return h(
    "li",
    { class: "job", "data-job-id": job.id },
    h("p", { class: "job-title" }),
    h("progress", { max: 1 }),
    h("p", { class: "job-state" }),
    h("div", { class: "job-more" }),
    h(
      "div",
      { class: "buttons" },
      h("button", { type: "button", "data-act": "cancel", click: act("cancel") }, "Cancel"),
      h("button", { type: "button", "data-act": "continue", click: act("continue") }, "Continue"),
    ),
  );
}

function updated(row, job) {
  row.dataset.state = job.state;
  const [title, bar, state, more, buttons] = row.children;
  const name = titleOf(job);
  title.textContent = name;
  bar.hidden = !isActive(job);
  bar.setAttribute("aria-label", name);
  if (job.total) bar.value = Math.min(1, job.done / job.total);
  else bar.removeAttribute("value");
  state.textContent = howItStands(job);
  const [cancel, again] = buttons.children;
  cancel.hidden = !isActive(job) || job.cancel_wanted;
  again.hidden = !["failed", "stopped", "killed"].includes(job.state) || !job.request;
  if (!more.childElementCount && skipped(job)) more.append(skippedOf(job));
  return row;
}

function titleOf({ kind, gallery, stage }) {
  const verb = (kind === "demo" && DEMO_STAGES[stage]) || VERBS[kind] || kind;
  return `${verb} ${gallery ?? (kind === "demo" ? "the demo" : "")}`.trim();
}

/** Say in a sentence or two how far a job is, or how it ended. */
function howItStands(job) {
  switch (job.state) {
    case "waiting":
      return "Waits for its turn.";
    case "running":
      return job.cancel_wanted ? "Stops after this batch." : `${howFar(job)}.`;
    case "done":
      return `Done. ${outcome(job)}`.trim();
    case "failed":
      return `Failed: ${job.error ?? "the service does not say why"}`.replace(/[^.]$/, "$&.");
    case "killed":
      return `Ended with the program that did it. ${howOn(job)}`;
    default:
      return `Stopped${job.total ? ` at ${amount(job.done)} of ${amount(job.total)}` : ""}. ${howOn(job)}`;
  }
}

/** What the command line began has no request that the service could take up. */
function howOn({ request }) {
  return request ? "It can go on where it was." : "The same command goes on where it was.";
}

function howFar(job) {
  const parts = [job.total ? `${amount(job.done)} of ${amount(job.total)}` : "Begins"];
  if (job.rate) parts.push(`${job.rate < 10 ? job.rate.toFixed(1) : amount(Math.round(job.rate))} per second`);
  if (job.seconds_left !== null && job.seconds_left !== undefined)
    parts.push(job.seconds_left < 1 ? "nearly done" : `about ${duration(job.seconds_left)} left`);
  return `${job.stage ? `${job.stage.charAt(0).toUpperCase()}${job.stage.slice(1)}: ` : ""}${parts.join(", ")}`;
}

function outcome({ kind, report }) {
  if (report?.found === undefined) return "";
  const taken = ["added", "unchanged", "renamed"].filter((key) => report[key]);
  const rest = report.found - taken.reduce((sum, key) => sum + report[key], 0);
  // What captions name and the folder does not hold was skipped, but not found.
  const among = Math.max(0, Math.min(rest, skipped({ kind, report })));
  const beside = skipped({ kind, report }) - among;
  const parts = taken.map((key) => `${amount(report[key])} ${key}`);
  if (among) parts.push(`${amount(among)} skipped`);
  const found = `${count(report.found, "file")} found${parts.length ? `: ${listed(parts)}` : ""}.`;
  const more = [
    beside && `${amount(beside)} ${among ? "more " : ""}skipped.`,
    report.removed && `${amount(report.removed)} removed.`,
  ];
  return [found, ...more.filter(Boolean)].join(" ");
}

function skipped({ kind, report }) {
  const failed = isFilling({ kind }) ? report?.failed : 0;
  return Array.isArray(failed) ? failed.length : (failed ?? 0);
}

function skippedOf(job) {
  const list = h("ul", { class: "skipped" });
  const load = async () => {
    const failed = await ask(galleryPath(job.gallery, "/failed"));
    list.replaceChildren(
      ...failed.map((one) => h("li", {}, h("strong", { title: one.uri }, fileName(one.uri)), ` ${one.reason ?? ""}`)),
    );
  };
  const toggled = (event) => event.target.open && load().catch((error) => complain(error));
  return h("details", { toggle: toggled }, h("summary", {}, "What was skipped"), list);
}

/** Show the jobs that make the open gallery, above its wall, while there are any. */
export function showFilling(jobs, onAct) {
  const room = byId("filling");
  if (!jobs.length) return room.replaceChildren();
  const list =
    room.querySelector("ul") ?? h("ul", { class: "jobs", role: "list", "aria-label": "Jobs of this gallery" });
  if (!list.isConnected) room.replaceChildren(list);
  return showJobs(list, jobs, onAct);
}
