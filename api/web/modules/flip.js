/** Moving: cards go to their new places where a person can follow them (first, last, invert, play). */

const DURATION = 420;
const EASING = "cubic-bezier(.2, .7, .2, 1)";
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * Give a list these children in this order, and let those that are seen move there.
 * @param {HTMLElement} list
 * @param {HTMLElement[]} nodes
 */
export function rearrange(list, nodes) {
  if (calm.matches || !list.childElementCount) return place(list, nodes);
  const before = boxes([...list.children]);
  for (const node of before.keys()) for (const animation of node.getAnimations()) animation.cancel();
  place(list, nodes);
  const after = boxes(nodes);
  for (const node of nodes) move(node, before.get(node), after.get(node));
  return undefined;
}

/** Put nodes in order with as few moves as an easy way allows; who has the focus keeps it. */
function place(list, nodes) {
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const kept = new Set(nodes);
  for (const child of [...list.children]) if (!kept.has(child)) child.remove();
  nodes.forEach((node, at) => {
    if (list.children[at] !== node) list.insertBefore(node, list.children[at] ?? null);
  });
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

function boxes(nodes) {
  return new Map(nodes.map((node) => [node, node.getBoundingClientRect()]));
}

function move(node, from, to) {
  if (!isSeen(to) && !(from && isSeen(from))) return;
  if (!from) {
    node.animate([{ opacity: 0 }, { opacity: 1 }], { duration: DURATION / 2, easing: "ease-out" });
    return;
  }
  const [x, y] = [from.left - to.left, from.top - to.top];
  if (Math.abs(x) < 1 && Math.abs(y) < 1) return;
  // What comes from far below would cross the page in a blur: it starts just outside of what is seen.
  const reach = Math.max(-innerHeight, Math.min(innerHeight, y));
  node.animate([{ transform: `translate(${x}px, ${reach}px)` }, { transform: "none" }], {
    duration: DURATION,
    easing: EASING,
  });
}

function isSeen(box) {
  return box.bottom > -100 && box.top < innerHeight + 100;
}
