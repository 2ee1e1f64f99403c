// Elements from Markdown's tree, and changes to them when the tree has grown. Nothing but createElement and text nodes:
// what a model writes is never parsed as HTML.

import { element } from "../dom.js";
import { CodeBlock } from "./code.js";
import { parseInline } from "./inline.js";

const INLINE = { strong: "strong", em: "em", del: "del" };

/** Elements or texts of a block's text. */
function inline(text) {
  return parseInline(text).map(inlineNode);
}

function inlineNode(node) {
  if (node.type === "text") return document.createTextNode(node.text);
  if (node.type === "break") return element("br");
  if (node.type === "code") return element("code", {}, node.text);
  const children = node.children.map(inlineNode);
  if (node.type === "link") return element("a", { href: node.href, rel: "noopener noreferrer nofollow", target: "_blank" }, ...children);
  return element(INLINE[node.type], {}, ...children);
}

/** What shows one node of the tree, and can show what it has grown into. */
class Shown {
  constructor(node) {
    this.node = node;
    this.children = null;
    this.element = this._build(node);
  }

  _build(node) {
    switch (node.type) {
      // An answer's headings stand below the page's own.
      case "heading": return element(`h${Math.min(6, node.level + 2)}`, { class: `h${node.level}` }, ...inline(node.text));
      case "rule": return element("hr");
      case "code": return (this.code = new CodeBlock(node)).element;
      case "quote": return this._container(element("blockquote"), node);
      case "list": return this._container(listElement(node), node);
      case "item": return this._container(itemElement(node), node);
      case "table": return this._table(node);
      case "head": case "row": return tableRow(node);
      default: return element("p", {}, ...inline(node.text));
    }
  }

  _container(holder, node) {
    this.children = new Growing(holder);
    this.children.show(node.children);
    return holder;
  }

  _table(node) {
    const rows = element("table");
    this._container(rows, node);
    return element("div", { class: "table-holder", tabindex: "0", role: "region", "aria-label": "Table" }, rows);
  }

  /** Show a newer state of the node; whether that was possible without building it anew. */
  become(node) {
    if (node.key === this.node.key && shape(node) === shape(this.node)) return true;
    if (shape(node) !== shape(this.node)) return false;
    if (this.code ? !this.code.grow(node.text) : !this.children) return false;
    this.children?.show(node.children);
    this.node = node;
    return true;
  }
}

/** What must be equal for an element to be kept. */
function shape(node) {
  return [node.type, node.language, node.ordered, node.start, node.loose, node.checked, node.align].join();
}

function listElement({ ordered, start, loose }) {
  const list = element(ordered ? "ol" : "ul", loose ? { class: "loose" } : {});
  if (ordered && start !== 1) list.setAttribute("start", String(start));
  return list;
}

function itemElement({ checked }) {
  if (checked === null) return element("li");
  return element("li", { class: checked ? "task done" : "task", "aria-label": checked ? "done" : "to do" });
}

function tableRow({ type, cells, align }) {
  const tag = type === "head" ? "th" : "td";
  return element("tr", {}, ...cells.map((text, column) => element(tag, { class: `to-${align[column]}` }, ...inline(text))));
}

/** An element's children, that follow a list of nodes of which mostly the end changes. */
export class Growing {
  constructor(holder) {
    this._holder = holder;
    this._shown = [];
  }

  show(nodes) {
    nodes.forEach((node, index) => {
      const old = this._shown[index];
      if (old?.become(node)) return;
      const fresh = new Shown(node);
      if (old) old.element.replaceWith(fresh.element);
      else this._holder.append(fresh.element);
      this._shown[index] = fresh;
    });
    for (const extra of this._shown.splice(nodes.length)) extra.element.remove();
  }

  /** Leave the first so many as they are for good: the next nodes shown come behind them. */
  settle(count) {
    this._shown.splice(0, count);
  }
}
