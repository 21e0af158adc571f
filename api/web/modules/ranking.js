/** The order of hits: what the matcher makes of the order of the first stage. Pure functions of hits. */

/**
 * A hit as it comes from the service, and its score while the matcher still reads.
 * @typedef {object} Hit
 * @property {number} id
 * @property {string} uri
 * @property {number|null} rank             final rank, null until all candidates have been read
 * @property {number|null} itc_rank
 * @property {number|null} itc_similarity
 * @property {number|null} itm_logit
 * @property {number|null} match_probability
 * @property {number|null} score
 * @property {boolean} stale
 */

/**
 * Order hits as if only the first `depth` of the first stage had been reranked.
 * @param {Hit[]} hits
 * @param {number} depth
 * @returns {Hit[]}
 */
export function arrange(hits, depth) {
  if (hits.some((hit) => hit.itc_rank === null)) return [...hits].sort((one, other) => one.rank - other.rank);
  const found = [...hits].sort(byItc);
  return [...found.slice(0, depth).sort(byMatch), ...found.slice(depth)];
}

/** Whether a hit reaches a threshold; one that was not read yet may still. */
export function mayReach(hit, threshold, isFinal) {
  return hit.match_probability === null ? !isFinal : hit.match_probability >= threshold;
}

/** The hit that comes nearest to a threshold that none reaches. */
export function likeliest(hits) {
  const read = hits.filter((hit) => hit.match_probability !== null);
  return read.reduce((best, hit) => (best && best.match_probability >= hit.match_probability ? best : hit), null);
}

/** How many hits the matcher reads or has read. */
export function judgedCount(hits) {
  return hits.filter((hit) => hit.match_probability !== null || hit.itm_logit !== null).length;
}

/** The threshold of the rule that reaches a precision, if one does. */
export function thresholdFor(precision, calibration) {
  const rules = (calibration?.precisions ?? []).filter((rule) => rule.precision >= precision - 1e-9);
  return rules.length ? Math.min(...rules.map((rule) => rule.threshold)) : null;
}

function byItc(one, other) {
  return one.itc_rank - other.itc_rank;
}

function byMatch(one, other) {
  if (one.rank !== null && other.rank !== null) return one.rank - other.rank;
  const [a, b] = [one.score ?? -Infinity, other.score ?? -Infinity];
  return a === b ? byItc(one, other) : b - a;
}
