// A table that keeps the elements of its rows while their values change, so that a button in a row
// keeps the focus.

import { element } from "../dom.js";

export class Table {
  /**
   * Columns are {title, cell, number, side, kind}: `cell(item, before)` returns text or an element;
   * `before` is the element that the cell has now. `side` columns are left out on phones; `kind` is
   * a class.
   */
  constructor(holder, columns, empty, key) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    this.body = element("tbody");
    this.empty = element("p", { class: "empty" }, empty);
    this.table = element("table", { class: "table", hidden: true },
      element("thead", {}, element("tr", {}, ...columns.map((column) =>
        element("th", { scope: "col", class: classes(column) }, column.title)))),
      this.body);
    holder.replaceChildren(this.table, this.empty);
  }

  show(items) {
    this.table.hidden = items.length === 0;
    this.empty.hidden = items.length > 0;
    const keep = new Set(items.map(this.key));
    for (const [name, row] of this.rows) {
      if (keep.has(name)) continue;
      row.remove();
      this.rows.delete(name);
    }
    let before = null;
    for (const item of items) {
      const row = this.row(item);
      const next = before === null ? this.body.firstChild : before.nextSibling;
      if (next !== row) this.body.insertBefore(row, next);
      before = row;
    }
  }

  row(item) {
    const name = this.key(item);
    let row = this.rows.get(name);
    if (!row) {
      row = element("tr", {},
        ...this.columns.map((column) => element("td", { class: classes(column) })));
      this.rows.set(name, row);
    }
    this.columns.forEach((column, index) => {
      const cell = row.children[index];
      const content = column.cell(item, cell.firstElementChild);
      if (content instanceof Node) {
        if (cell.firstChild !== content) cell.replaceChildren(content);
      } else if (cell.textContent !== content) {
        cell.textContent = content;
      }
    });
    return row;
  }
}

function classes(column) {
  const names = [column.number && "number", column.side && "side", column.kind];
  return names.filter(Boolean).join(" ") || null;
}
