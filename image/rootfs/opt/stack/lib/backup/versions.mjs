// Compares versions, and chooses the saved states of a rollback.

/**
 * Compares two versions of a program: negative, 0, positive, or undefined if their order is unknown. Convex's versions
 * are ordered by day; two of the same day are not. Others are ordered by their numbers, `-beta.1` before the release
 * and `-2` after it.
 */
export function compare(a, b) {
  if (a === b) return 0;
  const [x, y] = [a, b].map((version) => parts(version ?? ""));
  if (!x || !y || x.dated !== y.dated) return undefined;
  for (let at = 0; at < Math.max(x.numbers.length, y.numbers.length); at += 1) {
    const difference = (x.numbers[at] ?? 0) - (y.numbers[at] ?? 0);
    if (difference !== 0) return difference;
  }
  if (x.dated) return undefined;
  return rank(x.rest) - rank(y.rest) || x.rest.localeCompare(y.rest, "en", { numeric: true });
}

function parts(version) {
  const [, day] = /^precompiled-(\d{4}-\d{2}-\d{2})-/.exec(version) ?? [];
  if (day) return { dated: true, numbers: day.split("-").map(Number), rest: "" };
  const [, numbers, rest] = /^v?(\d+(?:\.\d+)*)(?:-([0-9A-Za-z.-]+))?$/.exec(version) ?? [];
  return numbers && { dated: false, numbers: numbers.split(".").map(Number), rest: rest ?? "" };
}

/** Pre-releases before the release before post-releases. */
const rank = (rest) => (rest === "" ? 1 : /^\d+$/.test(rest) ? 2 : 0);

/**
 * Chooses the saved states of a rollback from `states` (newest first), in the order to restore them. If the image is
 * older than the data: for each refused service, the newest state that the image can open. Otherwise: the state saved
 * before the last update.
 */
export function choose(states, versions, ours) {
  const isNewer = (name, version) => Boolean(version) && compare(version, ours[name] ?? version) > 0;
  const fitting = states.filter(({ head }) => !Object.entries(head.versions).some(([name, version]) => isNewer(name, version)));
  const refused = Object.keys(versions).filter((name) => isNewer(name, versions[name]));
  if (refused.length === 0) {
    const last = fitting.find(({ head }) => Object.entries(head.versions).some(([name, version]) => version !== versions[name]));
    return last ? [last] : [];
  }
  const wanted = refused.map((name) => fitting.find(({ head }) => name in head.versions));
  return wanted.includes(undefined) ? [] : fitting.filter((state) => wanted.includes(state)).reverse();
}
