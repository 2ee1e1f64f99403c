// Pairs emphasis marks in a list of inline nodes into strong, em and del, by CommonMark's rules.

const TYPES = { 1: "em", 2: "strong" };

/** The nodes from an index on: paired marks become elements, the others text. */
export function emphasise(nodes, from) {
  const list = nodes.slice(from);
  // By kind of closer, the index below which there is no opener: keeps the search linear.
  const floor = {};
  for (let at = 0; at < list.length; at += 1) {
    const closer = list[at];
    while (closer.type === "mark" && closer.closes && closer.count > 0) {
      const kind = `${closer.char}${closer.opens}${closer.run % 3}`;
      const opener = findOpener(list, at, floor[kind] ?? 0);
      if (opener < 0) {
        floor[kind] = at;
        break;
      }
      at = wrap(list, opener, at);
    }
  }
  return merged(list);
}

function findOpener(list, closerAt, lowest) {
  const closer = list[closerAt];
  for (let at = closerAt - 1; at >= lowest; at -= 1) {
    const node = list[at];
    if (node.type === "mark" && node.char === closer.char && node.opens && node.count > 0
      && pairs(node, closer)) return at;
  }
  return -1;
}

function pairs(opener, closer) {
  if (opener.char === "~") return opener.count === closer.count;
  const both = (opener.opens && opener.closes) || (closer.opens && closer.closes);
  return !both || (opener.run + closer.run) % 3 !== 0
    || (opener.run % 3 === 0 && closer.run % 3 === 0);
}

/** Put the nodes between two marks into one node; returns the new index of the closing mark. */
function wrap(list, openerAt, closerAt) {
  const opener = list[openerAt], closer = list[closerAt];
  const width = opener.char === "~" ? 2 : Math.min(2, opener.count, closer.count);
  const type = opener.char === "~" ? "del" : TYPES[width];
  const children = merged(list.slice(openerAt + 1, closerAt));
  list.splice(openerAt + 1, closerAt - openerAt - 1, { type, children });
  opener.count -= width;
  closer.count -= width;
  return openerAt + 2;
}

/** Unpaired marks become text; adjacent texts are joined. */
function merged(list) {
  const out = [];
  for (const node of list) {
    const text = node.type === "mark" ? node.char.repeat(node.count) : node.type === "text"
      ? node.text : null;
    if (text === null) out.push(node);
    else if (out.at(-1)?.type === "text") out.at(-1).text += text;
    else if (text) out.push({ type: "text", text });
  }
  return out;
}
