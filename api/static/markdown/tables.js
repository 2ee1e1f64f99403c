// Parses tables: a header, a row of dashes with as many cells, rows. Builds no elements.

/** Whether a table begins at a line. */
export function isTableStart(lines, at) {
  if (at + 1 >= lines.length || !lines[at].includes("|") || !/^[ \t|:-]+$/.test(lines[at + 1]))
    return false;
  const dashes = cells(lines[at + 1]);
  return dashes.length === cells(lines[at]).length && dashes.every((cell) => /^:?-+:?$/.test(cell));
}

/** The table at a line; `ends(line)` tells whether another block begins there. */
export function table(lines, at, ends) {
  const head = cells(lines[at]);
  const align = cells(lines[at + 1]).map(alignment);
  const children = [row("head", head, align, lines[at])];
  let end = at + 2;
  while (end < lines.length && lines[end].trim() !== "" && !ends(end)) {
    const texts = cells(lines[end]);
    children.push(row("row", head.map((_, column) => texts[column] ?? ""), align, lines[end]));
    end += 1;
  }
  return { type: "table", align: align.join(), children, end };
}

const row = (type, texts, align, source) =>
  ({ type, cells: texts, align, key: `${type}\n${align}\n${source}` });

function alignment(cell) {
  if (!cell.endsWith(":")) return "start";
  return cell.startsWith(":") ? "center" : "end";
}

/** The cells of a row; a backslash keeps a bar from ending one. */
function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}
