// Paths of a backup.

/** Whether a path is one of the patterns or lies below one, and whether one lies below it. A `*` ends a name. */
export function among(patterns) {
  const parts = patterns.map((pattern) => ({ plain: pattern.replace(/\*$/, ""), open: pattern.endsWith("*") }));
  return {
    has: (path) => parts.some(({ plain, open }) => path === plain || path.startsWith(open ? plain : `${plain}/`)),
    below: (path) => parts.some(({ plain }) => plain.startsWith(`${path}/`)),
  };
}

/** Below its folder, whatever it is. */
export const isPlain = (path) => !path.includes("\0") && path.split("/").every((part) => !["", ".", ".."].includes(part));
