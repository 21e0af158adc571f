/** The three drawings of an evaluation: recall at k, reliability, precision by threshold. */

import { chart } from "./charts.js";
import { amount, count, percent, share } from "./wording.js";

const TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const SHARES = [0, 0.25, 0.5, 0.75, 1];

/**
 * Recall at k before and after reranking.
 * @param {object} direction of an evaluation
 * @param {string} words     the direction in words
 */
export function recallChart(direction, words) {
  const { k, before, after } = direction.curve ?? fromMeasures(direction);
  const points = (values) => k.map((at, i) => [at, values[i]]);
  const series = [{ name: "before reranking", look: "before", points: points(before) }];
  if (after) series.push({ name: "after reranking", look: "after", points: points(after) });
  const ticks = TICKS.filter((tick) => tick <= Math.max(...k));
  return chart({
    title: `Recall at k: ${words}`,
    about: `Recall at ${k[0]} is ${percent(before[0])} before reranking${after ? ` and ${percent(after[0])} after it` : ""}${direction.queries ? `, over ${count(direction.queries, "query", "queries")}` : ""}.`,
    across: "k",
    up: "found, %",
    ticks: ticks.length > 1 ? ticks : [1, 10],
    isLog: true,
    series,
    numbers: {
      head: ["k", "before", ...(after ? ["after"] : [])],
      rows: k.map((at, i) => [amount(at), share(before[i]), ...(after ? [share(after[i])] : [])]),
    },
  });
}

/** How often a first hit is right, by the match probability that was said. */
export function reliabilityChart({ bins, queries }) {
  const filled = bins.filter((bin) => bin.count > 0);
  return chart({
    title: "Reliability of first hits",
    about: `Of first hits with some match probability, so many are right; on the diagonal the two agree. From ${count(queries, "query", "queries")}.`,
    across: "match probability, %",
    up: "right, %",
    ticks: SHARES,
    series: [
      {
        name: "agreement",
        look: "ideal",
        points: [
          [0, 0],
          [1, 1],
        ],
      },
      {
        name: "measured",
        look: "after",
        points: filled.map((bin) => [bin.confidence, bin.accuracy]),
        weights: filled.map((bin) => bin.count),
      },
    ],
    numbers: {
      head: ["said", "right", "hits"],
      rows: filled.map((bin) => [percent(bin.confidence), percent(bin.accuracy), amount(bin.count)]),
    },
  });
}

/** What a minimum match probability gives: how many hits are right, and how many matches are found. */
export function precisionChart({ precisions }) {
  const rules = [...precisions].sort((one, other) => one.threshold - other.threshold);
  return chart({
    title: "Precision by threshold",
    about: `A minimum of ${percent(rules.at(-1).threshold)} gives a precision of ${percent(rules.at(-1).precision)} and finds ${percent(rules.at(-1).recall)} of the matches.`,
    across: "minimum match probability, %",
    up: "%",
    ticks: SHARES,
    series: [
      { name: "matches found", look: "before", points: rules.map((rule) => [rule.threshold, rule.recall]) },
      { name: "precision", look: "after", points: rules.map((rule) => [rule.threshold, rule.precision]) },
    ],
    numbers: {
      head: ["minimum", "precision", "found"],
      rows: rules.map((rule) => [percent(rule.threshold), percent(rule.precision), percent(rule.recall)]),
    },
  });
}

/** Evaluations that kept no curve have three points of it. */
function fromMeasures({ before, after }) {
  const k = [1, 5, 10];
  const at = (measures) => k.map((n) => measures[`recall@${n}`]);
  return { k, before: at(before), after: after ? at(after) : null };
}
