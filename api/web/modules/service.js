/** The service: questions to it, and what it answers, problems included. */

import { bytes } from "./wording.js";

const TRIES = 6;

/** An error as a sentence for a person. `status` is 0 where the service did not answer at all. */
export class Problem extends Error {
  constructor(status, detail, { field = null, retryAfter = 0 } = {}) {
    super(sentence(detail));
    this.status = status;
    this.field = field;
    this.retryAfter = retryAfter;
  }
}

/**
 * Ask the service and read its JSON; a busy service is asked again when it says so.
 * @param {string} path
 * @param {object} [options]
 * @param {string} [options.method]
 * @param {Record<string, unknown>} [options.query] null values are left out
 * @param {unknown} [options.json] a body to send as JSON
 * @param {BodyInit} [options.body] a body to send as it is
 * @param {AbortSignal} [options.signal]
 * @param {(seconds: number) => void} [options.onBusy] hears of every wait
 * @returns {Promise<any>}
 */
export async function ask(path, options = {}) {
  const response = await answer(path, options);
  if (response.status === 204) return null;
  return guarded(() => response.json(), options.signal);
}

/**
 * Follow a stream of server-sent events.
 * @param {string} path
 * @param {Parameters<typeof ask>[1]} [options]
 * @returns {AsyncGenerator<{event: string, data: any}>}
 */
export async function* events(path, options = {}) {
  const response = await answer(path, { ...options, accept: "text/event-stream" });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await guarded(() => reader.read(), options.signal);
      if (done) return;
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) if (/^data:/m.test(block)) yield event(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Write a path with its parameters. */
function pathOf(path, query = {}) {
  const said = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(said.map(([key, value]) => [key, String(value)])).toString();
  return search ? `${path}?${search}` : path;
}

/** The path of a gallery, or of something of it. */
export function galleryPath(name, rest = "") {
  return `/v1/galleries/${encodeURIComponent(name)}${rest}`;
}

/** Wait, unless it is called off. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

/** Whether an error only says that nobody waits for the answer any more. */
export function isCalledOff(error) {
  return error?.name === "AbortError";
}

async function answer(path, options) {
  const { query, onBusy, signal } = options;
  for (let tried = 1; ; tried += 1) {
    const response = await guarded(() => fetch(pathOf(path, query), asked(options)), signal);
    if (response.ok) return response;
    const found = await problem(response);
    if (found.status !== 429 || tried === TRIES) throw found;
    const seconds = Math.min(30, found.retryAfter * tried);
    onBusy?.(seconds);
    await pause(seconds, signal);
  }
}

function asked({ method = "GET", json, body, signal, accept = "application/json" }) {
  const headers = { Accept: accept };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  return { method, headers, body: json === undefined ? body : JSON.stringify(json), signal };
}

/** Do something with the network; what goes wrong there becomes a sentence. */
async function guarded(doing, signal) {
  try {
    return await doing();
  } catch (error) {
    if (signal?.aborted || isCalledOff(error)) throw new DOMException("nobody waits any more", "AbortError");
    throw new Problem(0, "The service does not answer. It may have been stopped, or the network is down.");
  }
}

async function problem(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || 1;
  const said = await response.json().catch(() => ({}));
  const detail =
    said.detail ?? `The service answered ${response.status}${response.statusText ? `, ${response.statusText}` : ""}.`;
  return new Problem(response.status, detail, { field: said.field, retryAfter });
}

function event(block) {
  const lines = block.split("\n");
  const of = (key) =>
    lines.filter((line) => line.startsWith(`${key}:`)).map((line) => line.slice(key.length + 1).trimStart());
  const [name = "message"] = of("event");
  const data = JSON.parse(of("data").join("\n"));
  if (name === "problem") throw new Problem(data.status, data.detail, { field: data.field });
  return { event: name, data };
}

/** Begin with a capital, end with a full stop, and count bytes as people do. */
function sentence(text) {
  const whole = text.trim().replace(/\b(\d{5,}) bytes/g, (_all, n) => bytes(Number(n)));
  return whole.charAt(0).toUpperCase() + whole.slice(1) + (/[.!?]$/.test(whole) ? "" : ".");
}
