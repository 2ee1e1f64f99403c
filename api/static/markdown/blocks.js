// Parses lines into a tree of Markdown blocks: headings, paragraphs, lists, quotes, tables, code,
// formulas, rules. Builds no elements. Each node has a `key`, its source: nodes with equal keys
// look the same. HTML blocks are text.

import { displayed, opensDisplay } from "./display.js";
import { isTableStart, table } from "./tables.js";

const DEEPEST = 12; // levels of nested quotes and lists; anything deeper is text
const FENCE = /^( {0,3})(`{3,}|~{3,})(.*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*))?$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-+*]|\d{1,9}[.)])(?:([ \t]+)(.*))?$/;
const INDENTED = /^(?: {4}|\t)/;

/** The blocks of some lines. Each has `first` and `end`, the lines that it was made from. */
export function parseBlocks(lines, depth = 0) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const block = blockAt(lines, at, depth);
    block.first = at;
    block.key = `${block.type}\n${lines.slice(at, block.end).join("\n")}`;
    blocks.push(block);
    at = block.end;
  }
  return blocks;
}

function blockAt(lines, at, depth) {
  const line = lines[at];
  if (INDENTED.test(line)) return indentedCode(lines, at);
  if (fenceOf(line)) return fencedCode(lines, at);
  if (HEADING.test(line)) return heading(line, at);
  if (isRule(line)) return { type: "rule", end: at + 1 };
  const formula = displayed(lines, at);
  if (formula) return formula;
  if (depth < DEEPEST && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return list(lines, at, depth);
  if (isTableStart(lines, at)) return table(lines, at, (next) => startsBlock(lines, next));
  return paragraph(lines, at);
}

/**
 * The match of a line that opens a code block, or null. A backtick fence with more backticks behind
 * it is inline code.
 */
function fenceOf(line) {
  const match = FENCE.exec(line);
  return match && (match[2][0] === "~" || !match[3].includes("`")) ? match : null;
}

const isBlank = (line) => /^[ \t]*$/.test(line);

function isRule(line) {
  const bare = line.replace(/[ \t]/g, "");
  return !INDENTED.test(line) && /^(?:\*{3,}|-{3,}|_{3,})$/.test(bare);
}

/** Whether a line ends the paragraph before it. */
function startsBlock(lines, at) {
  const line = lines[at];
  if (fenceOf(line) || HEADING.test(line) || isRule(line) || QUOTE.test(line)) return true;
  if (opensDisplay(line)) return true;
  const item = ITEM.exec(line);
  // As in CommonMark: a number that begins a line of a paragraph starts a list only if it is 1.
  return Boolean(item?.[4]) && (!/\d/.test(item[2]) || /^1[.)]$/.test(item[2]));
}

function heading(line, at) {
  const [, marks, text = ""] = HEADING.exec(line);
  return { type: "heading", level: marks.length,
    text: text.replace(/(?:^|[ \t]+)#+[ \t]*$/, "").trim(), end: at + 1 };
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && !isBlank(lines[end]) && !startsBlock(lines, end)
    && !isTableStart(lines, end)) {
    // Only equals signs make a heading: models mean a rule by dashes below a paragraph.
    if (/^ {0,3}=+[ \t]*$/.test(lines[end]))
      return { type: "heading", level: 1, text: joined(lines, at, end), end: end + 1 };
    end += 1;
  }
  return { type: "paragraph", text: joined(lines, at, end), end };
}

const joined = (lines, from, end) => lines.slice(from, end).map((line) => line.trimStart())
  .join("\n").trimEnd();

function fencedCode(lines, at) {
  const [, indent, fence, info] = fenceOf(lines[at]);
  const closing = new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \\t]*$`);
  const strip = new RegExp(`^ {0,${indent.length}}`);
  let end = at + 1;
  while (end < lines.length && !closing.test(lines[end])) end += 1;
  const text = lines.slice(at + 1, end).map((line) => line.replace(strip, "")).join("\n");
  const language = /^[\w+#.-]{1,30}/.exec(info.trim())?.[0].toLowerCase() ?? "";
  return { type: "code", language, text, end: Math.min(end + 1, lines.length) };
}

function indentedCode(lines, at) {
  let end = at;
  for (let next = at; next < lines.length && (isBlank(lines[next]) || INDENTED.test(lines[next]));
    next += 1) {
    if (!isBlank(lines[next])) end = next + 1;
  }
  return { type: "code", language: "",
    text: lines.slice(at, end).map((line) => line.replace(INDENTED, "")).join("\n"), end };
}

function quote(lines, at, depth) {
  const inner = [];
  let end = at;
  while (end < lines.length && (QUOTE.test(lines[end]) || continues(lines, end, inner))) {
    inner.push(lines[end].replace(QUOTE, ""));
    end += 1;
  }
  return { type: "quote", children: parseBlocks(inner, depth + 1), end };
}

/**
 * Whether a line without a marker continues the paragraph before it (CommonMark: lazy
 * continuation).
 */
function continues(lines, at, before) {
  const last = before.at(-1) ?? "";
  return !isBlank(lines[at]) && !startsBlock(lines, at) && !ITEM.test(lines[at]) && !isBlank(last)
    && !fenceOf(last) && !HEADING.test(last);
}

const indentOf = (line) => /^[ \t]*/.exec(line)[0].replaceAll("\t", "    ").length;

function list(lines, at, depth) {
  const [, , marker] = ITEM.exec(lines[at]);
  const kind = marker.at(-1), ordered = /\d/.test(marker);
  const items = [];
  let end = at, loose = false;
  for (;;) {
    const match = end < lines.length && !isRule(lines[end]) ? ITEM.exec(lines[end]) : null;
    if (!match || match[2].at(-1) !== kind) break;
    const item = listItem(lines, end, match, depth);
    items.push(item);
    end = item.end;
    let next = end;
    while (next < lines.length && isBlank(lines[next])) next += 1;
    const goesOn = next < lines.length && !isRule(lines[next])
      && ITEM.exec(lines[next])?.[2].at(-1) === kind;
    loose ||= item.loose || (goesOn && next > end);
    if (!goesOn) break;
    end = next;
  }
  return { type: "list", ordered, start: ordered ? parseInt(marker, 10) : null, loose,
    children: items, end };
}

function listItem(lines, at, match, depth) {
  const [, indent, marker, gap = " ", text = ""] = match;
  const width = indent.length + marker.length + (gap.length > 4 ? 1 : gap.length);
  const inner = [text];
  let end = at + 1, blank = false;
  while (end < lines.length) {
    const line = lines[end];
    // Models often indent the content of "1." by two columns; CommonMark requires three.
    const belongs = indentOf(line) >= Math.min(width, indent.length + 2);
    if (!isBlank(line) && !belongs && (blank || !continues(lines, end, inner))) break;
    blank = isBlank(line);
    inner.push(blank ? "" : outdented(line, width));
    end += 1;
  }
  while (inner.length > 1 && isBlank(inner.at(-1))) {
    inner.pop();
    end -= 1;
  }
  const { checked, rest } = task(inner[0]);
  const children = parseBlocks([rest, ...inner.slice(1)], depth + 1);
  const key = `item\n${inner.join("\n")}`;
  return { type: "item", checked, children, loose: blankBetween(children), key, end };
}

function outdented(line, width) {
  return line.replace(/^[ \t]*/,
    (space) => " ".repeat(Math.max(0, space.replaceAll("\t", "    ").length - width)));
}

function blankBetween(blocks) {
  return blocks.some((block, index) => index > 0 && block.type === "paragraph"
    && block.first > blocks[index - 1].end);
}

/** The checkbox of a task item: true, false, or null for none. */
function task(line) {
  const match = /^\[([ xX])\] (.*)$/.exec(line);
  return match ? { checked: match[1] !== " ", rest: match[2] } : { checked: null, rest: line };
}
