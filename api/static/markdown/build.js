// Builds elements from the Markdown tree and updates them when the tree grows. Uses createElement
// and text nodes alone, so that nothing a model writes is ever parsed as HTML.

import { element } from "../dom.js";
import { CodeBlock } from "./code.js";
import { parseInline } from "./inline.js";
import { formula } from "./math.js";

const INLINE = { strong: "strong", em: "em", del: "del" };

/** Elements or texts of a block's text. */
function inline(text) {
  return parseInline(text).map(inlineNode);
}

function inlineNode(node) {
  if (node.type === "text") return document.createTextNode(node.text);
  if (node.type === "break") return element("br");
  if (node.type === "code") return element("code", {}, node.text);
  if (node.type === "math") return formula(node.text, node.display, node.written);
  const children = node.children.map(inlineNode);
  if (node.type === "link")
    return element("a", { href: node.href, rel: "noopener noreferrer nofollow", target: "_blank" },
    ...children);
  return element(INLINE[node.type], {}, ...children);
}

/** The element of one node of the tree; it can be updated to a later state of the node. */
class NodeView {
  constructor(node) {
    this.node = node;
    this.children = null;
    this.element = this._build(node);
  }

  _build(node) {
    switch (node.type) {
      // An answer's headings stand below the page's own.
      case "heading": return element(`h${Math.min(6, node.level + 2)}`, { class: `h${node.level}` },
        ...inline(node.text));
      case "rule": return element("hr");
      case "code": return (this.code = new CodeBlock(node)).element;
      case "quote": return this._container(element("blockquote"), node);
      case "list": return this._container(listElement(node), node);
      case "item": return this._container(itemElement(node), node);
      case "math": return element("p", {}, formula(node.text, true, node.written));
      case "table": return this._table(node);
      case "head": case "row": return tableRow(node);
      default: return element("p", {}, ...inline(node.text));
    }
  }

  _container(holder, node) {
    this.children = new GrowingChildren(holder);
    this.children.show(node.children);
    return holder;
  }

  _table(node) {
    const rows = element("table");
    this._container(rows, node);
    return element("div",
      { class: "table-holder", tabindex: "0", role: "region", "aria-label": "Table" }, rows);
  }

  /** Update to a later state of the node; false if the element must be rebuilt. */
  update(node) {
    if (node.key === this.node.key && shape(node) === shape(this.node)) return true;
    if (shape(node) !== shape(this.node)) return false;
    if (this.code ? !this.code.grow(node.text) : !this.children) return false;
    this.children?.show(node.children);
    this.node = node;
    return true;
  }
}

/** The properties that must be equal for an element to be kept. */
function shape(node) {
  return [node.type, node.language, node.ordered, node.start, node.loose, node.checked, node.align]
    .join();
}

function listElement({ ordered, start, loose }) {
  const list = element(ordered ? "ol" : "ul", loose ? { class: "loose" } : {});
  if (ordered && start !== 1) list.setAttribute("start", String(start));
  return list;
}

function itemElement({ checked }) {
  if (checked === null) return element("li");
  return element("li",
    { class: checked ? "task done" : "task", "aria-label": checked ? "done" : "to do" });
}

function tableRow({ type, cells, align }) {
  const tag = type === "head" ? "th" : "td";
  return element("tr", {},
    ...cells.map((text, column) =>
    element(tag, { class: `to-${align[column]}` }, ...inline(text))));
}

/**
 * The children of an element, kept in step with a list of nodes that usually changes at its end.
 */
export class GrowingChildren {
  constructor(holder) {
    this._holder = holder;
    this._views = [];
  }

  show(nodes) {
    nodes.forEach((node, index) => {
      const old = this._views[index];
      if (old?.update(node)) return;
      const view = new NodeView(node);
      if (old) old.element.replaceWith(view.element);
      else this._holder.append(view.element);
      this._views[index] = view;
    });
    for (const extra of this._views.splice(nodes.length)) extra.element.remove();
  }

  /** Keep the first `count` children as they are; the nodes shown next come after them. */
  settle(count) {
    this._views.splice(0, count);
  }
}
