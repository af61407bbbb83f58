// Paths in a backup.

/** Matches paths: `has` if it is or is below a pattern, `below` if a pattern is below it. Patterns may end with `*`. */
export function among(patterns) {
  const parts = patterns.map((pattern) => ({ plain: pattern.replace(/\*$/, ""), open: pattern.endsWith("*") }));
  return {
    has: (path) => parts.some(({ plain, open }) => path === plain || path.startsWith(open ? plain : `${plain}/`)),
    below: (path) => parts.some(({ plain }) => plain.startsWith(`${path}/`)),
  };
}

/** Whether a relative path stays within its folder. */
export const isPlain = (path) => !path.includes("\0") && path.split("/").every((part) => !["", ".", ".."].includes(part));
