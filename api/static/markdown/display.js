// Formulas on lines of their own: between `$$` and `$$`, or between `\[` and `\]`.

const OPENING = /^ {0,3}(\$\$|\\\[)/;
const CLOSING = { "$$": "$$", "\\[": "\\]" };
const MOST_LINES = 200;

/** Whether a formula may begin at a line: a block of its own begins there in any case. */
export const opensDisplay = (line) => OPENING.test(line);

/**
 * The block of a formula that begins at a line, or null. One without an end so far reaches to the
 * last line and is shown as it was written: more may come. A blank line ends no formula, as in TeX.
 */
export function displayed(lines, at) {
  const match = OPENING.exec(lines[at]);
  if (!match) return null;
  const closing = CLOSING[match[1]], inner = [];
  for (let next = at; next < at + MOST_LINES; next += 1) {
    const line = next === at ? lines[at].slice(match[0].length) : lines[next];
    const isLast = next === lines.length - 1, place = line.indexOf(closing);
    if (place >= 0 && line.slice(place + 2).trim() !== "") return null; // text goes on behind it
    if (place < 0 && next > at && !isLast && line.trim() === "") return null;
    inner.push(place >= 0 ? line.slice(0, place) : line);
    if (place >= 0 || isLast) return block(lines, at, next + 1, place >= 0 ? inner : []);
  }
  return null;
}

function block(lines, at, end, inner) {
  const text = inner.join("\n").trim(), written = lines.slice(at, end).join("\n").trim();
  return text ? { type: "math", text, written, end } : { type: "paragraph", text: written, end };
}
