// Formats numbers for people.

const WHOLE = new Intl.NumberFormat("en");

export const whole = (value) => WHOLE.format(Math.round(value));

/** Tokens per second: one decimal below 10. */
export const rate = (value) => (value < 10 ? value.toFixed(1) : whole(value));

/** A time span given in milliseconds, with two or three digits. */
export function span(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 100) return `${Math.round(s)} s`;
  const minutes = Math.round(s / 60);
  return minutes < 100 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

/** How long ago something was, in whole seconds: it is updated every second. */
export const ago = (ms) =>
  (ms < 1000 ? "just now" : `${span(Math.floor(ms / 1000) * 1000).replace(".0", "")} ago`);

export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${count < 10 && unit > 0 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

/** A share of a whole; a dash where there is no whole. */
export const share = (part, all) => (all > 0 ? `${Math.round((100 * part) / all)} %` : "–");
