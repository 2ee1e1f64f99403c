// The list of conversations in groups by date, and what is found in them. Pure functions.

const DAY_MS = 24 * 3600 * 1000;
const month = new Intl.DateTimeFormat("en", { month: "long", year: "numeric" });
const exact = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

/** The name of the group that a conversation belongs to. */
function groupOf({ pinned, updated }, now) {
  if (pinned) return "Pinned";
  const today = new Date(now).setHours(0, 0, 0, 0);
  if (updated >= today) return "Today";
  // Days are not all of 24 hours: clocks are set forward and back.
  const days = Math.round((today - new Date(updated).setHours(0, 0, 0, 0)) / DAY_MS);
  if (days === 1) return "Yesterday";
  if (days <= 7) return "Previous 7 days";
  if (days <= 30) return "Previous 30 days";
  return month.format(updated);
}

/** Groups `[name, conversations]` of a sorted list. */
export function groups(conversations, now = Date.now()) {
  const found = new Map();
  for (const one of conversations) {
    const name = groupOf(one, now);
    found.set(name, [...(found.get(name) ?? []), one]);
  }
  return [...found];
}

/** When a conversation was last used, for its tooltip. */
export const whenWords = ({ updated }) => exact.format(updated);

/** Whether a conversation has all words of a query, in its name or in any of its messages. */
export function matches({ title, messages }, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return true;
  const files = messages.flatMap((message) => message.files ?? []);
  const text = [title, ...messages.map((message) => message.text),
    ...files.map((file) => file.name)].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}
