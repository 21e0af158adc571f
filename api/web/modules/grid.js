/** A list of links as a grid: one stop for Tab, arrow keys between pictures. */

/**
 * Let arrow keys, Home and End move in a list whose items hold one link each.
 * @param {HTMLElement} list
 */
export function rove(list) {
  list.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const links = linksOf(list);
    const at = links.indexOf(document.activeElement);
    if (at < 0) return;
    const to = STEPS[event.key]?.(links, at);
    if (to === undefined) return;
    event.preventDefault();
    links[to]?.focus();
    links[to]?.scrollIntoView({ block: "nearest" });
  });
  list.addEventListener("focusin", (event) => {
    list.dataset.wasVisited = "";
    keepStop(list, event.target);
  });
}

/** After a list has changed: exactly one of its links is a stop for Tab, the last that was visited or else the first. */
export function keepStop(list, wanted = null) {
  const links = linksOf(list);
  if (!links.length) delete list.dataset.wasVisited;
  const last = "wasVisited" in list.dataset ? links.find((link) => link.tabIndex === 0) : null;
  const stop = links.includes(wanted) ? wanted : (last ?? links[0]);
  for (const link of links) link.tabIndex = link === stop ? 0 : -1;
}

function linksOf(list) {
  return [...list.querySelectorAll(":scope > li > a")];
}

const STEPS = {
  ArrowRight: (links, at) => Math.min(links.length - 1, at + 1),
  ArrowLeft: (_links, at) => Math.max(0, at - 1),
  ArrowDown: (links, at) => inNextRow(links, at, 1),
  ArrowUp: (links, at) => inNextRow(links, at, -1),
  Home: () => 0,
  End: (links) => links.length - 1,
};

/** The picture of the row below (or above) that is nearest; rows may hold any number. */
function inNextRow(links, at, step) {
  const here = links[at].getBoundingClientRect();
  let [best, distance, row] = [at, Infinity, null];
  for (let i = at + step; i >= 0 && i < links.length; i += step) {
    const there = links[i].getBoundingClientRect();
    if (Math.abs(there.top - here.top) < here.height / 2) continue;
    row ??= there.top;
    if (Math.abs(there.top - row) > there.height / 2) break;
    const away = Math.abs(there.left + there.width / 2 - here.left - here.width / 2);
    if (away < distance) [best, distance] = [i, away];
  }
  return best;
}
