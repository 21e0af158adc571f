/** The page: an address comes in, a view goes out. */

import { followLinks, onPlace, place, putRight } from "./address.js";
import { wireBox } from "./box.js";
import { wireControls } from "./controls.js";
import { byId } from "./elements.js";
import { galleries, wireSwitcher } from "./gallery.js";
import { rove } from "./grid.js";
import { complain, forgive } from "./notices.js";
import { leaveSearch, openByClick, showSearch, wireSearch } from "./search.js";
import { wireWall } from "./wall.js";

const VIEWS = {
  search: async () => ({ show: showSearch, leave: leaveSearch }),
  galleries: () => import("./galleries.js"),
  evaluations: () => import("./evaluations.js"),
};
const TITLES = { search: "Search", galleries: "Galleries", evaluations: "Evaluations" };

let shown = { name: null, view: null };

async function show(now) {
  markNavigation(now);
  if (now.view !== shown.name) {
    forgive();
    shown.view?.leave?.();
    shown = { name: now.view, view: null };
    for (const name of Object.keys(VIEWS)) byId(`view-${name}`).hidden = name !== now.view;
    const view = await VIEWS[now.view]();
    if (shown.name !== now.view) return;
    shown.view = view;
  }
  await shown.view?.show(place());
}

function markNavigation(now) {
  document.title = [now.view === "search" ? now.q : TITLES[now.view], now.gallery, "Sightline"]
    .filter(Boolean)
    .join(" · ");
  for (const link of document.querySelectorAll("nav a")) {
    const { view } = link.dataset;
    if (view === now.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    const gallery = now.gallery && view !== "galleries" ? `gallery=${encodeURIComponent(now.gallery)}` : "";
    link.href = `/${view === "search" ? (gallery ? `?${gallery}` : "") : `?view=${view}${gallery ? `&${gallery}` : ""}`}`;
  }
}

const meet = (now) => show(now).catch((error) => complain(error, () => meet(place())));

document.addEventListener("click", openByClick);
followLinks();
wireBox();
wireControls();
wireSwitcher();
wireSearch();
wireWall();
rove(byId("hits"));
onPlace(meet);
putRight();
meet(place());
if (place().gallery) galleries().catch(() => {});
