// Which of two versions is newer, and which kept states a rollback means.

/**
 * How two versions of one program stand to each other: negative, 0, positive, or undefined when they do not order.
 * Convex's sort by day, of which two do not sort; others by their numbers, where `-beta.1` comes before the release and
 * `-2` after it.
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

/** A pre-release, a release, what came after it. */
const rank = (rest) => (rest === "" ? 1 : /^\d+$/.test(rest) ? 2 : 0);

/**
 * The kept states that a rollback means, in the order of bringing them back, out of `states`, the newest first. For an
 * image that is older than the data: of each service that is concerned the newest that it can open; otherwise what was
 * kept before the last update.
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
