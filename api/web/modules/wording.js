/** Numbers and names in words: one way to write each, everywhere on the page. */

const whole = new Intl.NumberFormat("en");

/** A number with its noun: "1 picture", "2,000 pictures". */
export function count(n, noun, plural = `${noun}s`) {
  return `${whole.format(n)} ${n === 1 ? noun : plural}`;
}

/** A number with separators. */
export function amount(n) {
  return whole.format(n);
}

/**
 * A probability as a person reads it: no rounding to certainty, no false digits.
 * @param {number} p 0 to 1
 */
export function percent(p) {
  if (p > 0 && p < 0.001) return "< 0.1 %";
  if (p < 1 && p >= 0.9995) return "> 99.9 %";
  const digits = p !== 0 && p !== 1 && (p < 0.0095 || p >= 0.995) ? 1 : 0;
  return `${(100 * p).toFixed(digits)} %`;
}

/** A similarity or a logit. */
export function decimal(value, digits = 3) {
  return value.toFixed(digits).replace("-", "−");
}

/** A recall or an error as papers write it. */
export function share(value) {
  return (100 * value).toFixed(1);
}

/** How long something takes, roughly. */
export function duration(seconds) {
  if (seconds < 1) return "less than a second";
  if (seconds < 90) return count(Math.round(seconds), "second");
  if (seconds < 5400) return count(Math.round(seconds / 60), "minute");
  return count(Math.round(seconds / 3600), "hour");
}

/** The size of a file. */
export function bytes(n) {
  if (n < 1000) return count(n, "byte");
  const power = Math.min(3, Math.floor(Math.log10(n) / 3));
  const value = n / 1000 ** power;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${["", "kB", "MB", "GB"][power]}`;
}

/** A moment, in the reader's own time. */
export function moment(iso) {
  const at = new Date(/(Z|[+-]\d\d:?\d\d)$/.test(iso) ? iso : `${iso}Z`);
  return Number.isNaN(at.getTime()) ? iso : at.toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
}

/** A gallery's folder as a person knows it: where the service keeps what was uploaded is its own affair. */
export function folderName(source, gallery) {
  return source.replace(/\/$/, "").endsWith(`/uploads/${gallery}`) ? "uploaded pictures" : source;
}

/** The last part of a path. */
export function fileName(uri) {
  return readable(uri.split("/").pop() || uri);
}

/** The part of a path below one of a gallery's folders. */
export function below(uri, sources = []) {
  const folder = sources
    .map((source) => (source.endsWith("/") ? source : `${source}/`))
    .find((source) => uri.startsWith(source));
  return readable(folder ? uri.slice(folder.length) : uri);
}

/** A path as its folder shows it: `%25` is a percent sign. One whose bytes are no text stays as it is. */
function readable(uri) {
  try {
    return decodeURIComponent(uri);
  } catch {
    return uri;
  }
}

/** Words in a row: "a, b and c". */
export function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}
