/** Pictures of this device on their way to the service: a few at a time, each with its place in its folder. */

import { ask, galleryPath } from "./service.js";

const MOST_FILES = 32;
const MOST_BYTES = 16e6;
/** Files that folders hold besides pictures, which nobody means to send. */
const HIDDEN = /(^|\/)(\.|Thumbs\.db$|desktop\.ini$)/;

/**
 * Send files to a gallery, and say which were not taken and why.
 * @param {string} gallery
 * @param {{file: File, path: string}[]} files
 * @param {{onProgress: (part: number) => void, signal: AbortSignal}} how
 * @returns {Promise<{stored: number, skipped: {uri: string, reason: string}[]}>}
 */
export async function upload(gallery, files, { onProgress, signal }) {
  const wanted = files.filter(({ path }) => !HIDDEN.test(path));
  const outcome = { stored: 0, skipped: [] };
  let done = 0;
  for (const part of parts(wanted)) {
    const { stored, skipped } = await send(gallery, part, signal);
    outcome.stored += stored;
    outcome.skipped.push(...skipped);
    done += part.length;
    onProgress(done / wanted.length);
  }
  return outcome;
}

/**
 * All files of a drop, those in folders included.
 * @param {DataTransfer} transfer
 */
export async function listFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, path: file.name }));
  return (await Promise.all(entries.map((entry) => walk(entry, "")))).flat();
}

async function send(gallery, part, signal) {
  const body = new FormData();
  for (const { file, path } of part) body.append("image", file, path);
  try {
    return await ask(galleryPath(gallery, "/pictures"), { method: "POST", body, signal });
  } catch (error) {
    // One that is too large on its own is named; the others are sent without it.
    if (error.status !== 413) throw error;
    if (part.length === 1) return { stored: 0, skipped: [{ uri: part[0].path, reason: error.message }] };
    return joined(await each(part, (one) => send(gallery, [one], signal)));
  }
}

async function each(list, doing) {
  const all = [];
  for (const one of list) all.push(await doing(one));
  return all;
}

function joined(outcomes) {
  return {
    stored: outcomes.reduce((sum, one) => sum + one.stored, 0),
    skipped: outcomes.flatMap((one) => one.skipped),
  };
}

function parts(files) {
  const all = [[]];
  let size = 0;
  for (const one of files) {
    const last = all.at(-1);
    if (last.length && (last.length === MOST_FILES || size + one.file.size > MOST_BYTES)) {
      all.push([one]);
      size = one.file.size;
    } else {
      last.push(one);
      size += one.file.size;
    }
  }
  return all.filter((part) => part.length);
}

async function walk(entry, folder) {
  const path = folder + entry.name;
  if (entry.isFile) return [{ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path }];
  const reader = entry.createReader();
  const inside = [];
  // A reader gives a hundred entries at a time, and none at the end.
  for (let some = await read(reader); some.length; some = await read(reader)) inside.push(...some);
  return (await Promise.all(inside.map((one) => walk(one, `${path}/`)))).flat();
}

function read(reader) {
  return new Promise((resolve, reject) => reader.readEntries(resolve, reject));
}
