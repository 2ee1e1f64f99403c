// Text within a block, as a tree: code, formulas, emphasis, links, breaks. Builds no elements;
// linear in the length of the text. Raw HTML stays text. Only http, https and mailto addresses
// become links.

import { emphasise } from "./emphasis.js";
import { Dollars } from "./dollars.js";

const MOST_MARKS = 1000; // emphasis marks and brackets in one block; the text after them is plain
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const BARE_URL = /https?:\/\/[^\s<>"`|\\^{}]+/iy;
const AUTOLINK = /<((?:https?:\/\/|mailto:)[^\s<>]*)>/iy;
const ENTITY = /&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,8}));/iy;
const NAMED = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©",
  hellip: "…", mdash: "—",
  ndash: "–", times: "×", rarr: "→", larr: "←", deg: "°" };
const BREAK_TAG = /<br ?\/?>/iy;
const ADDRESS = /<([^<>\n]*)>|((?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\))*)/.source;
const TITLE = /\s+(?:"[^"]*"|'[^']*')/.source;
const DESTINATION = new RegExp(`\\(\\s*(?:${ADDRESS})(?:${TITLE})?\\s*\\)`, "y");
const PLAIN = /[^\\`*_~[\]!<&$\nhH]+/y;
const CLOSING = { "(": "\\)", "[": "\\]" }; // of formulas in TeX's marks

/** The address if links to it are allowed, else null. */
export function safeAddress(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
}

/** The nodes of a text. */
export function parseInline(text) {
  return new Inline(text).run();
}

class Inline {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.nodes = [];
    this.brackets = []; // of links that may begin here: {index: in nodes, image, active}
    this.marks = 0;
    this.dollars = new Dollars(text);
    this.unclosed = new Set(); // marks of TeX without an end behind here
    this.ticks = null; // where runs of backticks begin, by their length
  }

  run() {
    while (this.at < this.text.length) {
      const plain = this.match(PLAIN);
      if (plain) this.add(plain[0]);
      else this.special(this.text[this.at]);
    }
    return emphasise(this.nodes, 0);
  }

  special(char) {
    const handled =
      char === "\\" ? this.formula() || this.escape() :
      char === "$" ? this.dollar() :
      char === "`" ? this.code() :
      char === "\n" ? this.lineBreak() :
      char === "&" ? this.entity() :
      char === "<" ? this.angle() :
      char === "[" || (char === "!" && this.text[this.at + 1] === "[") ? this.openBracket() :
      char === "]" ? this.closeBracket() :
      char === "*" || char === "_" || char === "~" ? this.mark(char) :
      char === "h" || char === "H" ? this.bareUrl() : false;
    if (!handled) this.add(this.text[this.at++], false);
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    return pattern.exec(this.text);
  }

  /** Add text; by default the text at the current position, which advances past it. */
  add(text, advance = true) {
    const last = this.nodes.at(-1);
    if (last?.type === "text" && !last.bracket) last.text += text;
    else this.nodes.push({ type: "text", text });
    if (advance) this.at += text.length;
    return true;
  }

  push(node, length) {
    this.nodes.push(node);
    this.at += length;
    return true;
  }

  /** A formula between `\\(` and `\\)`, or between `\\[` and `\\]`. */
  formula() {
    const opening = this.text[this.at + 1], closing = CLOSING[opening];
    if (!closing || this.unclosed.has(opening)) return false;
    const end = this.text.indexOf(closing, this.at + 2);
    if (end < 0) this.unclosed.add(opening);
    return end >= 0 && this.math(this.at + 2, end, end + 2, opening === "[");
  }

  /** A formula between dollar signs. */
  dollar() {
    const found = this.dollars.formulaAt(this.at);
    return found !== null && this.math(found.from, found.to, found.end, found.display);
  }

  math(from, to, end, display) {
    const text = this.text.slice(from, to);
    if (!text.trim()) return false;
    const written = this.text.slice(this.at, end);
    return this.push({ type: "math", text, display, written }, end - this.at);
  }

  escape() {
    const next = this.text[this.at + 1] ?? "";
    if (next === "\n") return this.push({ type: "break" }, 2);
    if (!PUNCTUATION.test(next)) return false;
    this.at += 1;
    return this.add(next);
  }

  code() {
    const run = this.runLength("`");
    this.ticks ??= backtickRuns(this.text);
    const positions = this.ticks.get(run) ?? [];
    // Reversed: the last is the next one.
    while (positions.length && positions.at(-1) < this.at + run) positions.pop();
    const close = positions.at(-1);
    if (close === undefined) return this.add("`".repeat(run));
    let inner = this.text.slice(this.at + run, close).replaceAll("\n", " ");
    if (inner.startsWith(" ") && inner.endsWith(" ") && inner.trim() !== "")
      inner = inner.slice(1, -1);
    return this.push({ type: "code", text: inner }, close + run - this.at);
  }

  runLength(char) {
    let end = this.at;
    while (this.text[end] === char) end += 1;
    return end - this.at;
  }

  // A single newline breaks the line: models write poems and addresses that way, and rarely wrap
  // paragraphs.
  lineBreak() {
    const last = this.nodes.at(-1);
    if (last?.type === "text") last.text = last.text.replace(/[ \t]+$/, "");
    return this.push({ type: "break" }, 1);
  }

  entity() {
    const match = this.match(ENTITY);
    if (!match) return false;
    const number = match[1] ? Number(match[1]) : match[2] ? parseInt(match[2], 16) : null;
    const text = number === null ? NAMED[match[3].toLowerCase()] : character(number);
    if (text === undefined) return false;
    this.at += match[0].length;
    return this.add(text, false);
  }

  angle() {
    const tag = this.match(BREAK_TAG);
    if (tag) return this.push({ type: "break" }, tag[0].length);
    const match = this.match(AUTOLINK);
    const href = match && safeAddress(match[1]);
    if (!href) return false;
    return this.push(link(href, [{ type: "text", text: match[1] }]), match[0].length);
  }

  bareUrl() {
    const before = this.text[this.at - 1] ?? " ";
    const match = /[\w@/]/.test(before) ? null : this.match(BARE_URL);
    if (!match) {
      const word = /[hH][^\\`*_~[\]!<&$\nhH]*/y;
      return this.add(this.match(word)[0]);
    }
    const shown = withoutTail(match[0]);
    const href = safeAddress(shown);
    return href ? this.push(link(href, [{ type: "text", text: shown }]), shown.length)
      : this.add(shown);
  }

  openBracket() {
    if (++this.marks > MOST_MARKS) return false;
    const mark = this.text[this.at] === "!" ? "![" : "[";
    this.brackets.push({ index: this.nodes.length, image: mark === "![", active: true });
    return this.push({ type: "text", text: mark, bracket: true }, mark.length);
  }

  closeBracket() {
    const opener = this.brackets.pop();
    if (!opener?.active) return false;
    this.at += 1;
    const match = this.match(DESTINATION);
    this.at -= 1;
    const href = match && safeAddress((match[1] ?? match[2]).replace(/\\(?=[!-/:-@[-`{-~])/g, ""));
    if (!match) return false;
    const inner = emphasise(this.nodes.splice(opener.index).slice(1), 0);
    // An image is never loaded: its server would learn who reads this. It becomes a link.
    if (href) this.nodes.push(link(href, inner.length ? inner : [{ type: "text", text: href }]));
    else this.nodes.push(...inner);
    if (!opener.image) for (const other of this.brackets) if (!other.image) other.active = false;
    this.at += 1 + match[0].length;
    return true;
  }

  mark(char) {
    const count = this.runLength(char);
    if (++this.marks > MOST_MARKS || (char === "~" && count !== 2))
      return this.add(char.repeat(count));
    const before = this.text[this.at - 1] ?? " ", after = this.text[this.at + count] ?? " ";
    const { left, right } = flanks(before, after);
    const inWord = char === "_";
    return this.push({
      type: "mark", char, count, run: count,
      opens: left && (!inWord || !right || isPunctuation(before)),
      closes: right && (!inWord || !left || isPunctuation(after)),
    }, count);
  }
}

const isPunctuation = (char) => /[\p{P}\p{S}]/u.test(char);

/** Whether a run of marks between two characters may begin and may end emphasis. */
function flanks(before, after) {
  const spaceBefore = /\s/.test(before), spaceAfter = /\s/.test(after);
  const left = !spaceAfter && (!isPunctuation(after) || spaceBefore || isPunctuation(before));
  const right = !spaceBefore && (!isPunctuation(before) || spaceAfter || isPunctuation(after));
  return { left, right };
}

function backtickRuns(text) {
  const runs = new Map();
  for (const { 0: run, index } of text.matchAll(/`+/g)) {
    if (!runs.has(run.length)) runs.set(run.length, []);
    runs.get(run.length).push(index);
  }
  for (const positions of runs.values()) positions.reverse();
  return runs;
}

function character(number) {
  if (number === 0 || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff)) return "\ufffd";
  return String.fromCodePoint(number);
}

const link = (href, children) => ({ type: "link", href, children });

/**
 * An address without the punctuation of the sentence around it, or a closing bracket that belongs
 * to the text.
 */
function withoutTail(url) {
  let shown = url.replace(/[.,:;!?'*_~\]]{1,100}$/, "");
  let extra = shown.split(")").length - shown.split("(").length;
  for (; extra > 0 && shown.endsWith(")"); extra -= 1) shown = shown.slice(0, -1);
  return shown;
}
